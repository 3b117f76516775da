// Log messages between the eras: one level per session until 2025-11-25, one per request since (2026-07-28, Logging;
// design, rule 6).
import { failure, request, result } from '../protocol/jsonrpc.ts'
import type { Notification, Request } from '../protocol/jsonrpc.ts'
import { logLevels, objectAt, paramsOf } from '../protocol/metadata.ts'
import type { Conversation, OpenExchange, Output } from './conversation.ts'

const levelOf = (message: Request | Notification | undefined): unknown =>
  message === undefined ? undefined : paramsOf(message)['level']

/** `logging/setLevel` of a session client whose server has no such method: it goes with each request from now on. */
export function setLevel(conversation: Conversation, number: number, message: Request): Output[] {
  const level = levelOf(message)
  const known = logLevels.includes(level as string)
  if (known) {
    conversation.logLevel = message
    conversation.learnt++
  }
  const response = known
    ? result(message.idText, {})
    : failure(message.idText, -32602, `the level must be one of ${logLevels.join(', ')}`)
  return [{ type: 'finish', exchange: number, response }]
}

/** The level that requests of a session client are to carry. */
export function levelSet({ logLevel }: Conversation): string | undefined {
  const level = levelOf(logLevel)
  return typeof level === 'string' ? level : undefined
}

/** What sets the level that a modern client wants with its request, where the session has another one. */
export function levelFor(
  conversation: Conversation,
  { declared }: OpenExchange,
): Request | undefined {
  if (conversation.traits.modern) return undefined
  const level = declared?.logLevel
  const { greeting, logLevel } = conversation
  const logs = greeting !== undefined && objectAt(greeting, ['result', 'capabilities', 'logging'])
  // What a session client has set on a stream that it shares is not to be changed under its feet.
  if (level === undefined || !logs || logLevel !== undefined || conversation.level === level) {
    return undefined
  }
  conversation.level = level
  return request('0', 'logging/setLevel', { level })
}

/** Whether a modern client wants to have this message with the answer to its request. */
export function wantsLog({ declared }: OpenExchange, message: Notification): boolean {
  const least = declared?.logLevel
  if (least === undefined) return false
  return logLevels.indexOf(levelOf(message) as string) >= logLevels.indexOf(least)
}
