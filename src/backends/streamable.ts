// The `streamable` dialect towards a backend (2025-03-26 to 2025-11-25, Transports, "Streamable HTTP"): each message is a
// POST; the backend's session id stays here; what belongs to no exchange comes on a standing GET stream; answers that
// break off are resumed where the backend offers it.
import { isInitialize, isObject } from '../protocol/jsonrpc.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Answer, StreamPosition } from './answer.ts'
import type {
  BackendDialect,
  BackendListener,
  BackendSession,
  Headers,
  SendOptions,
  Target,
  Undelivered,
} from './backend.ts'
import type { HttpAnswer } from './http-client.ts'
import type { BackendOptions } from './options.ts'
import { Posts } from './posts.ts'
import { saysSessionUnknown, sessionLost } from './refusal.ts'
import { openGetStream } from './streamable-stream.ts'
import type { GetStream } from './streamable-stream.ts'

export function createStreamableBackend(options: BackendOptions): BackendDialect {
  return {
    open: (target, headers, listener) => new StreamableSession(target, headers, listener, options),
  }
}

/** Attempts to resume one answer that bring nothing new. */
const mostResumptions = 5

/** ms that requests wait for the standing stream: some servers send its head with its first event. */
const standTime = 1000

/** ms to reach the backend again for the rest of an answer: somebody waits for it. */
const resumeTime = 5000

class StreamableSession implements BackendSession {
  readonly #target: Target
  readonly #listener: BackendListener
  readonly #options: BackendOptions
  readonly #posts: Posts
  /** Streams opened by GET: the standing one, and those that resume an answer. */
  readonly #streams = new Set<GetStream>()
  #headers: Headers
  #id: string | undefined
  /** What the backend settled on in its answer to `initialize`. */
  #revision: string | undefined
  #wanted = false
  #initialized = false
  #standing: GetStream | undefined
  /** Requests wait for the standing stream; and that they need not any more. */
  #first = false
  #stood: Promise<void> | undefined
  readonly #called = new WeakSet<Message>()
  #paused = false
  #closed = false

