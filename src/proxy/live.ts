// A conversation at work: it feeds the bridge what happens and does what the bridge says, with one backend session and
// the client sessions that it serves. The rules are in the bridge; here is only the doing.
import type {
  BackendListener,
  BackendSession,
  Headers,
  SendOptions,
  Target,
} from '../backends/backend.ts'
import { bridge } from '../bridge/bridge.ts'
import { createConversation, isIdle, merge, takeNumber, waitingIn } from '../bridge/conversation.ts'
import type { Conversation, Input, Output } from '../bridge/conversation.ts'
import { mayBeAsked } from '../bridge/parking.ts'
import { mayPass } from '../bridge/responses.ts'
import { restoreOf } from '../bridge/restoring.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Outlet, Reply } from '../frontends/exchange.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { declaredIn } from '../protocol/metadata.ts'
import type { Sink } from '../protocol/passing.ts'
import { Delivery } from './delivery.ts'
import type { Joining, LiveOptions, LiveServices, MemberPort } from './live-options.ts'
import {
  backOff,
  contradicts,
  gatherTime,
  isLasting,
  strandedOn,
  wantsToBeAlone,
} from './live-rules.ts'
import { Links } from './links.ts'
import { Order } from './order.ts'
import { OwnLimits } from './own-limits.ts'
import { originOf, tooManyParked } from './parks.ts'
import type { Park } from './parks.ts'
import type { Owner, Pending } from './pending.ts'

export class Live implements Owner {
  readonly target: Target
  /** Milliseconds of the last use, for reaping. */
  used: number
  closed = false
  private readonly services: LiveServices
  private readonly options: LiveOptions
  private readonly conversation: Conversation
  private readonly ports = new Map<string, MemberPort>()
  private readonly links: Links
  private readonly order: Order
  private readonly delivery: Delivery
  private readonly ownLimits: OwnLimits
  private reserved = 0
  private callOffReopen: (() => void) | undefined
  /** Where everything went when this conversation was merged into another. */
  private successor: Live | undefined

  constructor(services: LiveServices, options: LiveOptions) {
    this.services = services
    this.options = options
    this.target = options.target
    this.used = services.clock.now()
    this.order = new Order(services.clock)
    this.ownLimits = new OwnLimits(services.clock, services.ownTime)
    const { onDisconnected, traits, pooled, repeating } = options
    const { route } = options.target
    this.links = new Links({ route, metrics: services.metrics, onDisconnected })
    this.delivery = new Delivery(services, route, this.ports, (way, exchange) =>
      this.slowDown(way, exchange),
    )
    this.conversation = createConversation(traits, services.ids, pooled, repeating)
  }

  get members(): number {
    return this.conversation.members.size
  }

  /** As `ClientSession.takesBytes`. */
  get takesBytes(): boolean {
    return !this.closed && !this.conversation.remaps && !this.conversation.traits.modern
  }

  has(member: string): boolean {
    return this.conversation.members.has(member)
  }

  /** No client session needs it. */
  get onlySingles(): boolean {
    return [...this.conversation.members.values()].every(({ single }) => single)
  }

  /** Nothing waits for an answer. */
  get idle(): boolean {
    return isIdle(this.conversation)
  }

  /** A modern client that can be asked something, or wants to have log messages, has a request under way. */
  get asking(): boolean {
    const { exchanges, away } = this.conversation
    return this.reserved > 0 || away.size > 0 || exchanges.values().some(wantsToBeAlone)
  }

  /** A request that wants to be alone here is about to begin, or will not after all. */
  reserve(): void {
    this.reserved++
  }

  unreserve(message: Request): void {
    const asked = this.options.asked && mayBeAsked(message.method)
    if (!asked && declaredIn(message)?.logLevel === undefined) return
    this.reserved = Math.max(0, this.reserved - 1)
  }

  /** The conversation that serves the members now. */
  get current(): Live {
    return this.successor === undefined ? this : this.successor.current
  }

