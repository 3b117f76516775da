// A conversation at work: it feeds the bridge what happens and does what the bridge says, with one backend session and
// the client sessions that it serves. The rules are in the bridge; here is only the doing.
import type {
  BackendDialect,
  BackendListener,
  BackendSession,
  Headers,
  Target,
} from '../backends/backend.ts'
import { bridge } from '../bridge/bridge.ts'
import { createConversation, merge } from '../bridge/conversation.ts'
import type { Conversation, Input, Output } from '../bridge/conversation.ts'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Outlet, Reply } from '../frontends/exchange.ts'
import { failureOf } from '../frontends/reply.ts'
import type { DialectTraits } from '../protocol/dialects.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Owner, Pending, PendingExchanges } from './pending.ts'

/** What a conversation needs to know of one of its client sessions. */
export interface MemberPort {
  /** The newest is the last one. */
  readonly outlets: readonly Outlet[]
  /** Headers of the client's latest request. */
  headers: Headers
  negotiated(revision: string): void
  exchangeStarted(): void
  exchangeEnded(): void
}

export interface LiveServices {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly pending: PendingExchanges
  /** One counter of exchange numbers for the whole process. */
  readonly ids: { next: number }
}

export interface LiveOptions {
  readonly target: Target
  readonly traits: DialectTraits
  readonly dialect: BackendDialect
  /** It serves callers without sessions. */
  readonly pooled: boolean
  /** Headers for what we send of our own accord. */
  readonly headers: Headers
  /** The backend said where it wants its POSTs. */
  readonly onEndpoint: (live: Live, url: string) => void
  /** The backend refused `initialize` in a way that speaks against its dialect. */
  readonly onContradiction: () => void
  readonly onClosed: () => void
}

/** Longest pause between two attempts to bring a backend session back, and the first one. */
const longestBackOff = 30_000
const firstBackOff = 500

/** How long a message waits for the notification before it to be taken. */
const barrierTime = 2000

/** What a backend answers that does not speak the dialect it was taken for. */
const contradictions = new Set<string>([
  'BACKEND_REFUSED',
  'BACKEND_NO_ENDPOINT',
  'BACKEND_ANSWER_INVALID',
])

const shorten = (text: string): string => text.slice(0, 200)

export class Live implements Owner {
  readonly target: Target
  /** Milliseconds of the last use, for reaping. */
  used: number
  closed = false
  private readonly services: LiveServices
  private readonly options: LiveOptions
  private readonly conversation: Conversation
  private readonly ports = new Map<string, MemberPort>()
  /** Open backend sessions: one, or several streams that turned out to be one. The last one is sent to. */
  private sessions: BackendSession[] = []
  /** Sends under way per session, so that a session given up is closed when they have ended. */
  private readonly sending = new Map<BackendSession, number>()
  /** Sessions whose stream stands, for the metrics. */
  private readonly streams = new Set<BackendSession>()
  private readonly carriers = new WeakMap<Message, number>()
  /** The latest notification of each member: what follows it must not overtake it on another connection. */
  private readonly barriers = new Map<string, Promise<unknown>>()
  private callOffReopen: (() => void) | undefined
  /** Where everything went when this conversation was merged into another. */
  private successor: Live | undefined

  constructor(services: LiveServices, options: LiveOptions) {
    this.services = services
    this.options = options
    this.target = options.target
    this.used = services.clock.now()
    this.conversation = createConversation(options.traits, services.ids, options.pooled)
  }

  get members(): number {
    return this.conversation.members.size
  }

  has(member: string): boolean {
    return this.conversation.members.has(member)
  }

  /** No client session needs it. */
  get onlySingles(): boolean {
    for (const { single } of this.conversation.members.values()) if (!single) return false
    return true
  }

  /** Nothing waits for an answer. */
  get idle(): boolean {
    return this.conversation.exchanges.size === 0 && this.conversation.answering.length === 0
  }

  /** The conversation that serves the members now. */
  get current(): Live {
    return this.successor === undefined ? this : this.successor.current
  }

  join(member: string, port: MemberPort, single = false): void {
    this.ports.set(member, port)
    this.run({ type: 'join', member, single })
    for (let open = 0; open < port.outlets.length; open++) {
      this.run({ type: 'stream', member, open: true })
    }
  }

  /** The last member's leaving closes the conversation. */
  leave(member: string): void {
    this.run({ type: 'leave', member })
    this.ports.delete(member)
    this.barriers.delete(member)
    if (this.members === 0) this.close()
  }

  stream(member: string, open: boolean): void {
    if (open) for (const session of this.sessions) session.listen?.()
    this.run({ type: 'stream', member, open })
  }

  request(member: string, caller: Caller, message: Request, reply: Reply | undefined): void {
    const number = this.services.ids.next++
    this.use(member, caller)
    this.services.metrics.exchangeStarted()
    this.services.pending.add({
      number,
      member,
      method: message.method,
      reply,
      idText: message.idText,
      owner: this,
    })
    this.ports.get(member)?.exchangeStarted()
    const carries = reply?.carries ?? true
    this.run({ type: 'request', member, message, exchange: number, carries })
  }

