// A client's `initialize` and what follows from it: the revision that is settled on, and servers that do not know
// `initialize`, in whose name it is answered.
import { ProxyError } from '../errors.ts'
import { isRevision, newestRevision } from '../protocol/dialects.ts'
import type { Revision } from '../protocol/dialects.ts'
import { editObject } from '../protocol/json-text.ts'
import { isObject, request, result, withId, withValueAt } from '../protocol/jsonrpc.ts'
import type { Request, Response } from '../protocol/jsonrpc.ts'
import { implementation } from '../version.ts'
import type { Answering, Conversation, OpenExchange, Output } from './conversation.ts'
import { discovered } from './discovery.ts'
import { beginAll } from './listening.ts'
import { send, sendOwn, sendWaiting } from './sending.ts'

/** Servers that refuse a revision they do not know, instead of offering theirs, are asked for these in turn. */
const fallbacks: readonly Revision[] = ['2025-03-26', '2024-11-05']

/** The next revision to try after `initialize` was refused, if the refusal speaks of versions. */
function nextRevision(exchange: OpenExchange, response: Response): Revision | undefined {
  const error = response.value['error']
  if (!isObject(error) || !/version/i.test(response.text.slice(0, 2000))) return undefined
  return fallbacks.filter((revision) => revision < requestedRevision(exchange.wire))[0]
}

export const requestedRevision = (message: Request): string => {
  const params = message.value['params']
  const revision = isObject(params) ? params['protocolVersion'] : undefined
  return typeof revision === 'string' ? revision : newestRevision
}

/** Asks again with an older revision. Undefined where there is nothing left to try. */
export function retryOlder(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  response: Response,
): Output[] | undefined {
  const revision = nextRevision(exchange, response)
  if (revision === undefined) return undefined
  const params = exchange.wire.value['params']
  const wire = withValueAt(exchange.wire, ['params', 'protocolVersion'], JSON.stringify(revision))
  exchange.wire = {
    ...wire,
    value: {
      ...wire.value,
      params: { ...(isObject(params) ? params : {}), protocolVersion: revision },
    },
  }
  conversation.exchanges.set(number, exchange)
  return [send(exchange, number, true)]
}

/**
 * A client's `initialize` was answered: the session is open. A revision that no client would accept is replaced by the
 * one that the client asked for (2025-11-25, Lifecycle, "Version Negotiation").
 */
export function settle(
  conversation: Conversation,
  exchange: OpenExchange,
  response: Response,
): { response: Response; outputs: Output[] } {
  const answered = isObject(response.value['result']) ? response.value['result'] : {}
  const requested = requestedRevision(exchange.request)
  let revision = answered['protocolVersion']
  if (!isRevision(revision) && revision !== requested) {
    const fitting = isRevision(requested) ? requested : newestRevision
    const add = { protocolVersion: JSON.stringify(fitting) }
    response = { ...response, text: editObject(response.text, ['result'], { add }) }
    revision = fitting
  }
  const member = conversation.members.get(exchange.member)
  if (member !== undefined) member.revision = revision as string
  conversation.initialize = exchange.request
  conversation.greeting = response
  conversation.learnt++
  const stood = conversation.phase === 'open'
  conversation.phase = 'open'
  conversation.losses = 0
  conversation.level = undefined
  return {
    response,
    outputs: [
      { type: 'negotiated', member: exchange.member, revision: revision as string },
      ...(stood ? [] : beginAll(conversation)),
      ...sendWaiting(conversation),
    ],
  }
}

/** What a server must serve for us to speak of a capability in its name. */
const capabilities = { tools: 'tools/list', resources: 'resources/list', prompts: 'prompts/list' }

/**
 * A backend without a handshake refused `initialize`: it may simply not know it. It is asked for its lists, and
 * the client is answered in its name with the capabilities that these prove.
 */
export function answerFor(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  refusal: Response | ProxyError,
): Output[] {
  const probes = new Map<number, string>()
  const outputs = Object.entries(capabilities).map(([capability, method]) => {
    const own = sendOwn(conversation, 'probe', request('0', method))
    probes.set(own.number, capability)
    return own.output
  })
  conversation.answering.push({ exchange, number, refusal, probes, found: [] })
  return outputs
}

/** One probe has been answered; the last one settles the client's `initialize`. */
export function probed(conversation: Conversation, number: number, served: boolean): Output[] {
  const index = conversation.answering.findIndex((each) => each.probes.has(number))
  const answering = conversation.answering[index]
  if (answering === undefined) return []
  if (served) answering.found.push(answering.probes.get(number) ?? '')
  answering.probes.delete(number)
  if (answering.probes.size > 0) return []
  conversation.answering.splice(index, 1)
  return conclude(conversation, answering)
}

function conclude(
  conversation: Conversation,
  { number, exchange, refusal, found }: Answering,
): Output[] {
  const idText = exchange.request.idText
  if (found.length === 0) {
    if (refusal instanceof ProxyError) return [{ type: 'fail', exchange: number, error: refusal }]
    return [{ type: 'finish', exchange: number, response: withId(refusal, idText) }]
  }
  const requested = requestedRevision(exchange.request)
  const greeting = result(idText, {
    protocolVersion: isRevision(requested) ? requested : newestRevision,
    capabilities: Object.fromEntries(found.map((capability) => [capability, {}])),
    serverInfo: implementation,
  })
  if (exchange.request.method === 'server/discover') {
    return [{ type: 'finish', exchange: number, response: discovered(idText, greeting) }]
  }
  const settled = settle(conversation, exchange, greeting)
  return [...settled.outputs, { type: 'finish', exchange: number, response: settled.response }]
}
