// The backend sessions of one conversation: which of them are open, what is on its way on each, and when one is closed.
import type { BackendSession } from '../backends/backend.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface LinksOptions {
  /** The route's name. */
  readonly route: string
  readonly metrics: Metrics
  /** A backend stream has ended: what it announced no longer holds. */
  readonly onDisconnected: () => void
}

export class Links {
  readonly #options: LinksOptions
  /** One, or several streams that turned out to be one. The last one is sent to. */
  #open: BackendSession[] = []
  /** Sends under way, so that a session given up is closed when they have ended. */
  readonly #sending = new Map<BackendSession, number>()
  /** Sessions whose stream stands, for the metrics. */
  readonly #streams = new Set<BackendSession>()
  #generation = 0

  constructor(options: LinksOptions) {
    this.#options = options
  }

  get open(): readonly BackendSession[] {
    return this.#open
  }

  /** Those that are open, and those that have been given up and still carry something. */
  get all(): ReadonlySet<BackendSession> {
    return new Set([...this.#open, ...this.#sending.keys()])
  }

  /** Counts the times that all have been given up: what was sent before is not answered after. */
  get generation(): number {
    return this.#generation
  }

  add(session: BackendSession): void {
    this.#open.push(session)
  }

  /** Its stream stands: counted once, until it is retired. */
  connected(session: BackendSession): void {
    if (this.#streams.has(session)) return
    const { route, metrics } = this.#options
    this.#streams.add(session)
    metrics.backendConnected(route, 'ok')
    metrics.streamOpened(route, 'backend')
  }

  /** A send begins on it. */
  begin(session: BackendSession): void {
    this.#sending.set(session, (this.#sending.get(session) ?? 0) + 1)
  }

  /** A send has ended; the session is closed if it has been given up meanwhile. */
  end(session: BackendSession): void {
    const left = (this.#sending.get(session) ?? 1) - 1
    this.#sending.set(session, left)
    if (left > 0 || this.#open.includes(session)) return
    this.#sending.delete(session)
    this.#close(session)
  }

  /** Gives one up. True where it was the last one that was open. */
  retire(session: BackendSession): boolean {
    const was = this.#open.includes(session)
    this.#open = this.#open.filter((each) => each !== session)
    if ((this.#sending.get(session) ?? 0) > 0) this.#disconnected(session)
    else {
      this.#sending.delete(session)
      this.#close(session)
    }
    const last = was && this.#open.length === 0
    if (last) this.#generation++
    return last
  }

  retireAll(): void {
    for (const session of this.#open) this.retire(session)
    this.#generation++
  }

  /** Closes all at once. */
  close(): void {
    for (const session of this.#open) this.#close(session)
    this.#open = []
  }

  /** Takes over those of `other`; they go before ours. */
  absorb(other: Links): void {
    this.#open.unshift(...other.#open)
    for (const [session, count] of other.#sending) this.#sending.set(session, count)
    for (const session of other.#streams) this.#streams.add(session)
    other.#open = []
  }

  #close(session: BackendSession): void {
    this.#disconnected(session)
    session.close()
  }

  #disconnected(session: BackendSession): void {
    const { route, metrics, onDisconnected } = this.#options
    onDisconnected()
    if (this.#streams.delete(session)) metrics.streamClosed(route, 'backend')
  }
}
