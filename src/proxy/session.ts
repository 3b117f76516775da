// One client session: it finds its conversation at its first message, and keeps to it.
import { randomBytes } from 'node:crypto'
import type { Headers } from '../backends/backend.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, ClientSession, Outlet, Reply } from '../frontends/exchange.ts'
import { failureOf } from '../frontends/reply.ts'
import { ResumableStream } from '../frontends/resumable.ts'
import type { Dialect } from '../protocol/dialects.ts'
import type { Notification, Request, Response } from '../protocol/jsonrpc.ts'
import type { Restore, SessionRecord, SessionStore } from '../sessions/store.ts'
import { Table } from '../table.ts'
import { IdentityCheck } from './edge.ts'
import type { Live } from './live.ts'
import type { MemberPort } from './live-options.ts'

export interface SessionServices {
  readonly store: SessionStore
  /** Finds the conversation that is to serve the session. */
  readonly converse: (caller: Caller) => Live | Promise<Live>
  /** The HTTP request behind a reply has gone. */
  readonly abandon: (reply: Reply) => void
  /** What another process would need to go on with the session has changed. */
  readonly learnt?: ((id: string, restore: Restore) => void) | undefined
  /** Takes the session off the books; calls `close`. */
  readonly end: (id: string) => Promise<void>
}

/** Streams of one session that are remembered; more than that many at once are not resumable. */
const mostStreams = 64

/** Whether `caller` may use the session of a record. */
export function isSessionOf(
  { route, parameters, principal }: SessionRecord,
  caller: Caller,
  identity = new IdentityCheck(principal),
): boolean {
  if (route !== caller.route || !identity.admits(caller.headers)) return false
  for (const name in caller.parameters) {
    if (parameters[name] !== caller.parameters[name]) return false
  }
  return true
}

export class Session implements ClientSession, MemberPort {
  readonly record: SessionRecord
  readonly outlets: Outlet[] = []
  headers: Headers
  revision: string | undefined
  private readonly services: SessionServices
  private readonly identity: IdentityCheck
  /** Streams that the client may come back to, oldest first. */
  private readonly streams = new Table<string, ResumableStream>(String)
  private live: Live | undefined
  /** Messages that came before the conversation was found, in their order. */
  private waiting: ((found: Live | ProxyError) => void)[] | undefined
  private restore: Restore | undefined
  private closed = false

  /** `restore`: it has been served by another process until now. */
  constructor(
    record: SessionRecord,
    caller: Pick<Caller, 'headers'>,
    services: SessionServices,
    restore?: Restore,
  ) {
    this.record = record
    this.headers = caller.headers
    this.restore = restore
    this.revision = restore?.revision
    this.services = services
    this.identity = new IdentityCheck(record.principal)
  }

  get id(): string {
    return this.record.id
  }

  get dialect(): Dialect {
    return this.record.dialect
  }

  /** Whether `caller` may use it. */
  isOf(caller: Caller): boolean {
    return isSessionOf(this.record, caller, this.identity)
  }

  get takesBytes(): boolean {
    // A POST of the other dialect is answered before its body need have come.
    return this.dialect === 'streamable' && (this.live?.current.takesBytes ?? false)
  }

  negotiated(revision: string): void {
    this.revision = revision
  }

  learnt(restore: Restore): void {
    this.services.learnt?.(this.id, restore)
  }

  exchangeStarted(): void {
    this.services.store.hold(this.id)
  }

  exchangeEnded(): void {
    this.services.store.release(this.id)
  }

  request(caller: Caller, message: Request, reply?: Reply): void {
    this.withLive(caller, (found) => {
      if (!(found instanceof ProxyError)) found.request(this.id, caller, message, reply)
      else if (reply !== undefined) reply.fail(found)
      else this.outlets.at(-1)?.send(failureOf(message.idText, found))
    })
  }

  post(caller: Caller, message: Notification | Response): void {
    // Nobody waits for an answer to these, so where no backend is to be had there is nobody to tell.
    this.withLive(caller, (found) => {
      if (!(found instanceof ProxyError)) found.post(this.id, caller, message)
    })
  }

  abandon(reply: Reply): void {
    this.services.abandon(reply)
  }

  openStream(standing: boolean): ResumableStream {
    const { store } = this.services
    const stream = new ResumableStream(randomBytes(6).toString('hex'), standing, {
      append: (id, sequence, text) => store.log(this.id, { stream: id, sequence, text }),
      read: (id, after) => store.replay(this.id, id, after),
    })
    this.streams.set(stream.id, stream)
    if (this.streams.size > mostStreams) this.forgetStream()
    return stream
  }

  findStream(id: string): ResumableStream | undefined {
    return this.streams.get(id)
  }

  /** The oldest that is over goes first; the log is bounded anyway. */
  private forgetStream(): void {
    for (const [id, { over }] of this.streams) if (over) return void this.streams.delete(id)
    for (const id of this.streams.keys()) return void this.streams.delete(id)
  }

  attach(outlet: Outlet): () => void {
    this.outlets.push(outlet)
    this.services.store.hold(this.id)
    this.live?.current.stream(this.id, true)
    let attached = true
    return () => {
      if (!attached) return
      attached = false
      this.outlets.splice(this.outlets.indexOf(outlet), 1)
      this.services.store.release(this.id)
      if (!this.closed) this.live?.current.stream(this.id, false)
    }
  }

  end(): Promise<void> {
    return this.services.end(this.id)
  }

  /** Leaves the conversation and ends all streams; `retry` as in `Outlet.close`. */
  close(retry?: number, error?: ProxyError): void {
    if (this.closed) return
    this.closed = true
    this.live?.current.leave(this.id, error)
    for (const outlet of this.outlets) outlet.close(retry)
  }

  private withLive(caller: Caller, use: (found: Live | ProxyError) => void): void {
    if (this.waiting !== undefined) {
      this.waiting.push(use)
      return
    }
    if (this.live !== undefined && !this.live.current.closed) {
      use(this.live.current)
      return
    }
    const found = this.converse(caller)
    if (found instanceof Promise) {
      this.waiting = [use]
      found.then(
        (live) => this.found(live),
        (error: unknown) => this.found(ProxyError.from(error)),
      )
    } else if (found instanceof ProxyError) use(found)
    else use(this.joined(found))
  }

  private converse(caller: Caller): Live | Promise<Live> | ProxyError {
    if (this.closed) return ended()
    try {
      return this.services.converse(caller)
    } catch (error) {
      return ProxyError.from(error)
    }
  }

  private found(found: Live | ProxyError): void {
    const waiting = this.waiting ?? []
    this.waiting = undefined
    const known = this.closed ? ended() : found
    const live = known instanceof ProxyError ? known : this.joined(known)
    for (const use of waiting) use(live instanceof ProxyError ? live : live.current)
  }

  private joined(live: Live): Live {
    this.live = live
    live.join(this.id, this, { restore: this.restore })
    this.restore = undefined
    return live
  }
}

const ended = (): ProxyError => new ProxyError('SESSION_UNKNOWN', 'the session has ended')
