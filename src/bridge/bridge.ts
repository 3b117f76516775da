// The bridge: what follows from one thing that happened to a conversation. No IO, no clock, no randomness: all it
// knows comes in, all that is to be done goes out. It advances the conversation in place and touches nothing else.
import { ProxyError } from '../errors.ts'
import { findValue } from '../protocol/json-text.ts'
import { isObject, withId, withValueAt } from '../protocol/jsonrpc.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { abandoned, cancel, dropped, end, expired } from './cancellation.ts'
import { heldSize, rememberedLimit } from './conversation.ts'
import type { Conversation, Input, Member, OpenExchange, Output } from './conversation.ts'
import { gone, undelivered } from './losses.ts'
import { passing, respond, stray } from './responses.ts'
import { initializeOurselves, reopened, reopenIfWanted, takeOver } from './restoring.ts'
import { announce } from './routing.ts'
import { isRepeatable, post, send } from './sending.ts'
import { answer, ask, deliver, progressToken, refuseAll, withdraw } from './server-requests.ts'

export function bridge(conversation: Conversation, input: Input): Output[] {
  switch (input.type) {
    case 'join':
      return join(conversation, input)
    case 'leave':
      return leave(conversation, input.member, input.error)
    case 'stream':
      return stream(conversation, input.member, input.open)
    case 'request':
      return request(conversation, input)
    case 'post':
      return fromClient(conversation, input.member, input.message)
    case 'abandoned':
      if (input.cancels) return abandoned(conversation, input.exchange)
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

function join(conversation: Conversation, input: Input & { type: 'join' }): Output[] {
  const { member: id, single = false, restore } = input
  const member: Member = {
    id,
    single,
    capabilities: {},
    revision: undefined,
    streams: 0,
    held: [],
  }
  conversation.members.set(id, member)
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
  for (const message of held) {
    if (message.kind === 'request') {
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
  const exchange: OpenExchange = {
    member: input.member,
    request: message,
    wire: onTheWire(conversation, message, number),
    token: progressToken(message),
    carries: input.carries,
    purpose: undefined,
    sent: true,
    accepted: false,
    repeats: 0,
  }
  conversation.exchanges.set(number, exchange)
  if (message.method === 'initialize' && member !== undefined) {
    const params = message.value['params']
    const declared = isObject(params) ? params['capabilities'] : undefined
    member.capabilities = isObject(declared) ? declared : {}
  } else if (conversation.phase !== 'open' && !opens(conversation)) {
    exchange.sent = false
    if (conversation.phase === 'lost') return reopenIfWanted(conversation)
    return conversation.phase === 'fresh' ? initializeOurselves(conversation) : []
  }
  const outputs = [send(exchange, number, isRepeatable(conversation, message))]
  if (member !== undefined && input.carries) {
    outputs.push(...handOver(conversation, member, number))
  }
  return outputs
}

/** A client's `initialize` is under way, so whatever it sends besides is its own affair. */
const opens = (conversation: Conversation): boolean =>
  conversation.phase === 'fresh' &&
  conversation.exchanges
    .values()
    .some(({ request: { method }, sent }) => method === 'initialize' && sent)

/** Where several could have the same, ids and progress tokens are ours, unique and integers (design, rule 2). */
function onTheWire(conversation: Conversation, message: Request, number: number): Request {
  // Many servers read numbers beyond 2^53 as another one, or refuse them.
  if (message.bytes !== undefined) return message
  const id = message.value['id']
  const unsafe = typeof id === 'number' && !Number.isSafeInteger(id)
  if (!conversation.remaps && !unsafe) return message
  const wire = withId(message, String(number))
  if (!conversation.remaps || progressToken(message) === undefined) return wire
  return withValueAt(wire, ['params', '_meta', 'progressToken'], String(number))
}

/** A client can hear nothing on an exchange any more: what it was asked there is asked elsewhere. */
function silence(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return []
  exchange.carries = false
  const outputs: Output[] = []
  for (const [id, question] of conversation.questions) {
    if (question.exchange !== number) continue
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
  const number = conversation.remaps ? Number(token) : withToken(conversation, token, carrier)
  const exchange = conversation.exchanges.get(number)
  const bytes = exchange?.request.bytes !== undefined
  const own = exchange?.token
  if (exchange === undefined || (own === undefined && !bytes)) {
    return [{ type: 'dropped', reason: 'unknown-token', detail: String(token) }]
  }
  if (!exchange.carries) return []
  return [
    {
      type: 'deliver',
      member: exchange.member,
      exchange: number,
      message:
        own === undefined || JSON.stringify(token) === own
          ? message
          : underToken(message, exchange, own),
    },
  ]
}

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