  post(member: string, caller: Caller, message: Notification | Response): void {
    this.use(member, caller)
    this.run({ type: 'post', member, message })
  }

  abandon(pending: Pending, cancels: boolean): void {
    if (this.successor !== undefined) return this.successor.abandon(pending, cancels)
    if (cancels && this.services.pending.remove(pending.number)) this.ended(pending, 'cancelled')
    this.run({ type: 'abandoned', exchange: pending.number, cancels })
  }

  expire(pending: Pending): void {
    if (this.successor !== undefined) return this.successor.expire(pending)
    const error = new ProxyError(
      'BACKEND_TIMEOUT',
      `route "${this.target.route}": no word from the backend on ${pending.method} within limits.requestTime`,
    )
    this.run({ type: 'expired', exchange: pending.number, error })
  }

  /** Ends everything at once; whoever still waits is told why. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.callOffReopen?.()
    const error = new ProxyError('BACKEND_STREAM_ENDED', 'the session has been closed')
    for (const number of this.conversation.exchanges.keys()) this.fail(number, error)
    for (const { number } of this.conversation.answering) this.fail(number, error)
    for (const session of this.sessions) {
      this.disconnected(session)
      session.close()
    }
    this.sessions = []
    this.options.onClosed()
  }

  /**
   * Takes over everything of `other`: both hear the same backend queue. Its stream stays open beside ours, so that no
   * answer that the backend has put there is lost.
   */
  absorb(other: Live): void {
    merge(this.conversation, other.conversation)
    for (const [member, port] of other.ports) this.ports.set(member, port)
    for (const [member, barrier] of other.barriers) this.barriers.set(member, barrier)
    this.sessions.unshift(...other.sessions)
    for (const [session, count] of other.sending) this.sending.set(session, count)
    for (const session of other.streams) this.streams.add(session)
    other.sessions = []
    other.successor = this
    other.closed = true
    other.options.onClosed()
  }

  private use(member: string, caller: Caller): void {
    this.used = this.services.clock.now()
    const port = this.ports.get(member)
    if (port !== undefined) port.headers = caller.headers
  }

  private run(input: Input): void {
    for (const output of bridge(this.conversation, input)) this.perform(output)
  }

  private perform(output: Output): void {
    switch (output.type) {
      case 'send':
        return this.send(output)
      case 'abort':
        for (const session of this.sessions) session.abort(output.message)
        return
      case 'deliver':
        return this.deliver(output)
      case 'finish':
        return this.finish(output.exchange, output.response)
      case 'fail':
        return this.fail(output.exchange, output.error)
      case 'negotiated':
        return this.ports.get(output.member)?.negotiated(output.revision)
      case 'reopen':
        return this.reopen(output.losses)
      case 'dropped':
        this.services.metrics.messageDropped(this.target.route, output.reason)
        this.services.log.debug(
          { route: this.target.route, reason: output.reason, detail: output.detail },
          'message dropped',
        )
    }
  }

  private send(output: Output & { type: 'send' }): void {
    const { member, message, exchange, repeatable } = output
    if (exchange !== undefined) this.carriers.set(message, exchange)
    const headers = this.ports.get(member)?.headers ?? this.options.headers
    const barrier = this.barriers.get(member)
    const go = () => this.transmit(message, headers, repeatable, exchange)
    const sent = barrier === undefined ? go() : barrier.then(go)
    if (message.kind !== 'notification') return
    const { clock } = this.services
    const patience = new Promise<void>((resolve) => {
      const callOff = clock.after(barrierTime, resolve)
      void sent.then(callOff)
    })
    const next = Promise.race([sent, patience]).then(() => {
      if (this.barriers.get(member) === next) this.barriers.delete(member)
    })
    this.barriers.set(member, next)
  }

  private async transmit(
    message: Message,
    headers: Headers,
    repeatable: boolean,
    exchange: number | undefined,
  ): Promise<void> {
    const live = this.current
    if (live.closed) return
    const session = live.session(headers)
    live.sending.set(session, (live.sending.get(session) ?? 0) + 1)
    const failed = await session.send(message, { headers, repeatable })
    this.current.sent(session)
    if (failed === undefined) {
      if (exchange !== undefined) this.current.run({ type: 'delivered', exchange })
      return
    }
    const { error, mayHaveRun } = failed
    if (error.code === 'BACKEND_UNREACHABLE' || error.code === 'BACKEND_NO_ENDPOINT') {
      this.services.metrics.backendConnected(this.target.route, 'failed')
    }
    const opening = message.kind === 'request' && message.method === 'initialize'
    if (opening && contradictions.has(error.code)) this.options.onContradiction()
    if (exchange === undefined) {
      this.services.log.warn({ route: this.target.route, err: error }, 'message not taken')
    }
    this.current.run({ type: 'undelivered', exchange, error, mayHaveRun })
  }

  /** A send has ended; the session is closed if it has been given up meanwhile. */
  private sent(session: BackendSession): void {
    const left = (this.sending.get(session) ?? 1) - 1
    if (left > 0) {
      this.sending.set(session, left)
      return
    }
    this.sending.delete(session)
    if (this.sessions.includes(session)) return
    this.disconnected(session)
    session.close()
  }

