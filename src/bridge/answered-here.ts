// Requests that one side has and the other has not: they are answered here, or become something else (design, rules 1, 4
// and 6).
import { asText, failure, result } from '../protocol/jsonrpc.ts'
import type { Request, Response } from '../protocol/jsonrpc.ts'
import { paramsOf } from '../protocol/metadata.ts'
import { mismatchIn } from '../protocol/tool-headers.ts'
import type { Conversation, Member, OpenExchange, Output } from './conversation.ts'
import { filterIn, listen } from './listening.ts'
import { setLevel } from './logging.ts'
import { wake } from './restoring.ts'
import { subscribe, unsubscribe } from './standing-stream.ts'

/** What belongs to sessions, and is no more (2026-07-28, Changelog, major changes 2, 4 and 5). */
const former = new Set([
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
])

/** Undefined where the request is to go to the backend. */
export function answeredHere(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  member: Member | undefined,
  headers: Readonly<Record<string, string>> = {},
): Output[] | undefined {
  const { declared, request: message } = exchange
  const { modern } = conversation.traits
  if (exchange.translated) return withoutSession(conversation, number, exchange, member)
  if (modern) return undefined
  const { method, idText } = message
  if (method === 'server/discover' && member?.single !== true) {
    // Modern clients fall back to `initialize` on exactly this answer; session backends have been seen to crash on it.
    return finish(number, unknown(idText, method))
  }
  if (declared === undefined) return undefined
  if (former.has(method)) return finish(number, unknown(idText, method))
  if (method === 'tools/call') return checked(conversation, number, message, headers)
  if (method !== 'subscriptions/listen') return undefined
  const filter = filterIn(message)
  if (filter === undefined) {
    const text = 'params.notifications must say what to listen for'
    return finish(number, failure(idText, -32602, text))
  }
  const outputs = listen(conversation, number, exchange.member, message, filter)
  return conversation.phase === 'open' ? outputs : wake(conversation)
}

/** Copies of arguments in headers are checked by whoever knows the tool; a session backend knows nothing of them. */
function checked(
  { repeating }: Conversation,
  number: number,
  message: Request,
  headers: Readonly<Record<string, string>>,
): Output[] | undefined {
  const { name, arguments: given } = paramsOf(message)
  const tool = repeating.get(asText(name))
  const wrong = tool && mismatchIn(tool, given, headers)
  if (wrong === undefined) return undefined
  return finish(number, failure(message.idText, -32020, `header mismatch: ${wrong}`))
}

/** What a client of an earlier revision asks, and a modern backend has no method for. */
function withoutSession(
  conversation: Conversation,
  number: number,
  { request: message }: OpenExchange,
  member: Member | undefined,
): Output[] | undefined {
  const { method, idText } = message
  const single = member?.single === true
  switch (method) {
    case 'ping':
      return finish(number, result(idText, {}))
    case 'logging/setLevel':
      return single ? finish(number, result(idText, {})) : setLevel(conversation, number, message)
    case 'resources/subscribe':
      return single ? apart(number, idText, method) : subscribe(conversation, number, message)
    case 'resources/unsubscribe':
      return single ? apart(number, idText, method) : unsubscribe(conversation, number, message)
    case 'subscriptions/listen':
      return apart(number, idText, method)
    default:
      return undefined
  }
}

const finish = (number: number, response: Response): Output[] => [
  { type: 'finish', exchange: number, response },
]

const unknown = (idText: string, method: string): Response =>
  failure(idText, -32601, `method not found: ${method}`)

const apart = (number: number, idText: string, method: string): Output[] =>
  finish(
    number,
    failure(idText, -32601, `${method} needs a client with a stream to hear of changes`),
  )
