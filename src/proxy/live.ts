// A conversation at work: it feeds the bridge what happens and does what the bridge says, with one backend session and
// the client sessions that it serves. The rules are in the bridge; here is only the doing.
import type {
  BackendListener,
  BackendSession,
  Headers,
  Target,
  Undelivered,
} from '../backends/backend.ts'
import { bridge } from '../bridge/bridge.ts'
import { createConversation, merge, takeNumber } from '../bridge/conversation.ts'
import type { Conversation, Input, Output, Restore } from '../bridge/conversation.ts'
import { mayPass } from '../bridge/responses.ts'
import { restoreOf } from '../bridge/restoring.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Outlet, Reply } from '../frontends/exchange.ts'
import { isInitialize } from '../protocol/jsonrpc.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { Delivery } from './delivery.ts'
import type { LiveOptions, LiveServices, MemberPort } from './live-options.ts'
import { Order } from './order.ts'
import type { Owner, Pending } from './pending.ts'

/** Longest pause between two attempts to bring a backend session back, and the first one. */
const longestBackOff = 30_000
const firstBackOff = 500

/** What a backend answers that does not speak the dialect it was taken for. */
const contradictions = new Set<string>([
  'BACKEND_REFUSED',
  'BACKEND_NO_ENDPOINT',
  'BACKEND_ANSWER_INVALID',
])

/** A message was taken on a stream that has been given up: its answer will not be heard. */
const strandedOn = (route: string): Undelivered => ({
  error: new ProxyError('BACKEND_STREAM_ENDED', `the stream of route "${route}" has ended`),
  mayHaveRun: true,
})

const shorten = (text: string): string => text.slice(0, 200)

