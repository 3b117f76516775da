// What a server asks its client (sampling, elicitation, roots, ping): who is asked, under which id, and the way back of
// the answer.
import { ProxyError } from '../errors.ts'
import { failure, isObject, result, withId } from '../protocol/jsonrpc.ts'
import type { JsonObject, Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { end } from './cancellation.ts'
import { covers, requiredFor } from './capabilities.ts'
import type { Conversation, Member, OpenExchange, Output } from './conversation.ts'
import { takeInput } from './input-rounds.ts'
import { gather, mayBeAsked, takesQuestion } from './parking.ts'
import { deliver, isModern, note, reply, tellWithdrawn } from './questions.ts'
import { findPlace, hold } from './routing.ts'

/** A stand-in is for clients that are asked while their requests run; it keeps what must wait for one. */
const declares = (member: Member, message: Request): boolean => {
  const required = requiredFor(message)
  if (required === undefined) return !member.single
  if (member.single) return covers(member.capabilities, required)
  return Object.keys(required).every((name) => isObject(member.capabilities[name]))
}

/** A request from the backend; `carrier` as in `findPlace`. */
export function ask(conversation: Conversation, message: Request, carrier?: number): Output[] {
  const modern = modernExchange(conversation, carrier)
  if (modern !== undefined) {
    const [number, exchange] = modern
    if (takesQuestion(exchange, message)) return askModern(conversation, message, number, exchange)
    const required = requiredFor(message)
    if (required !== undefined && mayBeAsked(exchange.request.method)) {
      return refuseModern(conversation, message, number, required)
    }
    // The server waits for the answer before it gives its own, and nobody may be asked.
    if (carrier !== undefined && message.method !== 'ping') return [refuse(conversation, message)]
  }
  const suits = (member: Member) => declares(member, message)
  const place = findPlace(conversation, suits, carrier)
  if (place !== undefined) return [deliver(conversation, message, place)]
  if (message.method === 'ping') return [reply(conversation, result(message.idText, {}))]
  const waiting = [...conversation.members.values()].find(suits)
  if (waiting !== undefined) return hold(waiting, message)
  return [
    { type: 'dropped', reason: 'nobody-to-ask', detail: message.method },
    refuse(conversation, message),
  ]
}

const refuse = (conversation: Conversation, { idText, method }: Request): Output =>
  reply(conversation, failure(idText, -32601, `the client does not support ${method}`))

/**
 * The exchange of a modern client that a question belongs to: the one in whose answer it came, or the only one in flight
 * that can be asked anything, where no session client has one.
 */
function modernExchange(
  conversation: Conversation,
  carrier: number | undefined,
): [number, OpenExchange] | undefined {
  if (conversation.traits.modern) return undefined
  const own = carrier === undefined ? undefined : conversation.exchanges.get(carrier)
  if (carrier !== undefined && own !== undefined) {
    return own.declared === undefined ? undefined : [carrier, own]
  }
  const flying = [...conversation.exchanges].filter(
    ([, { sent, purpose, request, declared }]) =>
      sent && purpose === undefined && (declared === undefined || mayBeAsked(request.method)),
  )
  const [only] = flying
  return flying.length === 1 && only?.[1].declared !== undefined ? only : undefined
}

function askModern(
  conversation: Conversation,
  message: Request,
  number: number,
  { member }: OpenExchange,
): Output[] {
  note(conversation, { member, request: message, exchange: number })
  return gather(conversation, number)
}

/** The server cannot do without what the client has not declared (2026-07-28, Basic, "Per-request protocol fields"). */
function refuseModern(
  conversation: Conversation,
  message: Request,
  number: number,
  required: JsonObject,
): Output[] {
  const text = `the server asks for ${message.method}, which this request has not declared`
  const error = new ProxyError('CAPABILITY_MISSING', text, {
    data: { requiredCapabilities: required },
  })
  return [
    refuse(conversation, message),
    { type: 'fail', exchange: number, error },
    ...end(conversation, number, 'the client lacks a capability'),
  ]
}

/** A client's answer goes back under the id that the backend gave. */
export function answer(conversation: Conversation, member: string, response: Response): Output[] {
  const number = Number(response.value['id'])
  const question = conversation.questions.get(number)
  if (question === undefined || question.member !== member) {
    return [{ type: 'dropped', reason: 'unknown-question', detail: response.idText ?? 'null' }]
  }
  conversation.questions.delete(number)
  if (question.input !== undefined) return takeInput(conversation, question, response)
  return [reply(conversation, withId(response, question.request.idText), member)]
}

/** The backend calls one of its own requests off. */
export function withdraw(conversation: Conversation, message: Notification): Output[] {
  const params = message.value['params']
  const id = isObject(params) ? params['requestId'] : undefined
  for (const [number, question] of conversation.questions) {
    // Those of a modern server have no ids that it knows.
    if (question.request.value['id'] !== id || question.input !== undefined) continue
    conversation.questions.delete(number)
    if (isModern(conversation, question)) return []
    return [tellWithdrawn(conversation, number, question, message)]
  }
  for (const member of conversation.members.values()) {
    member.held = member.held.filter((held) => held.kind !== 'request' || held.value['id'] !== id)
  }
  return []
}

/** A member leaves: what it was asked, and can no longer answer, is refused for it. */
export function refuseAll(conversation: Conversation, member: Member): Output[] {
  const outputs: Output[] = []
  const refuseGone = (request: Message): void => {
    if (request.kind !== 'request') return
    const error = failure(request.idText, -32000, 'the client has gone')
    outputs.push(reply(conversation, error))
  }
  for (const [number, question] of conversation.questions) {
    if (question.member !== member.id) continue
    conversation.questions.delete(number)
    if (question.input === undefined) refuseGone(question.request)
  }
  member.held.forEach(refuseGone)
  member.held = []
  return outputs
}
