// Requests on their way to a backend: which of them are answered here because the other side has no such method, and
// what becomes of the rest (design, rules 1, 4 and 6).
import { modernRevision } from '../protocol/dialects.ts'
import { request, withId, withValueAt } from '../protocol/jsonrpc.ts'
import type { Request } from '../protocol/jsonrpc.ts'
import { progressToken, withDeclared, withoutDeclared } from '../protocol/metadata.ts'
import type { Declared } from '../protocol/metadata.ts'
import { ourselves } from '../version.ts'
import type { Conversation, Member, OpenExchange } from './conversation.ts'
import { initializeFor } from './discovery.ts'
import { levelSet } from './logging.ts'

/** What we say of the clients of a conversation to a modern backend. */
export const declaredFor = (
  conversation: Conversation,
  member: Member | undefined,
): Omit<Declared, 'capabilities'> => ({
  capabilitiesText: member?.capabilitiesText ?? ourselves.capabilitiesText,
  clientInfoText: member?.clientInfoText ?? ourselves.clientInfoText,
  logLevel: member?.single === true ? undefined : levelSet(conversation),
})

/** The request as the backend is to have it. */
export function onTheWire(
  conversation: Conversation,
  { request: message, declared }: Pick<OpenExchange, 'request' | 'declared'>,
  member: Member | undefined,
  number: number,
): Request {
  if (message.bytes !== undefined) return message
  const { traits } = conversation
  if (traits.modern && declared === undefined) {
    const asked = message.method === 'initialize' ? discoverFor(message) : message
    return underNumber(
      conversation,
      withDeclared(asked, modernRevision, declaredFor(conversation, member)),
      number,
    )
  }
  if (traits.modern) return underNumber(conversation, message, number)
  // Asked of a backend without sessions; where there is one, its `initialize` has been answered.
  if (message.method === 'server/discover') return withId(initializeFor(declared), String(number))
  const plain = declared === undefined ? message : withoutDeclared(message)
  return underNumber(conversation, plain, number)
}

const discoverFor = ({ idText }: Request): Request => request(idText, 'server/discover', {})

/** Where several could have the same, ids and progress tokens are ours, unique and integers (design, rule 2). */
function underNumber(conversation: Conversation, message: Request, number: number): Request {
  // Many servers read numbers beyond 2^53 as another one, or refuse them.
  const id = message.value['id']
  const unsafe = typeof id === 'number' && !Number.isSafeInteger(id)
  if (!conversation.remaps && !unsafe) return message
  const wire = withId(message, String(number))
  if (!conversation.remaps || progressToken(message) === undefined) return wire
  return withValueAt(wire, ['params', '_meta', 'progressToken'], String(number))
}
