// What a server asks its client (sampling, elicitation, roots, ping): who is asked, under which id, and the way back of
// the answer. The client sees ids of ours, so that a restored backend session cannot mistake a late answer for its own.
import { takeNumber } from './conversation.ts'
import type { Conversation, Member, Output, Question } from './conversation.ts'
import { failure, isObject, result, textAt, withId, withValueAt } from '../protocol/jsonrpc.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { findPlace, hold } from './routing.ts'
import type { Place } from './routing.ts'

/** The capability that a client must have declared (2025-11-25, Lifecycle, "Capability Negotiation"). */
const needed: Readonly<Record<string, string>> = {
  'sampling/createMessage': 'sampling',
  'elicitation/create': 'elicitation',
  'roots/list': 'roots',
}

/** Questions that are never answered must not pile up. */
const questionLimit = 1024

const declares = (member: Member, method: string): boolean => {
  const capability = needed[method]
  return !member.single && (capability === undefined || isObject(member.capabilities[capability]))
}

const reply = (conversation: Conversation, message: Response, member?: string): Output => ({
  type: 'send',
  member: member ?? conversation.members.keys().next().value ?? '',
  message,
  repeatable: true,
})

/** A request from the backend; `carrier` as in `findPlace`. */
export function ask(conversation: Conversation, message: Request, carrier?: number): Output[] {
  const suits = (member: Member) => declares(member, message.method)
  const place = findPlace(conversation, suits, carrier)
  if (place !== undefined) return [deliver(conversation, message, place)]
  if (message.method === 'ping') return [reply(conversation, result(message.idText, {}))]
  const waiting = [...conversation.members.values()].find(suits)
  if (waiting !== undefined) return hold(waiting, message)
  return [
    { type: 'dropped', reason: 'nobody-to-ask', detail: message.method },
    reply(
      conversation,
      failure(message.idText, -32601, `the client does not support ${message.method}`),
    ),
  ]
}

/** Puts a request to a client at a place that is known. */
export function deliver(conversation: Conversation, message: Request, place: Place): Output {
  const number = takeNumber(conversation.ids)
  conversation.questions.set(number, {
    member: place.member.id,
    request: message,
    exchange: place.exchange,
  })
  if (conversation.questions.size > questionLimit) {
    const oldest = conversation.questions.keys().next().value
    if (oldest !== undefined) conversation.questions.delete(oldest)
  }
  return {
    type: 'deliver',
    member: place.member.id,
    exchange: place.exchange,
    message: withId(message, String(number)),
  }
}

/** A client's answer goes back under the id that the backend gave. */
export function answer(conversation: Conversation, member: string, response: Response): Output[] {
  const number = Number(response.value['id'])
  const question = conversation.questions.get(number)
  if (question === undefined || question.member !== member) {
    return [{ type: 'dropped', reason: 'unknown-question', detail: response.idText ?? 'null' }]
  }
  conversation.questions.delete(number)
  return [reply(conversation, withId(response, question.request.idText), member)]
}

/** The backend calls one of its own requests off. */
export function withdraw(conversation: Conversation, message: Notification): Output[] {
  const params = message.value['params']
  const id = isObject(params) ? params['requestId'] : undefined
  for (const [number, question] of conversation.questions) {
    if (question.request.value['id'] !== id) continue
    conversation.questions.delete(number)
    return [tellWithdrawn(conversation, number, question, message)]
  }
  for (const member of conversation.members.values()) {
    member.held = member.held.filter((held) => held.kind !== 'request' || held.value['id'] !== id)
  }
  return []
}

/** Tells the client where it was asked, if that place is still open, else on its standing stream. */
export function tellWithdrawn(
  conversation: Conversation,
  number: number,
  question: Question,
  message: Notification,
): Output {
  const open = question.exchange !== undefined && conversation.exchanges.has(question.exchange)
  return {
    type: 'deliver',
    member: question.member,
    exchange: open ? question.exchange : undefined,
    message: withValueAt(message, ['params', 'requestId'], String(number)),
  }
}

/** A member leaves: what it was asked, and can no longer answer, is refused for it. */
export function refuseAll(conversation: Conversation, member: Member): Output[] {
  const outputs: Output[] = []
  const refuse = (request: Message) => {
    if (request.kind !== 'request') return
    const error = failure(request.idText, -32000, 'the client has gone')
    outputs.push(reply(conversation, error))
  }
  for (const [number, question] of conversation.questions) {
    if (question.member !== member.id) continue
    conversation.questions.delete(number)
    refuse(question.request)
  }
  member.held.forEach(refuse)
  member.held = []
  return outputs
}

/** A progress token that the client gave, as JSON text. */
export const progressToken = (message: Message): string | undefined =>
  textAt(message, ['params', '_meta', 'progressToken'])
