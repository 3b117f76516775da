// Where a message from the backend goes (design, rule 3): to an exchange, to a standing stream, or into waiting.
import { heldLimit, heldSize } from './conversation.ts'
import type { Conversation, Member, Output } from './conversation.ts'
import type { Notification, Request } from '../protocol/jsonrpc.ts'
import { announceTo, isAwaited } from './listening.ts'
import { wantsLog } from './logging.ts'

export interface Place {
  readonly member: Member
  /** Undefined: the member's standing stream. */
  readonly exchange: number | undefined
}

/**
 * The single exchange in flight; else a standing stream; else the newest exchange whose client can take it. Only
 * members that `suits` accepts are asked. `carrier` is the exchange in whose own HTTP answer the message came: it
 * belongs there, whatever else is open.
 */
export function findPlace(
  conversation: Conversation,
  suits: (member: Member) => boolean,
  carrier?: number,
): Place | undefined {
  const own = carrier === undefined ? undefined : conversation.exchanges.get(carrier)
  const takes = own?.carries === true && own.declared === undefined
  const owner = takes ? conversation.members.get(own.member) : undefined
  if (owner !== undefined && suits(owner)) return { member: owner, exchange: carrier }
  let newest: Place | undefined
  let running = 0
  conversation.exchanges.forEach((exchange, number) => {
    if (!exchange.carries || !exchange.sent || exchange.purpose !== undefined) return
    // Modern clients are asked in a way of their own, and told nothing that is not about their request.
    if (exchange.declared !== undefined) return
    const member = conversation.members.get(exchange.member)
    if (member === undefined || !suits(member)) return
    running++
    newest = { member, exchange: number }
  })
  if (running === 1) return newest
  let streaming: Place | undefined
  for (const member of conversation.members.values()) {
    if (member.streams > 0 && suits(member)) streaming = { member, exchange: undefined }
  }
  return streaming ?? newest
}

/** A log message, for the modern client that asked for such: the only one, where the backend does not say whose it is. */
function logTo(conversation: Conversation, message: Notification, carrier?: number): Output[] {
  if (message.method !== 'notifications/message') return []
  const wanting = [...conversation.exchanges].filter(
    ([number, exchange]) =>
      (carrier === undefined || carrier === number) &&
      exchange.carries &&
      exchange.sent &&
      wantsLog(exchange, message),
  )
  const [only] = wanting
  if (only === undefined || wanting.length > 1) return []
  return [{ type: 'deliver', member: only[1].member, exchange: only[0], message }]
}

/** Keeps a message until its member opens a stream; the oldest gives way. */
export function hold(member: Member, message: Request | Notification): Output[] {
  const dropped: Output[] = []
  const drop = (lost: Request | Notification): void =>
    void dropped.push({ type: 'dropped', reason: 'no-stream', detail: lost.method })
  if (message.text.length > heldSize) {
    drop(message)
    return dropped
  }
  member.held.push(message)
  let size = member.held.reduce((sum, { text }) => sum + text.length, 0)
  while (member.held.length > heldLimit || size > heldSize) {
    const oldest = member.held.shift()
    if (oldest === undefined) break
    size -= oldest.text.length
    drop(oldest)
  }
  return dropped
}

/** What modern clients hear of elsewhere, if they have asked for it, or not at all. */
const apart = new Set([
  'notifications/message',
  'notifications/tools/list_changed',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/resources/updated',
  'notifications/elicitation/complete',
])

/**
 * A notification that belongs to no exchange. It concerns everybody on the backend session: where several client
 * sessions share one, each gets it.
 */
export function announce(
  conversation: Conversation,
  message: Notification,
  carrier?: number,
): Output[] {
  const own = carrier === undefined ? undefined : conversation.exchanges.get(carrier)
  const alike = own?.declared === undefined || conversation.traits.modern
  if (own?.carries === true && (alike || !apart.has(message.method))) {
    return [{ type: 'deliver', member: own.member, exchange: carrier, message }]
  }
  const outputs: Output[] = [
    ...announceTo(conversation, message),
    ...logTo(conversation, message, carrier),
  ]
  for (const member of conversation.members.values()) {
    if (member.single) continue
    const place = findPlace(conversation, (other) => other === member)
    if (place === undefined) outputs.push(...hold(member, message))
    else outputs.push({ type: 'deliver', member: member.id, exchange: place.exchange, message })
  }
  if (outputs.length > 0 || conversation.members.size > 1) return outputs
  if (isAwaited(conversation, message)) return outputs
  if (own?.declared !== undefined) {
    return [{ type: 'dropped', reason: 'not-asked-for', detail: message.method }]
  }
  const heard = [...conversation.members.values()].some((member) => !member.single)
  return heard ? outputs : [{ type: 'dropped', reason: 'no-stream', detail: message.method }]
}
