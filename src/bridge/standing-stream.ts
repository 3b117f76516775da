// A session client hears of changes in a modern server: its standing stream and its subscriptions are one
// `subscriptions/listen` request, made anew when they change (2026-07-28, Subscriptions; design, rule 4).
import { ProxyError } from '../errors.ts'
import { editObject } from '../protocol/json-text.ts'
import { failure, isObject, request, result } from '../protocol/jsonrpc.ts'
import type { Json, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { modernRevision } from '../protocol/dialects.ts'
import { metaOf, paramsOf, subscriptionKey, withDeclared } from '../protocol/metadata.ts'
import { rememberedLimit } from './conversation.ts'
import type { Filter } from './changes.ts'
import type { Conversation, Output } from './conversation.ts'
import { flags, isEmpty, offered, wants } from './listening.ts'
import { declaredFor } from './requests.ts'
import { errorOf } from './results.ts'
import { announce } from './routing.ts'
import { sendOwn } from './sending.ts'

/** What the client is to hear of: its subscriptions, and once it has a stream, changes of lists. */
function wanted(conversation: Conversation): Filter {
  const { greeting, subscriptions, members } = conversation
  const hears = [...members.values()].some(
    ({ streams, revision }) => streams > 0 && revision !== undefined,
  )
  // What a server offers is not known of a session that another process has opened; it leaves out what it has not.
  const lists = greeting === undefined ? flags(() => true) : offered(greeting).lists
  return {
    ...(hears && lists),
    ...(subscriptions.size > 0 && { resourceSubscriptions: [...subscriptions.keys()] }),
  }
}

const same = (one: Filter, other: Filter): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Listens for what is to be heard now. The stream before is heard until the next one is acknowledged. */
export function refresh(conversation: Conversation): Output[] {
  const { standing } = conversation
  if (standing.refused || conversation.members.size === 0) return []
  const filter = wanted(conversation)
  const latest = standing.next ?? standing.current
  if (standing.vain !== undefined && same(standing.vain, filter)) return []
  if (latest !== undefined && same(latest.filter, filter)) return []
  const outputs = drop(conversation, standing.next?.number)
  standing.next = undefined
  if (isEmpty(filter)) {
    outputs.push(...drop(conversation, standing.current?.number))
    standing.current = undefined
    return outputs
  }
  const member = conversation.members.values().next().value
  const ours = request('0', 'subscriptions/listen', { notifications: { ...filter } })
  const declared = declaredFor(conversation, member)
  const own = sendOwn(conversation, 'listen', withDeclared(ours, modernRevision, declared))
  standing.next = { number: own.number, filter }
  outputs.push(own.output)
  return outputs
}

function drop(conversation: Conversation, number: number | undefined): Output[] {
  const exchange = number === undefined ? undefined : conversation.exchanges.get(number)
  if (number === undefined || exchange === undefined) return []
  conversation.exchanges.delete(number)
  return [{ type: 'abort', message: exchange.wire }]
}

/** `resources/subscribe` of the client: answered when the server has agreed. */
export function subscribe(conversation: Conversation, number: number, message: Request): Output[] {
  const { uri } = paramsOf(message)
  const { standing, subscriptions } = conversation
  if (typeof uri !== 'string') return refuse(number, message, 'a subscription needs a uri')
  if (standing.refused || (subscriptions.size >= rememberedLimit && !subscriptions.has(uri))) {
    const why = standing.refused ? 'the server has none' : 'there are too many'
    return refuse(number, message, `no subscription to "${uri}": ${why}`)
  }
  const heardNow = standing.current?.filter.resourceSubscriptions?.includes(uri) === true
  if (
    heardNow &&
    subscriptions.has(uri) &&
    ![...standing.waiting.values()].some((each) => each.uri === uri)
  ) {
    return [{ type: 'finish', exchange: number, response: result(message.idText, {}) }]
  }
  subscriptions.set(uri, message)
  standing.vain = undefined
  conversation.learnt++
  standing.waiting.set(number, { request: message, uri })
  return refresh(conversation)
}

export function unsubscribe(
  conversation: Conversation,
  number: number,
  message: Request,
): Output[] {
  const { uri } = paramsOf(message)
  if (typeof uri === 'string') conversation.subscriptions.delete(uri)
  conversation.learnt++
  const response = result(message.idText, {})
  const outputs: Output[] = []
  for (const [waiting, { request: asked, uri: theirs }] of conversation.standing.waiting) {
    if (theirs !== uri) continue
    conversation.standing.waiting.delete(waiting)
    outputs.push({ type: 'finish', exchange: waiting, response: result(asked.idText, {}) })
  }
  outputs.push({ type: 'finish', exchange: number, response })
  return [...outputs, ...refresh(conversation)]
}

const refuse = (number: number, { idText }: Request, text: string): Output[] => [
  { type: 'finish', exchange: number, response: failure(idText, -32602, text) },
]

/** What comes on a stream of ours; `number` is that of its exchange. */
export function heard(conversation: Conversation, number: number, message: Notification): Output[] {
  if (message.method === 'notifications/subscriptions/acknowledged') {
    return acknowledged(conversation, number, message)
  }
  conversation.standing.losses = 0
  const resourceSubscriptions = [...conversation.subscriptions.keys()]
  if (
    message.method === 'notifications/resources/updated' &&
    !wants({ resourceSubscriptions }, message)
  ) {
    // The stream from before it was unsubscribed goes on until the next one is acknowledged.
    return []
  }
  return announce(conversation, untagged(message))
}

/** Session clients know nothing of the request that the stream belongs to. */
function untagged(message: Notification): Notification {
  const left = Object.keys(metaOf(message)).filter((key) => key !== subscriptionKey)
  const text =
    left.length > 0
      ? editObject(message.text, ['params', '_meta'], { drop: [subscriptionKey] })
      : editObject(message.text, ['params'], { drop: ['_meta'] })
  return { ...message, text }
}

function acknowledged(conversation: Conversation, number: number, message: Notification): Output[] {
  const { standing } = conversation
  if (standing.next?.number !== number) return []
  const outputs = drop(conversation, standing.current?.number)
  standing.current = standing.next
  standing.next = undefined
  const { notifications } = paramsOf(message)
  const uris = isObject(notifications) ? notifications['resourceSubscriptions'] : []
  const honoured = Array.isArray(uris) ? (uris as readonly Json[]) : []
  const nothing = !isObject(notifications) || isEmpty(notifications)
  standing.vain = nothing ? standing.current?.filter : undefined
  return [...outputs, ...answerWaiting(conversation, (uri) => honoured.includes(uri))]
}

/** Answers to the requests to subscribe that waited, as far as the latest stream asks for their resources. */
function answerWaiting(conversation: Conversation, agreed: (uri: string) => boolean): Output[] {
  const { waiting, current } = conversation.standing
  const refused = new Set<string>()
  const outputs: Output[] = []
  for (const [number, { request: asked, uri }] of waiting) {
    if (current?.filter.resourceSubscriptions?.includes(uri) === false) continue
    waiting.delete(number)
    if (agreed(uri)) {
      outputs.push({ type: 'finish', exchange: number, response: result(asked.idText, {}) })
      continue
    }
    conversation.subscriptions.delete(uri)
    conversation.learnt++
    refused.add(uri)
    outputs.push(...refuse(number, asked, `no subscription to "${uri}": the server does not agree`))
  }
  if (current !== undefined && refused.size > 0) {
    const { resourceSubscriptions = [], ...others } = current.filter
    const left = resourceSubscriptions.filter((uri) => !refused.has(uri))
    const filter = { ...others, ...(left.length > 0 && { resourceSubscriptions: left }) }
    conversation.standing.current = { ...current, filter }
  }
  return outputs
}

/** The client of a request to subscribe waits no longer. */
export function giveUpSubscribing(conversation: Conversation, number: number): Output[] {
  const { waiting } = conversation.standing
  const uri = waiting.get(number)?.uri
  waiting.delete(number)
  if (uri === undefined || [...waiting.values()].some((each) => each.uri === uri)) return []
  conversation.subscriptions.delete(uri)
  conversation.learnt++
  return refresh(conversation)
}

/** Their client has gone. */
export function failWaiting(conversation: Conversation, error: ProxyError): Output[] {
  const { waiting } = conversation.standing
  const numbers = [...waiting.keys()]
  waiting.clear()
  return numbers.map((exchange) => ({ type: 'fail', exchange, error }))
}

/** A stream of ours has ended, in whatever way; it is opened again after a pause, unless the server has none. */
export function over(
  conversation: Conversation,
  number: number,
  why: Response | ProxyError,
): Output[] {
  const { standing } = conversation
  const isNext = standing.next?.number === number
  if (!isNext && standing.current?.number !== number) return []
  const refused = !(why instanceof ProxyError) && errorOf(why)?.['code'] === -32601
  if (isNext) standing.next = undefined
  else standing.current = undefined
  standing.refused = refused && isNext
  standing.losses++
  const outputs: Output[] = []
  if (isNext) {
    for (const [waiting, { request: asked, uri }] of standing.waiting) {
      conversation.subscriptions.delete(uri)
      if (why instanceof ProxyError) outputs.push({ type: 'fail', exchange: waiting, error: why })
      else
        outputs.push(
          ...refuse(waiting, asked, `no subscription to "${uri}": the server does not agree`),
        )
    }
    standing.waiting.clear()
  }
  const filter = wanted(conversation)
  const inVain = standing.vain !== undefined && same(standing.vain, filter)
  if (!standing.refused && !inVain && !isEmpty(filter)) {
    outputs.push({ type: 'relisten', losses: standing.losses })
  }
  return outputs
}
