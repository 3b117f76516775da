// What a session server asks a modern client: the client is sent away with the questions, its exchange waits, and goes on
// when it comes back with the answers (2026-07-28, Multi Round-Trip Requests; design, rule 3).
import { ProxyError } from '../errors.ts'
import { editObject, elements } from '../protocol/json-text.ts'
import { asText, failure, isObject, readMessage, textAt, withId } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject, Request, Response } from '../protocol/jsonrpc.ts'
import { declaredIn, paramsOf, progressToken } from '../protocol/metadata.ts'
import type { Conversation, Input, OpenExchange, Outcome, Output } from './conversation.ts'
import { covers, requiredFor } from './capabilities.ts'
import { reply } from './questions.ts'
import { errorOf, withText } from './results.ts'

/** The requests that may be answered with questions (Multi Round-Trip Requests, "Supported Requests"). */
const answerable = new Set(['tools/call', 'prompts/get', 'resources/read'])

/** Whether clients may be asked something in an exchange of this method. */
export const mayBeAsked = (method: string): boolean => answerable.has(method)

/** Whether a modern client may be asked `message` in this exchange. */
export function takesQuestion({ declared, request }: OpenExchange, message: Request): boolean {
  if (declared === undefined || !answerable.has(request.method)) return false
  const required = requiredFor(message)
  return required !== undefined && covers(declared.capabilities, required)
}

/** A question has been noted for an exchange: others may be about to come with it. */
export function gather(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  // Who is away hears of it when it comes back.
  if (exchange === undefined || exchange.gathering === true || conversation.away.has(number)) {
    return []
  }
  exchange.gathering = true
  return [{ type: 'gather', exchange: number }]
}

/** The questions go to the client, which is to come back with the answers. */
export function park(conversation: Conversation, number: number): Output[] {
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return []
  exchange.gathering = false
  const questions = questionsOf(conversation, number).map(
    ([id, { request }]) => `"${keyOf(id)}":${asInput(request)}`,
  )
  if (questions.length === 0) return []
  const round = (exchange.parks ?? 0) + 1
  exchange.parks = round
  exchange.carries = false
  conversation.away.set(number, { member: exchange.member, outcome: undefined })
  return [{ type: 'park', exchange: number, round, questions: `{${questions.join(',')}}` }]
}

const keyOf = (question: number): string => `q${question}`

const questionsOf = (conversation: Conversation, number: number) =>
  [...conversation.questions].filter(([, { exchange }]) => exchange === number)

/** A request as a member of `inputRequests`: without envelope. */
function asInput(request: Request): string {
  const params = asParams(request)
  const method = JSON.stringify(request.method)
  return params === undefined ? `{"method":${method}}` : `{"method":${method},"params":${params}}`
}

function asParams(request: Request): string | undefined {
  const params = textAt(request, ['params'])
  // Gone with 2026-07-28 (Changelog, minor change 11).
  return params === undefined ? undefined : editObject(params, [], { drop: ['elicitationId'] })
}

/** The client is back: its answers go to the backend, and it is asked again for those that it has not given. */
export function resume(
  conversation: Conversation,
  { exchange: number, message, carries }: Input & { type: 'resume' },
): Output[] {
  const away = conversation.away.get(number)
  if (away === undefined) return [{ type: 'fail', exchange: number, error: notWaiting() }]
  conversation.away.delete(number)
  const exchange = conversation.exchanges.get(number)
  if (exchange === undefined) return outcome(away.outcome, number, message)
  exchange.request = message
  exchange.declared = declaredIn(message) ?? exchange.declared
  exchange.token = progressToken(message)
  delete exchange.progressHead
  exchange.carries = carries
  const outputs: Output[] = []
  for (const [id, question] of questionsOf(conversation, number)) {
    const text = textAt(message, ['params', 'inputResponses', keyOf(id)])
    if (text === undefined) continue
    conversation.questions.delete(id)
    outputs.push(reply(conversation, answerTo(question.request, text), question.member))
  }
  return [...outputs, ...park(conversation, number)]
}

/** Its id is the one that the client chose for coming back. */
function outcome(kept: Outcome | undefined, number: number, { idText }: Request): Output[] {
  if (kept === undefined) return [{ type: 'fail', exchange: number, error: notWaiting() }]
  return [kept.type === 'finish' ? { ...kept, response: withId(kept.response, idText) } : kept]
}

export const notWaiting = (): ProxyError =>
  new ProxyError('PARAMS_INVALID', 'requestState: no request waits for these answers any more')

/** What is wrong with the answers of a client that comes back, in words. */
export function faultInAnswers(message: Request): string | undefined {
  const answers = paramsOf(message)['inputResponses']
  if (answers === undefined) return undefined
  if (!isObject(answers)) return 'inputResponses must be an object'
  const odd = Object.entries(answers).find(([, answer]) => !isObject(answer))
  return odd === undefined ? undefined : `inputResponses: "${odd[0]}" must be an object`
}

function answerTo(question: Request, text: string): Response {
  const whole = `{"jsonrpc":"2.0","id":${question.idText},"result":${text}}`
  const read = readMessage(whole, JSON.parse(whole) as Json)
  if (!read.ok || read.value.kind !== 'response') throw new TypeError('no response')
  return read.value
}

/** Keeps what became of an exchange whose client is away, until it comes back. False: its client is there. */
export function keptForLater(conversation: Conversation, output: Output): boolean {
  if (output.type !== 'finish' && output.type !== 'fail') return false
  const away = conversation.away.get(output.exchange)
  if (away === undefined) return false
  away.outcome ??= output
  return true
}

/** Until 2025-11-25 an error said that the user has to visit an address first (2025-11-25, Elicitation, "URL Elicitation Required Error"). */
const urlRequired = -32042

/** That error as it is said since; undefined for anything else. Its request runs anew when the client comes back. */
export function asInputRequired(
  response: Response,
  method: string,
  capabilities: JsonObject,
): Response | undefined {
  const error = errorOf(response)
  if (!mayBeAsked(method) || error?.['code'] !== urlRequired || response.idText === undefined) {
    return undefined
  }
  const required = { elicitation: { url: {} } }
  if (!covers(capabilities, required)) {
    const text = `${asText(error['message'])}; this request has not declared that its user can be sent there`
    return failure(response.idText, -32021, text, { requiredCapabilities: required })
  }
  const whole = textAt(response, ['error', 'data', 'elicitations']) ?? '[]'
  const objects = [...elements(whole)].filter(({ start }) => whole[start] === '{')
  const questions = objects.map(({ start, end }, index) => {
    const add = { mode: '"url"' }
    const params = editObject(whole.slice(start, end), [], { add, drop: ['elicitationId'] })
    return `"${keyOf(index + 1)}":{"method":"elicitation/create","params":${params}}`
  })
  if (questions.length === 0) return undefined
  const text = `{"jsonrpc":"2.0","id":${response.idText},"result":{"resultType":"input_required","inputRequests":{${questions.join(',')}}}}`
  return withText(response, text)
}