  constructor(
    target: Target,
    headers: Headers,
    listener: BackendListener,
    options: BackendOptions,
  ) {
    this.#target = target
    this.#headers = headers
    this.#options = options
    this.#listener = {
      ...listener,
      message: (message, inAnswerTo) => {
        if (isInitialize(inAnswerTo)) this.#settled(message)
        listener.message(message, inAnswerTo)
      },
    }
    this.#posts = new Posts(target, this.#listener, options, {
      headers: (message) => (isInitialize(message) ? {} : this.#own()),
      begun: (message, answer) => this.#begun(message, answer),
      refused: (message, status, text) => this.#refused(message, status, text),
      continued: (_, got, deliver, signal) => this.#resume(got, deliver, signal),
    })
  }

  send(message: Message, options: SendOptions): Promise<Undelivered | undefined> {
    this.#headers = options.headers
    if (isInitialize(message)) {
      this.#id = undefined
      this.#revision = undefined
    }
    if (this.#first && this.#stood !== undefined && message.kind === 'request') {
      return this.#stood.then(() =>
        this.#called.has(message) ? undefined : this.#posts.send(message, options),
      )
    }
    const sent = this.#posts.send(message, options)
    if (message.kind === 'notification' && message.method === 'notifications/initialized') {
      return sent.then((failed) => this.#announced(failed))
    }
    return sent
  }

  #announced(failed: Undelivered | undefined): Undelivered | undefined {
    if (failed === undefined && !this.#closed) {
      this.#initialized = true
      this.#stand()
    }
    return failed
  }

  /** A client listens, so the standing stream is wanted. */
  listen(first = false): void {
    this.#wanted = true
    this.#first ||= first
    this.#stand()
  }

  abort(message: Message): void {
    this.#called.add(message)
    this.#posts.abort(message)
  }

  pause(only?: Message): void {
    this.#posts.pause(only)
    if (only !== undefined) return
    this.#paused = true
    for (const stream of this.#streams) stream.pause()
  }

  resume(only?: Message): void {
    this.#posts.resume(only)
    if (only !== undefined) return
    this.#paused = false
    for (const stream of this.#streams) stream.resume()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const stream of this.#streams) stream.close()
    this.#posts.close(() => this.#remove())
  }

  /** A session that is no longer needed is ended (2025-11-25, Transports, "Session Management"). */
  #remove(): void {
    if (this.#id === undefined) return
    const { route, url } = this.#target
    void this.#options.http.remove({ route, url, headers: { ...this.#headers, ...this.#own() } })
  }

  /** Headers of every request but `initialize`. */
  #own(): Headers {
    return {
      ...(this.#id !== undefined && { 'mcp-session-id': this.#id }),
      // The header came with 2025-06-18; older backends have been seen to refuse it.
      ...(this.#revision !== undefined &&
        this.#revision > '2024-11-05' && { 'mcp-protocol-version': this.#revision }),
    }
  }

  #begun(message: Message, answer: HttpAnswer): void {
    const id = answer.headers['mcp-session-id']
    if (isInitialize(message) && id !== undefined && id !== '') this.#id = id
  }

  #settled(message: Message): void {
    const result = message.kind === 'response' ? message.value['result'] : undefined
    if (!isObject(result)) return
    const revision = result['protocolVersion']
    if (typeof revision === 'string') this.#revision = revision
    this.#wanted ||= announcesChanges(result['capabilities'])
  }

  #refused(message: Message, status: number, text: string): Undelivered | undefined {
    if (isInitialize(message) || this.#id === undefined) return undefined
    const lost = saysSessionUnknown(status, text) || status === 404
    return lost ? sessionLost(this.#target.route, status) : undefined
  }

  /** An answer stream ended before its response: it is read on from its last event, as long as that brings anything. */
  async #resume(
    got: Answer,
    deliver: (message: Message) => void,
    signal: AbortSignal,
  ): Promise<boolean> {
    let at: StreamPosition | undefined = 'at' in got ? got.at : undefined
    let answered = false
    for (let tries = 0; tries < mostResumptions && !this.#closed && !signal.aborted; tries++) {
      if (at === undefined || at.lastEventId === '') return answered
      const before: string = at.lastEventId
      const stream: GetStream = this.#open(
        at,
        (message) => {
          answered ||= message.kind === 'response'
          deliver(message)
        },
        resumeTime,
      )
      const giveUp = (): void => stream.close()
      signal.addEventListener('abort', giveUp)
      const end = await stream.ended
      signal.removeEventListener('abort', giveUp)
      if (answered) return true
      if (end.kind === 'refused') return false
      at = end.at
      if (at.lastEventId !== before) tries = 0
    }
    return answered
  }

  #open(at: StreamPosition, message: (message: Message) => void, patience?: number): GetStream {
    const stream = openGetStream(
      this.#target,
      () => ({ ...this.#headers, ...this.#own() }),
      at,
      this.#options,
      {
        message,
        stray: (text) => this.#listener.stray?.(text),
        trouble: (text) => this.#listener.trouble?.(text),
      },
      patience,
    )
    this.#streams.add(stream)
    if (this.#paused) stream.pause()
    void stream.ended.then(() => this.#streams.delete(stream))
    return stream
  }

  /** Opens the standing stream once it is wanted and the session stands; opens it again whenever it ends. */
  #stand(): void {
    if (!this.#wanted || !this.#initialized || this.#closed || this.#standing !== undefined) return
    let stands = (): void => {}
    this.#stood = new Promise((resolve) => (stands = resolve))
    const callOff = this.#options.clock.after(standTime, stands)
    void this.#keepStanding({ lastEventId: '', retry: 0 }, () => {
      callOff()
      stands()
    })
  }

  async #keepStanding(at: StreamPosition, opened: () => void): Promise<void> {
    let stood = false
    while (!this.#closed) {
      this.#standing = this.#open(at, (message) => this.#listener.message(message))
      void this.#standing.opened.then(opened)
      const end = await this.#standing.ended
      if (this.#closed) return
      if (end.kind === 'refused') {
        this.#standing = undefined
        // 405 is a backend's right: it has no such stream, and some say so with 400 or 404. But one that gave it
        // before has forgotten the session.
        if (stood && (end.status === 404 || end.status === 400)) this.#lost()
        return
      }
      stood = true
      at = end.at
    }
  }

  #lost(): void {
    // There is no session any more that a DELETE could end.
    this.#id = undefined
    this.#listener.gone(sessionLost(this.#target.route, 404).error)
    this.close()
  }
}

/** The backend says that it announces changes, for which there is only the standing stream. */
function announcesChanges(capabilities: unknown): boolean {
  if (!isObject(capabilities)) return false
  return Object.values(capabilities).some(
    (each) => isObject(each) && (each['listChanged'] === true || each['subscribe'] === true),
  )
}