  join(
    member: string,
    port: MemberPort,
    { single = false, declared, restore }: Joining = {},
  ): void {
    this.ports.set(member, port)
    this.run({
      type: 'join',
      member,
      single,
      ...(declared && { declared }),
      ...(restore && { restore }),
    })
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
    if (open) for (const session of this.links.open) session.listen?.()
    this.run({ type: 'stream', member, open })
  }

  request(member: string, caller: Caller, message: Request, reply: Reply | undefined): void {
    const number = takeNumber(this.services.ids)
    const carries = reply?.carries ?? true
    this.unreserve(message)
    this.begin(member, caller, message, { number, reply })
    const { headers } = caller
    this.run({ type: 'request', member, message, exchange: number, carries, headers })
    if (this.conversation.listeners.has(number)) this.listen()
  }

  /** The client of a request that waits is back, perhaps with answers. */
  resume(park: Park, caller: Caller, message: Request, reply: Reply): void {
    const { number, member } = park
    this.begin(member, caller, message, { number, reply })
    this.run({ type: 'resume', exchange: number, message, carries: reply.carries })
  }

  /** Gives up an exchange whose client is away. */
  giveUp(number: number, why: string): void {
    this.run({ type: 'expired', exchange: number, error: new ProxyError('CANCELLED', why) })
  }

  /** Ends what only lasts until we leave. */
  farewell(): void {
    this.run({ type: 'farewell' })
  }

  private begin(
    member: string,
    caller: Caller,
    message: Request,
    { number, reply }: Pick<Pending, 'number' | 'reply'>,
  ): void {
    const { method, idText } = message
    this.use(member, caller)
    this.services.metrics.exchangeStarted()
    const lasting = isLasting(message)
    const origin = reply === undefined ? undefined : () => originOf(caller, message)
    this.services.pending.add({
      number,
      member,
      method,
      reply,
      idText,
      lasting,
      origin,
      owner: this,
    })
    this.ports.get(member)?.exchangeStarted()
  }

  /** The backend's own stream is wanted, and comes before requests. */
  private listen(): void {
    for (const session of this.links.open) session.listen?.(true)
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
    this.ownLimits.close()
    const error = new ProxyError('SHUTTING_DOWN', 'the proxy is shutting down')
    for (const number of waitingIn(this.conversation)) this.delivery.fail(number, error)
    this.links.close()
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
    this.links.absorb(other.links)
    this.ownLimits.absorb(other.ownLimits)
    this.reserved += other.reserved
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
    if (this.conversation.learnt === learnt) return
    for (const [member, port] of this.ports) port.learnt?.(restoreOf(this.conversation, member))
  }

  private perform(output: Output): void {
    switch (output.type) {
      case 'send':
        return this.send(output)
      case 'abort':
        for (const session of this.links.all) session.abort(output.message)
        return
      case 'deliver':
        return this.delivery.deliver(output)
      case 'finish':
        return this.delivery.finish(output.exchange, output.response)
      case 'fail':
        return this.delivery.fail(output.exchange, output.error)
      case 'gather':
        this.services.clock.after(gatherTime, () =>
          this.current.run({ type: 'gathered', exchange: output.exchange }),
        )
        return
      case 'park':
        return this.park(output)
      case 'relisten':
        this.services.clock.after(backOff(output.losses), () => {
          if (!this.closed) this.run({ type: 'relisten' })
        })
        return
      case 'negotiated':
        return this.ports.get(output.member)?.negotiated(output.revision)
      case 'reopen':
        return this.reopen(output.losses)
      case 'dropped':
        return this.delivery.dropped(output)
    }
  }

  private park({ exchange, round, questions }: Output & { type: 'park' }): void {
    const { pending: all, parks } = this.services
    const pending = all.get(exchange)
    if (pending?.origin === undefined) return
    const { member } = pending
    const park = { number: exchange, live: this as Live, member, round }
    const state = parks.add(park, pending.origin())
    if (state !== undefined) this.delivery.park(exchange, questions, state)
    else this.run({ type: 'expired', exchange, error: tooManyParked() })
  }

