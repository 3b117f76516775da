// The questions of a server that are open: noted when they are put to a client, forgotten when they are answered. The
// client sees ids of ours, so that a restored backend session cannot mistake a late answer for its own.
import { failure, notification, withId, withValueAt } from '../protocol/jsonrpc.ts'
import type { Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { takeNumber } from './conversation.ts'
import type { Conversation, Output, Question } from './conversation.ts'
import type { Place } from './routing.ts'

/** Questions that are never answered must not pile up. */
const questionLimit = 1024

/** An answer on its way to the backend. */
export const reply = (conversation: Conversation, message: Response, member?: string): Output => ({
  type: 'send',
  member: member ?? conversation.members.keys().next().value ?? '',
  message,
  repeatable: true,
})

/** Puts a request to a client at a place that is known. */
export function deliver(
  conversation: Conversation,
  message: Request,
  place: Place,
  input?: Question['input'],
): Output {
  const number = note(conversation, {
    member: place.member.id,
    request: message,
    exchange: place.exchange,
    ...(input && { input }),
  })
  return {
    type: 'deliver',
    member: place.member.id,
    exchange: place.exchange,
    message: withId(message, String(number)),
  }
}

/** Answers with the id that the client is to see. */
export function note(conversation: Conversation, question: Question): number {
  const number = takeNumber(conversation.ids)
  conversation.questions.set(number, question)
  if (conversation.questions.size > questionLimit) {
    const oldest = conversation.questions.keys().next().value
    if (oldest !== undefined) conversation.questions.delete(oldest)
  }
  return number
}

/** Nobody will answer any more what a modern client was asked in an exchange. */
export function refuseIn(conversation: Conversation, number: number): Output[] {
  const outputs: Output[] = []
  for (const [id, question] of conversation.questions) {
    if (question.exchange !== number) continue
    conversation.questions.delete(id)
    const { idText } = question.request
    outputs.push(reply(conversation, failure(idText, -32000, 'the client has not answered')))
  }
  return outputs
}

/** The server has answered without them, or will never know of the answers. */
export function forgetIn(conversation: Conversation, number: number): void {
  for (const [id, { exchange }] of conversation.questions) {
    if (exchange === number) conversation.questions.delete(id)
  }
}

/** What a modern server asked in an exchange is of no use any more: the client is told. */
export function withdrawIn(conversation: Conversation, number: number): Output[] {
  const outputs: Output[] = []
  for (const [id, question] of conversation.questions) {
    if (question.input?.exchange !== number) continue
    conversation.questions.delete(id)
    const message = notification('notifications/cancelled', { requestId: id })
    outputs.push(tellWithdrawn(conversation, id, question, message))
  }
  return outputs
}

/** Whether it was put to a modern client, who knows it under no id. */
export const isModern = (conversation: Conversation, { exchange }: Question): boolean =>
  exchange !== undefined &&
  (conversation.away.has(exchange) || conversation.exchanges.get(exchange)?.declared !== undefined)

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