  private session(headers: Headers): BackendSession {
    const open = this.sessions.at(-1)
    if (open !== undefined) return open
    const listener: BackendListener = {
      message: (message, inAnswerTo) => this.current.hear(message, inAnswerTo),
      endpoint: (url) => {
        this.connected(session)
        this.options.onEndpoint(this.current, url)
      },
      stray: (text) => this.current.run({ type: 'stray', text }),
      trouble: (text) =>
        this.services.log.warn(
          { route: this.target.route, text: shorten(text) },
          'backend trouble',
        ),
      gone: (error) => this.current.gone(session, error),
    }
    const session = this.options.dialect.open(this.target, headers, listener)
    this.sessions.push(session)
    if ([...this.ports.values()].some(({ outlets }) => outlets.length > 0)) session.listen?.()
    return session
  }

  /** A backend stream stands: counted once, until it is retired. */
  private connected(session: BackendSession): void {
    if (this.streams.has(session)) return
    this.streams.add(session)
    this.services.metrics.backendConnected(this.target.route, 'ok')
    this.services.metrics.streamOpened(this.target.route, 'backend')
  }

  private disconnected(session: BackendSession): void {
    if (this.streams.delete(session)) {
      this.services.metrics.streamClosed(this.target.route, 'backend')
    }
  }

  private hear(message: Message, inAnswerTo: Message | undefined): void {
    const exchange = inAnswerTo === undefined ? undefined : this.carriers.get(inAnswerTo)
    const toNotification = inAnswerTo !== undefined && inAnswerTo.kind !== 'request'
    if (toNotification && message.kind === 'response') {
      this.services.metrics.messageDropped(this.target.route, 'answer-to-notification')
      return
    }
    this.run(
      exchange === undefined
        ? { type: 'backend', message }
        : { type: 'backend', message, exchange },
    )
  }

  /** One of our streams has ended; the conversation goes on as long as another one hears the same queue. */
  private gone(session: BackendSession, error: ProxyError): void {
    const ours = this.sessions.includes(session)
    this.retire(session)
    this.services.log.info({ route: this.target.route, err: error }, 'backend session ended')
    if (ours && this.sessions.length === 0) this.run({ type: 'gone', error })
  }

  private retire(session: BackendSession): void {
    this.sessions = this.sessions.filter((each) => each !== session)
    this.disconnected(session)
    if (!this.sending.has(session)) session.close()
  }

  private reopen(losses: number): void {
    for (const session of this.sessions) this.retire(session)
    const pause = losses === 0 ? 0 : Math.min(longestBackOff, firstBackOff * 2 ** (losses - 1))
    this.callOffReopen?.()
    this.callOffReopen = this.services.clock.after(pause, () => {
      if (!this.closed) this.run({ type: 'reopened' })
    })
  }

  private deliver({ member, exchange, message }: Output & { type: 'deliver' }): void {
    const pending = exchange === undefined ? undefined : this.services.pending.get(exchange)
    if (pending !== undefined) this.services.pending.extend(pending)
    const way = pending?.reply ?? this.ports.get(member)?.outlets.at(-1)
    if (way === undefined) {
      this.services.metrics.messageDropped(this.target.route, 'no-stream')
      return
    }
    if (!way.send(message)) this.slowDown(way)
  }

  /** A slow client stops its backend, unless others listen to the same stream: then its buffer's limit stops it. */
  private slowDown(way: Reply | Outlet): void {
    if (this.members > 1) return
    const { sessions } = this
    for (const session of sessions) session.pause()
    way.onceDrained(() => {
      for (const session of sessions) session.resume()
    })
  }

  private finish(number: number, response: Response): void {
    const pending = this.services.pending.remove(number)
    if (pending === undefined) return
    this.ended(pending, response.failed ? 'error' : 'result')
    if (pending.reply !== undefined) {
      pending.reply.finish(response)
      return
    }
    const outlet = this.ports.get(pending.member)?.outlets.at(-1)
    if (outlet !== undefined && !outlet.send(response)) this.slowDown(outlet)
  }

  private fail(number: number, error: ProxyError): void {
    const pending = this.services.pending.remove(number)
    if (pending === undefined) return
    this.ended(pending, error.code === 'CANCELLED' ? 'cancelled' : 'failed', error)
    if (pending.reply !== undefined) pending.reply.fail(error)
    else if (error.code !== 'CANCELLED') {
      this.ports.get(pending.member)?.outlets.at(-1)?.send(failureOf(pending.idText, error))
    }
  }

  private ended(
    pending: Pending,
    outcome: 'result' | 'error' | 'cancelled' | 'failed',
    error?: ProxyError,
  ): void {
    const { log, metrics, clock } = this.services
    const ms = clock.now() - pending.started
    this.ports.get(pending.member)?.exchangeEnded()
    metrics.exchangeEnded(this.target.route, pending.method, outcome, ms / 1000)
    const line = { route: this.target.route, method: pending.method, ms: Math.round(ms), outcome }
    if (error === undefined) log.info(line, 'exchange')
    else log.warn({ ...line, err: error }, 'exchange')
  }
}
