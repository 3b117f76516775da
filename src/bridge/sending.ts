// Sending to the backend: requests of clients, requests and notifications of our own, and what may be sent twice.
import { isObject, withId } from '../protocol/jsonrpc.ts'
import type { Notification, Request } from '../protocol/jsonrpc.ts'
import { takeNumber } from './conversation.ts'
import type { Conversation, OpenExchange, Output, Purpose } from './conversation.ts'
import { discovered } from './discovery.ts'
import { levelFor } from './logging.ts'

export const send = (exchange: OpenExchange, number: number, repeatable: boolean): Output => ({
  type: 'send',
  member: exchange.member,
  message: exchange.wire,
  exchange: number,
  repeatable,
  ...(exchange.translated && { translated: true }),
})

/**
 * Opens an exchange of our own and sends its request: `like` under an id of ours, its text otherwise as it is. A client's
 * text is never serialised again: it may be nested more deeply than that could bear. `before`: the client's exchange that
 * waits for it.
 */
export function sendOwn(
  conversation: Conversation,
  purpose: Purpose,
  like: Request,
  before?: number,
): { number: number; output: Output } {
  const number = takeNumber(conversation.ids)
  const message = withId(like, String(number))
  const member = conversation.members.keys().next().value ?? ''
  const exchange: OpenExchange = {
    member,
    request: message,
    declared: undefined,
    translated: conversation.traits.modern,
    wire: message,
    token: undefined,
    carries: false,
    purpose,
    ...(before !== undefined && { before }),
    sent: true,
    accepted: false,
    repeats: 0,
  }
  conversation.exchanges.set(number, exchange)
  return { number, output: send(exchange, number, true) }
}

/** Sends a notification, and remembers it where the backend may answer it (design, rule 10). */
export function post(conversation: Conversation, member: string, message: Notification): Output {
  if (conversation.traits.oneStream) {
    conversation.unanswered.push({ method: message.method, before: conversation.ids.next })
    if (conversation.unanswered.length > 64) conversation.unanswered.shift()
  }
  return { type: 'send', member, message, repeatable: true }
}

const reads = /(?:\/list|\/read|\/get|^ping|^initialize)$|^completion\//

/** Sending the request twice does no harm: it only reads, or its tool says so. */
export const isRepeatable = (conversation: Conversation, message: Request): boolean =>
  isHarmless(message, conversation.repeatableTools)

/** As `isRepeatable`, where there is no conversation to ask. */
export function isHarmless(message: Request, repeatableTools: ReadonlySet<string>): boolean {
  if (reads.test(message.method)) return true
  if (message.method !== 'tools/call') return false
  const params = message.value['params']
  const tool = isObject(params) ? params['name'] : undefined
  return typeof tool === 'string' && repeatableTools.has(tool)
}

/** The backend session stands: what waited for it goes out. */
export function sendWaiting(conversation: Conversation): Output[] {
  const outputs = conversation.posts.map(({ member, message }) =>
    post(conversation, member, message),
  )
  conversation.posts = []
  for (const [number, exchange] of conversation.exchanges) {
    if (!exchange.sent) outputs.push(...dispatch(conversation, number, exchange))
  }
  return outputs
}

/** What a request waited for is done, or has failed. */
export function goOn(conversation: Conversation, number: number | undefined): Output[] {
  const exchange = number === undefined ? undefined : conversation.exchanges.get(number)
  if (number === undefined || exchange === undefined || exchange.sent) return []
  return conversation.phase === 'open' ? dispatch(conversation, number, exchange) : []
}

/** Sends a client's request, or what has to come before it; answers it where the backend has said it all already. */
export function dispatch(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
): Output[] {
  const { request } = exchange
  const { traits, greeting } = conversation
  if (request.method === 'server/discover' && traits.handshake) {
    conversation.exchanges.delete(number)
    return [{ type: 'finish', exchange: number, response: discovered(request.idText, greeting) }]
  }
  const level = exchange.levelled === true ? undefined : levelFor(conversation, exchange)
  if (level !== undefined) {
    exchange.levelled = true
    exchange.sent = false
    return [sendOwn(conversation, 'level', level, number).output]
  }
  exchange.sent = true
  return [send(exchange, number, isRepeatable(conversation, request))]
}
