// Answers on their way back: which exchange an answer belongs to, also when it does not say (design, rule 10), and
// what an answer tells us about the backend.
import { ProxyError } from '../errors.ts'
import { isObject, result, withId } from '../protocol/jsonrpc.ts'
import type { Json, Response } from '../protocol/jsonrpc.ts'
import { objectAt } from '../protocol/metadata.ts'
import { repeatsArguments } from '../protocol/tool-headers.ts'
import { rememberedLimit } from './conversation.ts'
import type { Conversation, OpenExchange, Output } from './conversation.ts'
import { discovered, initialized } from './discovery.ts'
import { answerFor, probed, requestedRevision, retryOlder, settle } from './handshake.ts'
import { askForInput, asksForInput } from './input-rounds.ts'
import { subscribed } from './listening.ts'
import { asInputRequired } from './parking.ts'
import { forgetIn } from './questions.ts'
import { opened, restoringFailed } from './restoring.ts'
import { forModern, forSession, resultOf } from './results.ts'
import { goOn } from './sending.ts'
import { over, refresh } from './standing-stream.ts'

const dropped = (reason: 'answer-without-request' | 'answer-to-notification', detail: string) =>
  [{ type: 'dropped', reason, detail }] as Output[]

/** A response from the backend; `carrier` is the exchange in whose own HTTP answer it travelled. */
export function respond(
  conversation: Conversation,
  response: Response,
  carrier: number | undefined,
): Output[] {
  const number = owner(conversation, response, carrier)
  if (number === undefined) return homeless(conversation, response)
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return dropped('answer-without-request', String(number))
  if (conversation.traits.oneStream && !conversation.answersNotifications) {
    // Answers come in the order of sending, so a backend that skipped a notification does not answer those.
    conversation.unanswered = conversation.unanswered.filter(({ before }) => before > number)
  }
  conversation.exchanges.delete(number)
  return finish(conversation, number, exchange, response)
}

/** The exchange that a response names, whatever the backend did to the id's type; undefined where it names none. */
function owner(
  conversation: Conversation,
  response: Response,
  carrier: number | undefined,
): number | undefined {
  if (!conversation.traits.oneStream && carrier !== undefined) return carrier
  if (response.idText === undefined) return carrier
  const number = Number(response.value['id'])
  if (conversation.exchanges.has(number)) return number
  // Some servers put a word of theirs where the id of a request they could not read should stand.
  if (Number.isNaN(number)) return carrier
  return carrier ?? number
}

/**
 * An answer that names no request. It is a notification's if one still waits for its answer, the exchange's if exactly
 * one is in flight, or that of the only one whose method it names.
 */
function homeless(conversation: Conversation, response: Response): Output[] {
  const text = response.text
  const named = (method: string): boolean =>
    text.includes(`'${method}'`) || text.includes(`"${method}"`)
  const note = conversation.unanswered.findIndex(({ method }) => named(method))
  if (note !== -1) return answeredNotification(conversation, note, text)
  const flying = [...conversation.exchanges].filter(([, exchange]) => exchange.sent)
  const meant = flying.filter(([, { request }]) => named(request.method))
  const only = meant.length === 1 ? meant[0] : flying.length === 1 ? flying[0] : undefined
  if (conversation.unanswered.length > 0 && meant.length !== 1) {
    return answeredNotification(conversation, 0, text)
  }
  if (only === undefined) return dropped('answer-without-request', excerpt(text))
  conversation.exchanges.delete(only[0])
  return finish(conversation, only[0], only[1], response)
}

/** Methods whose results tell us something, or are changed on the way. */
const readHere = new Set(['initialize', 'tools/list'])

/** Whether the response to an exchange may pass in bytes: nothing in it is looked at here, or changed on the way. */
export function mayPass(conversation: Conversation, number: number): boolean {
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined || exchange.purpose !== undefined || exchange.translated) return false
  if (exchange.declared !== undefined && !conversation.traits.modern) return false
  return exchange.wire.idText === exchange.request.idText && !readHere.has(exchange.request.method)
}

/** The client has the beginning of its answer: the request is not to be sent again, nor answered otherwise. */
export function passing(conversation: Conversation, number: number): void {
  const exchange = conversation.exchanges.get(number)
  if (exchange !== undefined) exchange.passing = true
}

/** An object on the stream that is no JSON-RPC: an answer to a notification, or noise. */
export function stray(conversation: Conversation, text: string): Output[] {
  if (conversation.unanswered.length > 0) return answeredNotification(conversation, 0, text)
  return [{ type: 'dropped', reason: 'stray', detail: excerpt(text) }]
}

function answeredNotification(conversation: Conversation, index: number, text: string): Output[] {
  conversation.unanswered.splice(0, index + 1)
  conversation.answersNotifications = true
  return dropped('answer-to-notification', excerpt(text))
}

const excerpt = (text: string): string => text.slice(0, 120)

