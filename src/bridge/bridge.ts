// The bridge: what follows from one thing that happened to a conversation. No IO, no clock, no randomness: all it
// knows comes in, all that is to be done goes out. It advances the conversation in place and touches nothing else.
import { ProxyError } from '../errors.ts'
import { findValue } from '../protocol/json-text.ts'
import { asText, isObject } from '../protocol/jsonrpc.ts'
import type { Json, Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { declaredIn, objectAt, paramsOf, progressToken } from '../protocol/metadata.ts'
import { answeredHere } from './answered-here.ts'
import { abandoned, cancel, dropped, end, expired } from './cancellation.ts'
import { heldSize, rememberedLimit } from './conversation.ts'
import type { Conversation, Input, Member, OpenExchange, Output } from './conversation.ts'
import { initializeFor } from './discovery.ts'
import { close, ended } from './listening.ts'
import { gone, undelivered } from './losses.ts'
import { keptForLater, park, resume, takesQuestion } from './parking.ts'
import { deliver } from './questions.ts'
import { onTheWire } from './requests.ts'
import { passing, respond, stray } from './responses.ts'
import { opens, reopened, reopenIfWanted, restoreYet, takeOver, wake } from './restoring.ts'
import { announce } from './routing.ts'
import { dispatch, isRepeatable, post, send } from './sending.ts'
import { answer, ask, refuseAll, withdraw } from './server-requests.ts'
import { failWaiting, heard, refresh } from './standing-stream.ts'

export function bridge(conversation: Conversation, input: Input): Output[] {
  const outputs = follow(conversation, input)
  if (conversation.phase === 'restoring') outputs.push(...restoreYet(conversation))
  if (conversation.away.size === 0) return outputs
  return outputs.filter((output) => !keptForLater(conversation, output))
}

function follow(conversation: Conversation, input: Input): Output[] {
  switch (input.type) {
    case 'join':
      return join(conversation, input)
    case 'leave':
      return leave(conversation, input.member, input.error)
    case 'stream':
      return stream(conversation, input.member, input.open)
    case 'request':
      return request(conversation, input)
    case 'gathered':
      return park(conversation, input.exchange)
    case 'resume':
      return resume(conversation, input)
    case 'relisten':
      return refresh(conversation)
    case 'farewell':
      return farewell(conversation)
    case 'post':
      return fromClient(conversation, input.member, input.message)
    case 'abandoned':
      if (input.cancels) {
        conversation.away.delete(input.exchange)
        return abandoned(conversation, input.exchange)
      }
      if (conversation.exchanges.get(input.exchange)?.passing === true) {
        return dropped(conversation, input.exchange)
      }
      return input.mute === true ? silence(conversation, input.exchange) : []
    case 'expired':
      return expired(conversation, input.exchange, input.error)
    case 'backend':
      return fromBackend(conversation, input.message, input.exchange)
    case 'stray':
      return stray(conversation, input.text)
    case 'passing':
      passing(conversation, input.exchange)
      return silence(conversation, input.exchange)
    case 'passed':
      conversation.exchanges.delete(input.exchange)
      return []
    case 'delivered':
      return delivered(conversation, input.exchange)
    case 'undelivered':
      return undelivered(conversation, input.exchange, input)
    case 'gone':
      return gone(conversation, input.error)
    case 'reopened':
      return reopened(conversation)
  }
}

/** Clients that only listen are told that it is over (2026-07-28, Subscriptions, "Graceful Closure"). */
function farewell(conversation: Conversation): Output[] {
  const outputs = [...conversation.listeners.keys()].flatMap((number) =>
    close(conversation, number),
  )
  for (const [exchange, { request: asked, declared }] of conversation.exchanges) {
    if (declared === undefined || asked.method !== 'subscriptions/listen') continue
    outputs.push({ type: 'finish', exchange, response: ended(asked) })
    outputs.push(...end(conversation, exchange, 'the proxy is shutting down'))
  }
  return outputs
}

function join(conversation: Conversation, input: Input & { type: 'join' }): Output[] {
  const { member: id, single = false, declared, restore } = input
  const member: Member = {
    id,
    single,
    capabilities: declared?.capabilities ?? {},
    capabilitiesText: declared?.capabilitiesText ?? '{}',
    clientInfoText: declared?.clientInfoText,
    revision: undefined,
    streams: 0,
    held: [],
  }
  conversation.members.set(id, member)
  if (declared !== undefined && conversation.traits.handshake) {
    conversation.initialize ??= initializeFor(declared)
  }
  if (restore !== undefined) takeOver(conversation, member, restore)
  return []
}

function leave(
  conversation: Conversation,
  id: string,
  error = new ProxyError('SESSION_UNKNOWN', 'the session has ended'),
): Output[] {
  const member = conversation.members.get(id)
  if (member === undefined) return []
  const outputs = refuseAll(conversation, member)
  for (const [number, exchange] of conversation.exchanges) {
    if (exchange.member !== id || exchange.purpose !== undefined) continue
    outputs.push({ type: 'fail', exchange: number, error })
    outputs.push(...end(conversation, number, 'the client has gone'))
  }
  for (const [number, { member: theirs }] of conversation.listeners) {
    if (theirs === id) outputs.push(...close(conversation, number))
  }
  if (!member.single) outputs.push(...failWaiting(conversation, error))
  for (const [number, { member: theirs }] of conversation.away) {
    if (theirs === id) conversation.away.delete(number)
  }
  const theirs = conversation.answering.filter(({ exchange }) => exchange.member === id)
  for (const answering of theirs) {
    conversation.answering.splice(conversation.answering.indexOf(answering), 1)
    outputs.push({ type: 'fail', exchange: answering.number, error })
  }
  conversation.members.delete(id)
  return outputs
}

function stream(conversation: Conversation, id: string, open: boolean): Output[] {
  const member = conversation.members.get(id)
  if (member === undefined) return []
  member.streams += open ? 1 : -1
  if (!open) return []
  const outputs = handOver(conversation, member, undefined)
  if (conversation.traits.modern) outputs.push(...refresh(conversation))
  // A client that listens again wants to hear what a lost backend may announce.
  if (conversation.phase === 'lost') outputs.push(...reopenIfWanted(conversation))
  return outputs
}

/** Gives a member what was held for it: all of it to a standing stream, only requests to an exchange. */
function handOver(
  conversation: Conversation,
  member: Member,
  exchange: number | undefined,
): Output[] {
  if (member.held.length === 0) return []
  const held = member.held
  member.held =
    exchange === undefined ? [] : held.filter((message) => message.kind === 'notification')
  const outputs: Output[] = []
  const own = exchange === undefined ? undefined : conversation.exchanges.get(exchange)
  for (const message of held) {
    if (message.kind === 'request' && own?.declared !== undefined) {
      if (takesQuestion(own, message)) outputs.push(...ask(conversation, message, exchange))
      else member.held.push(message)
    } else if (message.kind === 'request') {
      outputs.push(deliver(conversation, message, { member, exchange }))
    } else if (exchange === undefined) {
      outputs.push({ type: 'deliver', member: member.id, exchange, message })
    }
  }
  return outputs
}

function request(conversation: Conversation, input: Input & { type: 'request' }): Output[] {
  const member = conversation.members.get(input.member)
  const { message, exchange: number } = input
  // What a session client writes there has no meaning: it has declared itself in `initialize`.
  const declared = member?.single === true ? declaredIn(message) : undefined
  const translated = conversation.traits.modern && declared === undefined
  const exchange: OpenExchange = {
    member: input.member,
    request: message,
    declared,
    translated,
    wire: onTheWire(conversation, { request: message, declared }, member, number),
    token: progressToken(message),
    carries: input.carries,
    purpose: undefined,
    sent: true,
    accepted: false,
    repeats: 0,
  }
  const known = answeredHere(conversation, number, exchange, member, input.headers)
  if (known !== undefined) return known
  conversation.exchanges.set(number, exchange)
  if (message.method === 'initialize' && member !== undefined) {
    introduce(member, message)
    if (translated) exchange.wire = onTheWire(conversation, exchange, member, number)
    return [send(exchange, number, isRepeatable(conversation, message))]
  }
  if (conversation.phase !== 'open' && !opens(conversation)) {
    exchange.sent = false
    return wake(conversation)
  }
  const outputs = dispatch(conversation, number, exchange)
  const underWay = conversation.exchanges.get(number) === exchange && exchange.sent
  if (member !== undefined && underWay && (input.carries || declared !== undefined)) {
    outputs.push(...handOver(conversation, member, number))
  }
  return outputs
}

function introduce(member: Member, initialize: Request): void {
  const { capabilities } = paramsOf(initialize)
  member.capabilities = isObject(capabilities) ? capabilities : {}
  member.capabilitiesText = objectAt(initialize, ['params', 'capabilities']) ?? '{}'
  member.clientInfoText = objectAt(initialize, ['params', 'clientInfo'])
}

/** A client can hear nothing on an exchange any more: what it was asked there is asked elsewhere. */
function silence(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return []
  exchange.carries = false
  // A modern client is asked in a way of its own, and not while its answer is on its way.
  if (exchange.declared !== undefined) return []
  const outputs: Output[] = []
  // Asking notes new ones.
  const open = [...conversation.questions]
  for (const [id, question] of open) {
    if (question.exchange !== number || question.input !== undefined) continue
    conversation.questions.delete(id)
    outputs.push(...ask(conversation, question.request))
  }
  return outputs
}

function fromClient(
  conversation: Conversation,
  member: string,
  message: Notification | Response,
): Output[] {
  if (message.kind === 'response') return answer(conversation, member, message)
  if (message.method === 'notifications/cancelled') return cancel(conversation, member, message)
  // A modern backend knows no notifications of clients (2026-07-28, Streamable HTTP, "Sending Messages").
  if (conversation.traits.modern && formerNotifications.has(message.method)) return []
  if (conversation.phase === 'open') return [post(conversation, member, message)]
  // Ours announces a restored session; the client's own would come twice.
  if (message.method === 'notifications/initialized') return []
  const size = conversation.posts.reduce((sum, { message: { text } }) => sum + text.length, 0)
  if (conversation.posts.length < rememberedLimit && size + message.text.length <= heldSize) {
    conversation.posts.push({ member, message })
    return []
  }
  return [{ type: 'dropped', reason: 'no-session', detail: message.method }]
}

const formerNotifications = new Set([
  'notifications/initialized',
  'notifications/roots/list_changed',
  'notifications/progress',
])

function delivered(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  if (exchange !== undefined) exchange.accepted = true
  return []
}

function fromBackend(
  conversation: Conversation,
  message: Message,
  carrier: number | undefined,
): Output[] {
  if (message.kind === 'response') return respond(conversation, message, carrier)
  if (message.kind === 'request') return ask(conversation, message, carrier)
  if (carrier !== undefined && conversation.exchanges.get(carrier)?.purpose === 'listen') {
    return heard(conversation, carrier, message)
  }
  if (message.method === 'notifications/progress') return progress(conversation, message, carrier)
  if (message.method === 'notifications/cancelled') return withdraw(conversation, message)
  return announce(conversation, message, carrier)
}

/** Progress goes to the exchange whose token it names, under the token that its client chose. */
function progress(
  conversation: Conversation,
  message: Notification,
  carrier: number | undefined,
): Output[] {
  const params = message.value['params']
  const token = isObject(params) ? params['progressToken'] : undefined
  const number = conversation.remaps
    ? Number(asText(token) || NaN)
    : withToken(conversation, token, carrier)
  const exchange = conversation.exchanges.get(number)
  const bytes = exchange?.request.bytes !== undefined
  const own = exchange?.token
  if (exchange === undefined || (own === undefined && !bytes)) {
    return [{ type: 'dropped', reason: 'unknown-token', detail: asText(token) }]
  }
  if (!exchange.carries) return []
  return [
    {
      type: 'deliver',
      member: exchange.member,
      exchange: number,
      message:
        own === undefined || isSameToken(token, own) ? message : underToken(message, exchange, own),
    },
  ]
}

/** A token is a text or a number; whatever else stands there is not serialised: it may be nested too deeply. */
const isSameToken = (token: Json | undefined, own: string): boolean =>
  (typeof token === 'string' || typeof token === 'number') && JSON.stringify(token) === own

const tokenPath = ['params', 'progressToken']

/** Backends write one like the other: finding the token in each anew was an eighth of the cost of an event. */
function underToken(message: Notification, exchange: OpenExchange, token: string): Notification {
  const { text } = message
  const { theirs = '', ours = '' } = exchange.progressHead ?? {}
  if (theirs !== '' && text.startsWith(theirs) && /[,}]/.test(text.charAt(theirs.length))) {
    return { ...message, text: ours + text.slice(theirs.length) }
  }
  const place = findValue(text, tokenPath)
  if (place === undefined) return message
  exchange.progressHead = {
    theirs: text.slice(0, place.end),
    ours: text.slice(0, place.start) + token,
  }
  return { ...message, text: exchange.progressHead.ours + text.slice(place.end) }
}

/**
 * The number of the exchange whose client chose this token, or one that no exchange has. The token of a request that
 * passed in bytes is not known: where no other has this one, it may be of any of them, and the client will know.
 */
function withToken(
  conversation: Conversation,
  token: unknown,
  carrier: number | undefined,
): number {
  // It mostly comes in the answer to the very request.
  const near = carrier === undefined ? undefined : conversation.exchanges.get(carrier)
  if (carrier !== undefined && near !== undefined && chose(near.request, token)) return carrier
  let unread = -1
  for (const [number, { request: message }] of conversation.exchanges) {
    if (message.bytes !== undefined) unread = number
    if (chose(message, token)) return number
  }
  return unread
}

function chose({ value }: Request, token: unknown): boolean {
  const params = value['params']
  const meta = isObject(params) ? params['_meta'] : undefined
  return isObject(meta) && meta['progressToken'] === token
}
