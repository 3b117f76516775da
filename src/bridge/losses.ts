// What happens when something fails on the backend's side: messages that did not get through, a backend session that
// ended. No call that may have run is ever sent twice.
import type { ProxyError } from '../errors.ts'
import { notification, result, withId } from '../protocol/jsonrpc.ts'
import { takeNumber } from './conversation.ts'
import type { Conversation, OpenExchange, Output } from './conversation.ts'
import { answerFor, probed } from './handshake.ts'
import { reopenIfWanted, restoringFailed } from './restoring.ts'
import { subscribed } from './listening.ts'
import { goOn, isRepeatable, send } from './sending.ts'
import { over } from './standing-stream.ts'
import { forgetIn, isModern, tellWithdrawn, withdrawIn } from './questions.ts'

/** Sending again after a second loss would be a loop. */
const mostRepeats = 1

/** A message did not get through. */
export function undelivered(
  conversation: Conversation,
  number: number | undefined,
  { error, mayHaveRun, stale = false }: { error: ProxyError; mayHaveRun: boolean; stale?: boolean },
): Output[] {
  const exchange = number === undefined ? undefined : conversation.exchanges.get(number)
  const lost = error.code === 'BACKEND_SESSION_LOST' && conversation.traits.handshake
  if (exchange === undefined || number === undefined) {
    return lost && !stale && number === undefined ? gone(conversation, error) : []
  }
  // It waits to be sent again, or has been: what becomes of the earlier try no longer counts.
  if (!exchange.sent || (stale && exchange.repeats > 0)) return []
  if (exchange.passing === true) return failed(conversation, number, exchange, error, mayHaveRun)
  if (exchange.request.bytes !== undefined) {
    // Nobody has kept it, so it is its client who may send it again.
    const outputs = failed(conversation, number, exchange, error, mayHaveRun)
    if (lost && !stale && conversation.phase === 'open')
      outputs.push(...lose(conversation, error, true))
    return outputs
  }
  if (lost && exchange.purpose === undefined && exchange.repeats < mostRepeats) {
    exchange.repeats++
    if (stale && conversation.phase === 'open') return [send(exchange, number, true)]
    exchange.sent = false
    return conversation.phase === 'open'
      ? lose(conversation, error, true)
      : reopenIfWanted(conversation)
  }
  if (lost && !stale && exchange.purpose !== undefined && conversation.phase === 'open') {
    conversation.exchanges.delete(number)
    const outputs = lose(conversation, error, true)
    if (exchange.purpose === 'level') outputs.push(...goOn(conversation, exchange.before))
    return outputs
  }
  if (broken.has(error.code) && mayRepeat(conversation, exchange)) {
    exchange.repeats++
    const { handshake } = conversation.traits
    if (handshake && conversation.phase !== 'open' && exchange.wire.method !== 'initialize') {
      exchange.sent = false
      return reopenIfWanted(conversation)
    }
    // A request that is made anew has an id of its own (2026-07-28, Changelog, major change 9).
    if (conversation.traits.modern) {
      exchange.wire = withId(exchange.wire, String(takeNumber(conversation.ids)))
    }
    return [send(exchange, number, true)]
  }
  return failed(conversation, number, exchange, error, mayHaveRun)
}

/** The connection broke: a read may be tried once more. */
const broken = new Set<string>(['BACKEND_STREAM_ENDED', 'BACKEND_UNREACHABLE'])

const mayRepeat = (conversation: Conversation, exchange: OpenExchange): boolean =>
  exchange.purpose === undefined &&
  exchange.passing !== true &&
  exchange.request.bytes === undefined &&
  exchange.repeats < mostRepeats &&
  isRepeatable(conversation, exchange.request)

/** An exchange has failed for good, unless we can answer it in the backend's name. */
export function failed(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  error: ProxyError,
  mayHaveRun: boolean,
): Output[] {
  conversation.exchanges.delete(number)
  if (exchange.purpose === 'initialize') {
    conversation.losses++
    return restoringFailed(conversation, error)
  }
  if (exchange.purpose === 'probe') return probed(conversation, number, false)
  if (exchange.purpose === 'restore') return []
  if (exchange.purpose === 'level') return goOn(conversation, exchange.before)
  if (exchange.purpose === 'subscribe') {
    // In the next backend session it is subscribed anew.
    return conversation.phase === 'open' ? subscribed(conversation, number, false) : []
  }
  if (exchange.purpose === 'listen') return over(conversation, number, error)
  if (exchange.declared !== undefined) forgetIn(conversation, number)
  const unknownMethod = error.code === 'BACKEND_REFUSED' && !mayHaveRun
  if (unknownMethod && exchange.request.method === 'ping' && exchange.declared === undefined) {
    return [{ type: 'finish', exchange: number, response: result(exchange.request.idText, {}) }]
  }
  if (unknownMethod && exchange.wire.method === 'initialize' && !conversation.traits.handshake) {
    return answerFor(conversation, number, exchange, error)
  }
  return [...withdrawIn(conversation, number), { type: 'fail', exchange: number, error }]
}

/** The backend session is over. */
export function gone(conversation: Conversation, error: ProxyError): Output[] {
  return lose(conversation, error, false)
}

/**
 * The backend session is over. Requests on their way fail, or wait to be sent again; with `untaken`, those that
 * the backend has not taken yet keep running: the answers to their own POSTs decide.
 */
function lose(conversation: Conversation, error: ProxyError, untaken: boolean): Output[] {
  const withdrawn = withdrawQuestions(conversation)
  const outputs: Output[] = []
  const ours: [number, OpenExchange][] = []
  for (const [number, exchange] of conversation.exchanges) {
    // Where each answer has a POST of its own, that POST tells what became of it.
    const pending = !exchange.accepted && (untaken || !conversation.traits.oneStream)
    if (!exchange.sent || pending) continue
    const again = mayRepeat(conversation, exchange)
    if (exchange.purpose !== undefined) ours.push([number, exchange])
    else if (again) {
      exchange.sent = false
      exchange.accepted = false
      exchange.repeats++
    } else {
      conversation.exchanges.delete(number)
      outputs.push({ type: 'fail', exchange: number, error })
    }
  }
  conversation.unanswered = []
  conversation.losses++
  conversation.level = undefined
  for (const exchange of conversation.exchanges.values()) {
    if (!exchange.sent) exchange.levelled = false
  }
  if (conversation.phase !== 'fresh') conversation.phase = 'lost'
  for (const [number, exchange] of ours) {
    // This loss has been counted.
    if (exchange.purpose === 'initialize') conversation.losses--
    outputs.push(...failed(conversation, number, exchange, error, true))
  }
  return [...withdrawn, ...outputs, ...reopenIfWanted(conversation)]
}

function withdrawQuestions(conversation: Conversation): Output[] {
  const outputs: Output[] = []
  for (const [number, question] of conversation.questions) {
    // A modern client is away with it, and hears what became of its request when it comes back.
    if (isModern(conversation, question)) continue
    const message = notification('notifications/cancelled', {
      requestId: number,
      reason: 'the backend session has ended',
    })
    outputs.push(tellWithdrawn(conversation, number, question, message))
  }
  conversation.questions.clear()
  for (const member of conversation.members.values()) {
    member.held = member.held.filter((held) => held.kind === 'notification')
  }
  return outputs
}