/** Ends an exchange that has been taken out of the conversation. */
export function finish(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  response: Response,
): Output[] {
  const { method } = exchange.request
  const greets = exchange.wire.method === 'initialize'
  if (greets && response.failed) {
    const retry = retryOlder(conversation, number, exchange, response)
    if (retry !== undefined) return retry
  }
  if (exchange.purpose !== undefined) return finishOwn(conversation, number, exchange, response)
  const outputs: Output[] = []
  let final = response
  if (greets && response.failed && !conversation.traits.handshake) {
    return answerFor(conversation, number, exchange, response)
  }
  if (method === 'initialize' && !response.failed) {
    const greeting = exchange.translated
      ? initialized(response, requestedRevision(exchange.request))
      : response
    const settled = settle(conversation, exchange, greeting)
    outputs.push(...settled.outputs, ...(exchange.translated ? refresh(conversation) : []))
    final = settled.response
  } else if (exchange.translated) {
    if (asksForInput(response)) return askForInput(conversation, number, exchange, response)
    final = forSession(response, method, (tool) =>
      outputs.push({ type: 'dropped', reason: 'tool-not-callable', detail: tool }),
    )
    if (!response.failed) learn(conversation, exchange, final)
  } else if (exchange.declared !== undefined && !conversation.traits.modern) {
    forgetIn(conversation, number)
    final = toModern(conversation, exchange, response)
  } else if (greets && method !== 'initialize' && !response.failed) {
    final = discovered(exchange.request.idText, response)
  } else if (exchange.declared !== undefined) {
    // Modern on modern: as it came.
  } else if (method === 'ping' && response.failed && errorCode(response) === -32601) {
    final = result(exchange.request.idText, {})
  } else if (!response.failed) {
    learn(conversation, exchange, response)
  }
  outputs.push({
    type: 'finish',
    exchange: number,
    response: withId(final, exchange.request.idText),
  })
  return outputs
}

function finishOwn(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  response: Response,
): Output[] {
  if (exchange.purpose === 'probe') return probed(conversation, number, !response.failed)
  if (exchange.purpose === 'restore') return []
  if (exchange.purpose === 'level') return goOn(conversation, exchange.before)
  if (exchange.purpose === 'subscribe') return subscribed(conversation, number, !response.failed)
  if (exchange.purpose === 'listen') return over(conversation, number, response)
  if (!response.failed) return opened(conversation, response)
  conversation.losses++
  return restoringFailed(
    conversation,
    new ProxyError('BACKEND_REFUSED', `the backend refused initialize: ${errorText(response)}`),
  )
}

/** What a session server answered, as a modern client must have it. */
function toModern(
  conversation: Conversation,
  { request, wire, declared }: OpenExchange,
  response: Response,
): Response {
  const { greeting } = conversation
  if (wire.method === 'initialize' && !response.failed) {
    return discovered(request.idText, response)
  }
  const { method } = request
  if (method === 'tools/list') learnRepeating(conversation, response)
  return (
    asInputRequired(response, method, declared?.capabilities ?? {}) ??
    forModern(response, method, greeting && objectAt(greeting, ['result', 'serverInfo']))
  )
}

/** Remembers the tools whose calls are to be checked. */
function learnRepeating({ repeating }: Conversation, response: Response): void {
  const tools = resultOf(response)?.['tools']
  if (!Array.isArray(tools) || !response.text.includes('x-mcp-header')) return
  for (const tool of tools as readonly Json[]) {
    if (!isObject(tool) || typeof tool['name'] !== 'string') continue
    repeating.delete(tool['name'])
    if (repeatsArguments(tool) && repeating.size < rememberedLimit) {
      repeating.set(tool['name'], tool)
    }
  }
}

const errorCode = (response: Response): unknown => {
  const error = response.value['error']
  return isObject(error) ? error['code'] : undefined
}

const errorText = (response: Response): string => {
  const error = response.value['error']
  return isObject(error) && typeof error['message'] === 'string' ? excerpt(error['message']) : ''
}

/** Methods whose success changes what is remembered. */
const told = new Set([
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
  'tools/list',
])

/** Remembers what a restored session needs, and which tools may be called twice. */
function learn(
  conversation: Conversation,
  { member, request, wire }: OpenExchange,
  response: Response,
): void {
  // Callers without a session come and go: what one of them sets is not to be restored for the others.
  if (conversation.members.get(member)?.single === true) return
  if (request.method === 'logging/setLevel') conversation.logLevel = wire
  const params = request.value['params']
  const uri = isObject(params) ? params['uri'] : undefined
  if (request.method === 'resources/subscribe' && typeof uri === 'string') {
    conversation.subscriptions.set(uri, wire)
    if (conversation.subscriptions.size > rememberedLimit) conversation.subscriptions.delete(uri)
  }
  if (request.method === 'resources/unsubscribe' && typeof uri === 'string') {
    conversation.subscriptions.delete(uri)
  }
  if (told.has(request.method)) conversation.learnt++
  const found = response.value['result']
  if (request.method !== 'tools/list' || !isObject(found) || !Array.isArray(found['tools'])) return
  for (const tool of found['tools'] as readonly unknown[]) {
    if (!isObject(tool) || typeof tool['name'] !== 'string') continue
    const hints = isObject(tool['annotations']) ? tool['annotations'] : {}
    const repeatable = hints['readOnlyHint'] === true || hints['idempotentHint'] === true
    if (repeatable) conversation.repeatableTools.add(tool['name'])
    else conversation.repeatableTools.delete(tool['name'])
  }
}