  private send(output: Output & { type: 'send' }): void {
    const { member, message, exchange, repeatable, translated } = output
    if (exchange !== undefined) this.watch(message, exchange)
    const headers = this.ports.get(member)?.headers ?? this.options.headers
    const options = { headers, repeatable, ...(translated && { translated }) }
    const go = () => this.transmit(message, options, exchange)
    this.order.run(member, go, message.kind === 'notification')
  }

  private async transmit(
    message: Message,
    options: SendOptions,
    exchange: number | undefined,
  ): Promise<void> {
    const live = this.current
    if (live.closed) return
    // Called off while it waited behind a notification.
    if (exchange !== undefined && !live.conversation.exchanges.has(exchange)) return
    const session = live.session(options.headers)
    const { generation } = live.links
    live.links.begin(session)
    const failed = await session.send(message, options)
    const stale = this.current === live && live.links.generation !== generation
    this.current.links.end(session)
    if (failed === undefined && !(stale && this.options.traits.oneStream)) {
      if (exchange !== undefined) this.current.run({ type: 'delivered', exchange })
      return
    }
    const { error, mayHaveRun } = failed ?? strandedOn(this.target.route)
    if (error.code === 'BACKEND_UNREACHABLE' || error.code === 'BACKEND_NO_ENDPOINT') {
      this.services.metrics.backendConnected(this.target.route, 'failed')
    }
    if (contradicts(message, error)) this.options.onContradiction()
    if (exchange === undefined) {
      this.services.log.warn({ route: this.target.route, err: error }, 'message not taken')
    }
    this.current.run({ type: 'undelivered', exchange, error, mayHaveRun, stale })
  }

  /** Remembers what a message belongs to, and gives what we send of our own accord a time limit. */
  private watch(message: Message, exchange: number): void {
    this.services.carriers.set(message, exchange)
    if (this.services.pending.get(exchange) !== undefined || isLasting(message)) return
    this.ownLimits.start(this.target.route, (error) => {
      const live = this.current
      if (live.closed || !live.conversation.exchanges.has(exchange)) return
      live.run({ type: 'expired', exchange, error })
    })
  }

  private session(headers: Headers): BackendSession {
    const open = this.links.open.at(-1)
    if (open !== undefined) return open
    const listener: BackendListener = {
      message: (message, inAnswerTo) => this.current.hear(message, inAnswerTo),
      pass: (inAnswerTo, length) => this.current.pass(inAnswerTo, length),
      endpoint: (url) => {
        this.current.links.connected(session)
        this.options.onEndpoint(this.current, url)
      },
      stray: (text) => this.current.run({ type: 'stray', text }),
      trouble: (text) => this.delivery.trouble(text),
      gone: (error) => this.current.gone(session, error),
    }
    const session = this.options.dialect.open(this.target, headers, listener)
    this.links.add(session)
    const { asked } = this.options
    if (asked || this.conversation.listeners.size > 0) session.listen?.(true)
    else if ([...this.ports.values()].some(({ outlets }) => outlets.length > 0)) session.listen?.()
    return session
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
    const last = this.links.retire(session)
    this.services.log.info({ route: this.target.route, err: error }, 'backend session ended')
    if (last) this.run({ type: 'gone', error })
  }

  private reopen(losses: number): void {
    this.links.retireAll()
    this.callOffReopen?.()
    this.callOffReopen = this.services.clock.after(backOff(losses), () => {
      if (!this.closed) this.run({ type: 'reopened' })
    })
  }

  /**
   * A slow client stops its backend: its own answer, or all of the session. Where others listen to the same stream, its
   * buffer's limit stops it.
   */
  private slowDown(way: Reply | Outlet, number: number | undefined): void {
    const { traits, pooled } = this.options
    if (this.members > 1 || (pooled && traits.oneStream)) return
    const exchange = number === undefined ? undefined : this.conversation.exchanges.get(number)
    const only = pooled ? exchange?.wire : undefined
    const { open } = this.links
    for (const session of open) session.pause(only)
    way.onceDrained(() => {
      for (const session of open) session.resume(only)
    })
  }
}
