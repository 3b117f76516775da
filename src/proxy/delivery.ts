// What goes back to the clients of a conversation: messages, answers, failures, and what is logged and counted of them.
import type { Output } from '../bridge/conversation.ts'
import type { ProxyError } from '../errors.ts'
import type { Outlet, Reply } from '../frontends/exchange.ts'
import { failureOf } from '../frontends/reply.ts'
import { readMessage } from '../protocol/jsonrpc.ts'
import type { Json, Response } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { shortId } from '../telemetry/log.ts'
import type { ExchangeOutcome } from '../telemetry/metrics.ts'
import type { LiveServices, MemberPort } from './live-options.ts'
import type { Pending } from './pending.ts'

export class Delivery {
  private readonly services: LiveServices
  private readonly route: string
  private readonly ports: ReadonlyMap<string, MemberPort>
  private readonly slow: (way: Reply | Outlet, exchange: number | undefined) => void

  /** `ports`: the conversation's, as they come and go. `slow` hears of clients that do not keep up. */
  constructor(
    services: LiveServices,
    route: string,
    ports: ReadonlyMap<string, MemberPort>,
    slow: (way: Reply | Outlet, exchange: number | undefined) => void,
  ) {
    this.services = services
    this.route = route
    this.ports = ports
    this.slow = slow
  }

  deliver({ member, exchange, message }: Output & { type: 'deliver' }): void {
    const pending = exchange === undefined ? undefined : this.services.pending.get(exchange)
    if (pending !== undefined) this.services.pending.extend(pending)
    const way = pending?.reply ?? this.ports.get(member)?.outlets.at(-1)
    if (way === undefined) {
      this.services.metrics.messageDropped(this.route, 'no-stream')
      return
    }
    if (!way.send(message)) this.slow(way, exchange)
  }

  /** Where the large response to an exchange is to go; undefined where its client must have it whole. */
  pass(number: number, length: number | undefined, passed: () => void): Sink | undefined {
    const { pending: all } = this.services
    const pending = all.get(number)
    const sink = pending?.reply?.pass(length)
    if (pending === undefined || sink === undefined) return undefined
    return {
      ...sink,
      write(chunk) {
        all.extend(pending)
        return sink.write(chunk)
      },
      end: () => {
        sink.end()
        passed()
        if (all.remove(number)) this.ended(pending, 'result')
      },
    }
  }

  finish(number: number, response: Response): void {
    const pending = this.services.pending.remove(number)
    if (pending === undefined) return
    this.ended(pending, response.failed ? 'error' : 'result')
    if (pending.reply !== undefined) {
      pending.reply.finish(response)
      return
    }
    const outlet = this.ports.get(pending.member)?.outlets.at(-1)
    if (outlet !== undefined && !outlet.send(response)) this.slow(outlet, undefined)
  }

  fail(number: number, error: ProxyError): void {
    const pending = this.services.pending.remove(number)
    if (pending === undefined) return
    this.ended(pending, error.code === 'CANCELLED' ? 'cancelled' : 'failed', error)
    if (pending.reply !== undefined) pending.reply.fail(error)
    else if (error.code !== 'CANCELLED') {
      this.ports.get(pending.member)?.outlets.at(-1)?.send(failureOf(pending.idText, error))
    }
  }

  /** Sends the client of an exchange away with questions. False: its client has gone. */
  park(number: number, questions: string, state: string): boolean {
    const pending = this.services.pending.remove(number)
    if (pending?.reply === undefined) return false
    this.ended(pending, 'asked')
    const text = `{"jsonrpc":"2.0","id":${pending.idText},"result":{"resultType":"input_required","inputRequests":${questions},"requestState":"${state}"}}`
    const read = readMessage(text, JSON.parse(text) as Json)
    if (read.ok && read.value.kind === 'response') pending.reply.finish(read.value)
    return true
  }

  /** A message that nobody can have. */
  dropped({ reason, detail }: Output & { type: 'dropped' }): void {
    const { log, metrics } = this.services
    metrics.messageDropped(this.route, reason)
    log.debug({ route: this.route, reason }, 'message dropped')
    log.trace({ detail }, 'message dropped')
  }

  /** What the backend said may hold a user's data: it is shown at `trace` only. */
  trouble(text: string): void {
    const { log } = this.services
    log.warn({ route: this.route }, 'the backend sent something unreadable, or an error')
    log.trace({ route: this.route, text: text.slice(0, 200) }, 'backend trouble')
  }

  ended(pending: Pending, outcome: ExchangeOutcome, error?: ProxyError): void {
    const { log, metrics, clock } = this.services
    const ms = clock.now() - pending.started
    this.ports.get(pending.member)?.exchangeEnded()
    metrics.exchangeEnded(this.route, pending.method, outcome, ms / 1000)
    const { route } = this
    const session = shortId(pending.member)
    const line = { route, session, method: pending.method, ms: Math.round(ms), outcome }
    if (error === undefined) log.info(line, 'exchange')
    else log.warn({ ...line, err: error }, 'exchange')
  }
}