interface Joining {
  readonly single?: boolean
  readonly restore?: Restore | undefined
}

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
  /** Counts the times that all streams have been given up: what was sent before is not answered after. */
  private generation = 0
  /** Sends under way per session, so that a session given up is closed when they have ended. */
  private readonly sending = new Map<BackendSession, number>()
  /** Sessions whose stream stands, for the metrics. */
  private readonly streams = new Set<BackendSession>()
  private readonly order: Order
  private readonly delivery: Delivery
  /** Time limits of what we send of our own accord. */
  private readonly watches = new Set<() => void>()
  private callOffReopen: (() => void) | undefined
  /** Where everything went when this conversation was merged into another. */
  private successor: Live | undefined

  constructor(services: LiveServices, options: LiveOptions) {
    this.services = services
    this.options = options
    this.target = options.target
    this.used = services.clock.now()
    this.order = new Order(services.clock)
    this.delivery = new Delivery(services, options.target.route, this.ports, (way) =>
      this.slowDown(way),
    )
    this.conversation = createConversation(options.traits, services.ids, options.pooled)
  }

  get members(): number {
    return this.conversation.members.size
  }

  /** As `ClientSession.takesBytes`. */
  get takesBytes(): boolean {
    return !this.closed && !this.conversation.remaps
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

  join(member: string, port: MemberPort, { single = false, restore }: Joining = {}): void {
    this.ports.set(member, port)
    this.run({ type: 'join', member, single, ...(restore && { restore }) })
    for (let open = 0; open < port.outlets.length; open++) {
      this.run({ type: 'stream', member, open: true })
    }
  }

  /** The last member's leaving closes the conversation. */
  leave(member: string, error?: ProxyError): void {
    this.run({ type: 'leave', member, ...(error && { error }) })
    this.ports.delete(member)
    this.order.forget(member)
    if (this.members === 0) this.close()
  }

  stream(member: string, open: boolean): void {
    if (open) for (const session of this.sessions) session.listen?.()
    this.run({ type: 'stream', member, open })
  }

  request(member: string, caller: Caller, message: Request, reply: Reply | undefined): void {
    const number = takeNumber(this.services.ids)
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
    if (cancels && this.services.pending.remove(pending.number))
      this.delivery.ended(pending, 'cancelled')
    const mute = pending.reply?.resumable === false
    this.run({ type: 'abandoned', exchange: pending.number, cancels, mute })
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
    for (const callOff of this.watches) callOff()
    const error = new ProxyError('SHUTTING_DOWN', 'the proxy is shutting down')
    for (const number of this.conversation.exchanges.keys()) this.delivery.fail(number, error)
    for (const { number } of this.conversation.answering) this.delivery.fail(number, error)
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
    this.order.absorb(other.order)
    this.sessions.unshift(...other.sessions)
    for (const [session, count] of other.sending) this.sending.set(session, count)
    for (const session of other.streams) this.streams.add(session)
    for (const callOff of other.watches) this.watches.add(callOff)
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
    const { learnt } = this.conversation
    for (const output of bridge(this.conversation, input)) this.perform(output)
    if (this.conversation.learnt !== learnt) this.tellLearnt()
  }

  private tellLearnt(): void {
    for (const [member, port] of this.ports) port.learnt?.(restoreOf(this.conversation, member))
  }

  private perform(output: Output): void {
    switch (output.type) {
      case 'send':
        return this.send(output)
      case 'abort':
        for (const session of new Set([...this.sessions, ...this.sending.keys()])) {
          session.abort(output.message)
        }
        return
      case 'deliver':
        return this.delivery.deliver(output)
      case 'finish':
        return this.delivery.finish(output.exchange, output.response)
      case 'fail':
        return this.delivery.fail(output.exchange, output.error)
      case 'negotiated':
        return this.ports.get(output.member)?.negotiated(output.revision)
      case 'reopen':
        return this.reopen(output.losses)
      case 'dropped':
        this.services.metrics.messageDropped(this.target.route, output.reason)
        this.services.log.debug(
          { route: this.target.route, reason: output.reason },
          'message dropped',
        )
        this.services.log.trace({ detail: output.detail }, 'message dropped')
    }
  }

  private send(output: Output & { type: 'send' }): void {
    const { member, message, exchange, repeatable } = output
    if (exchange !== undefined) this.watch(message, exchange)
    const headers = this.ports.get(member)?.headers ?? this.options.headers
    const go = () => this.transmit(message, headers, repeatable, exchange)
    this.order.run(member, go, message.kind === 'notification')
  }

  private async transmit(
    message: Message,
    headers: Headers,
    repeatable: boolean,
    exchange: number | undefined,
  ): Promise<void> {
    const live = this.current
    if (live.closed) return
    // Called off while it waited behind a notification.
    if (exchange !== undefined && !live.conversation.exchanges.has(exchange)) return
    const session = live.session(headers)
    const { generation } = live
    live.sending.set(session, (live.sending.get(session) ?? 0) + 1)
    const failed = await session.send(message, { headers, repeatable })
    const stale = this.current === live && live.generation !== generation
    this.current.sent(session)
    if (failed === undefined && !(stale && this.options.traits.oneStream)) {
      if (exchange !== undefined) this.current.run({ type: 'delivered', exchange })
      return
    }
    const { error, mayHaveRun } = failed ?? strandedOn(this.target.route)
    if (error.code === 'BACKEND_UNREACHABLE' || error.code === 'BACKEND_NO_ENDPOINT') {
      this.services.metrics.backendConnected(this.target.route, 'failed')
    }
    if (isInitialize(message) && contradictions.has(error.code)) this.options.onContradiction()
    if (exchange === undefined) {
      this.services.log.warn({ route: this.target.route, err: error }, 'message not taken')
    }
    this.current.run({ type: 'undelivered', exchange, error, mayHaveRun, stale })
  }

  /** Remembers what a message belongs to, and gives what we send of our own accord a time limit. */
  private watch(message: Message, exchange: number): void {
    this.services.carriers.set(message, exchange)
    const { clock, pending, ownTime } = this.services
    if (pending.get(exchange) !== undefined) return
    const callOff = clock.after(ownTime, () => {
      this.watches.delete(callOff)
      const live = this.current
      if (live.closed || !live.conversation.exchanges.has(exchange)) return
      const text = `the backend of route "${this.target.route}" did not answer in ${ownTime} ms`
      const error = new ProxyError('BACKEND_TIMEOUT', text)
      live.run({ type: 'expired', exchange, error })
    })
    this.watches.add(callOff)
  }

  /** A send has ended; the session is closed if it has been given up meanwhile. */
  private sent(session: BackendSession): void {
    const left = (this.sending.get(session) ?? 1) - 1
    this.sending.set(session, left)
    if (left > 0 || this.sessions.includes(session)) return
    this.sending.delete(session)
    this.disconnected(session)
    session.close()
  }

  private session(headers: Headers): BackendSession {
    const open = this.sessions.at(-1)
    if (open !== undefined) return open
    const listener: BackendListener = {
      message: (message, inAnswerTo) => this.current.hear(message, inAnswerTo),
      pass: (inAnswerTo, length) => this.current.pass(inAnswerTo, length),
      endpoint: (url) => {
        this.connected(session)
        this.options.onEndpoint(this.current, url)
      },
      stray: (text) => this.current.run({ type: 'stray', text }),
      trouble: (text) => this.trouble(text),
      gone: (error) => this.current.gone(session, error),
    }
    const session = this.options.dialect.open(this.target, headers, listener)
    this.sessions.push(session)
    if ([...this.ports.values()].some(({ outlets }) => outlets.length > 0)) session.listen?.()
    return session
  }

  /** What the backend said may hold a user's data: it is shown at `trace` only. */
  private trouble(text: string): void {
    const { log } = this.services
    log.warn({ route: this.target.route }, 'the backend sent something unreadable, or an error')
    log.trace({ route: this.target.route, text: shorten(text) }, 'backend trouble')
  }

  /** A backend stream stands: counted once, until it is retired. */
  private connected(session: BackendSession): void {
    if (this.streams.has(session)) return
    this.streams.add(session)
    this.services.metrics.backendConnected(this.target.route, 'ok')
    this.services.metrics.streamOpened(this.target.route, 'backend')
  }

  private disconnected(session: BackendSession): void {
    this.options.onDisconnected()
    if (this.streams.delete(session)) {
      this.services.metrics.streamClosed(this.target.route, 'backend')
    }
  }

  private hear(message: Message, inAnswerTo: Message | undefined): void {
    const exchange = inAnswerTo === undefined ? undefined : this.services.carriers.get(inAnswerTo)
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

  /** Leads a large response past us, where the bridge has nothing to do with it and its client can take it so. */
  private pass(inAnswerTo: Message, length: number | undefined): Sink | undefined {
    const exchange = this.services.carriers.get(inAnswerTo)
    if (exchange === undefined || !mayPass(this.conversation, exchange)) return undefined
    const passed = (): void => this.current.run({ type: 'passed', exchange })
    const sink = this.delivery.pass(exchange, length, passed)
    if (sink !== undefined) this.run({ type: 'passing', exchange })
    return sink
  }

  /** One of our streams has ended; the conversation goes on as long as another one hears the same queue. */
  private gone(session: BackendSession, error: ProxyError): void {
    const ours = this.sessions.includes(session)
    this.retire(session)
    this.services.log.info({ route: this.target.route, err: error }, 'backend session ended')
    if (!ours || this.sessions.length > 0) return
    this.generation++
    this.run({ type: 'gone', error })
  }

  private retire(session: BackendSession): void {
    this.sessions = this.sessions.filter((each) => each !== session)
    this.disconnected(session)
    if ((this.sending.get(session) ?? 0) > 0) return
    this.sending.delete(session)
    session.close()
  }

  private reopen(losses: number): void {
    for (const session of this.sessions) this.retire(session)
    this.generation++
    const pause = losses === 0 ? 0 : Math.min(longestBackOff, firstBackOff * 2 ** (losses - 1))
    this.callOffReopen?.()
    this.callOffReopen = this.services.clock.after(pause, () => {
      if (!this.closed) this.run({ type: 'reopened' })
    })
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
}
