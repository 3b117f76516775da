// Calling a request off: by the client's word, by its going away, or because its time is up (design, rule 5).
import { ProxyError } from '../errors.ts'
import { isObject, notification, withValueAt } from '../protocol/jsonrpc.ts'
import type { Notification } from '../protocol/jsonrpc.ts'
import type { Conversation, OpenExchange, Output } from './conversation.ts'
import { stopListening } from './listening.ts'
import { failed } from './losses.ts'
import { forgetIn, refuseIn, withdrawIn } from './questions.ts'
import { giveUpSubscribing } from './standing-stream.ts'

/** `notifications/cancelled` from a client. Cancelling `initialize` is forbidden (2025-11-25, Cancellation), so it is not done. */
export function cancel(
  conversation: Conversation,
  member: string,
  message: Notification,
): Output[] {
  // All callers without a session are one member, and their ids meet: they cancel by closing their POST.
  if (conversation.members.get(member)?.single === true) return []
  const params = message.value['params']
  const id = isObject(params) ? params['requestId'] : undefined
  for (const [number, exchange] of conversation.exchanges) {
    if (exchange.member !== member || exchange.purpose !== undefined) continue
    if (exchange.request.value['id'] !== id || exchange.request.method === 'initialize') continue
    conversation.exchanges.delete(number)
    const wire = withValueAt(message, ['params', 'requestId'], exchange.wire.idText)
    return [
      { type: 'fail', exchange: number, error: new ProxyError('CANCELLED', 'request cancelled') },
      ...withdrawIn(conversation, number),
      ...callOff(conversation, exchange, wire),
    ]
  }
  return []
}

/** Tells the backend, in the way its dialect knows. */
function callOff(
  conversation: Conversation,
  exchange: OpenExchange,
  message: Notification,
): Output[] {
  if (!exchange.sent || exchange.request.method === 'initialize') return []
  // The POST is given up in any case: what hangs would keep its connection for ever.
  const abort: Output = { type: 'abort', message: exchange.wire }
  if (conversation.traits.cancel === 'close') return [abort]
  return [{ type: 'send', member: exchange.member, message, repeatable: true }, abort]
}

/**
 * The client of an exchange has gone in the middle of an answer that passes in bytes: nobody can have the rest, so it is
 * not waited for. The backend is told nothing: a dropped connection is no cancel.
 */
export function dropped(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return []
  conversation.exchanges.delete(number)
  forgetIn(conversation, number)
  const error = new ProxyError('CANCELLED', 'the client has gone')
  return [
    { type: 'fail', exchange: number, error },
    { type: 'abort', message: exchange.wire },
  ]
}

/** The client of an exchange has gone. For a session client that is no cancel (2025-11-25, Transports, item 6). */
export function abandoned(conversation: Conversation, number: number): Output[] {
  return end(conversation, number, 'the client has gone')
}

/** An exchange has taken longer than it may. */
export function expired(conversation: Conversation, number: number, error: ProxyError): Output[] {
  const index = conversation.answering.findIndex((each) => each.number === number)
  if (index !== -1) conversation.answering.splice(index, 1)
  conversation.away.delete(number)
  const exchange = conversation.exchanges.get(number)
  if (exchange?.purpose !== undefined) {
    const abort: Output = { type: 'abort', message: exchange.wire }
    return [abort, ...failed(conversation, number, exchange, error, true)]
  }
  return [{ type: 'fail', exchange: number, error }, ...end(conversation, number, 'time is up')]
}

export function end(conversation: Conversation, number: number, reason: string): Output[] {
  if (conversation.listeners.has(number)) return stopListening(conversation, number)
  if (conversation.standing.waiting.has(number)) return giveUpSubscribing(conversation, number)
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return []
  conversation.exchanges.delete(number)
  const unanswered =
    exchange.declared === undefined
      ? withdrawIn(conversation, number)
      : refuseIn(conversation, number)
  const message = notification('notifications/cancelled', { requestId: 0, reason })
  const wire = withValueAt(message, ['params', 'requestId'], exchange.wire.idText)
  return [...unanswered, ...callOff(conversation, exchange, wire)]
}
