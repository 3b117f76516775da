// What a modern server asks a session client: its `input_required` becomes requests to the client, and the answers go
// back with the request itself (2026-07-28, Multi Round-Trip Requests; design, rule 3).
import { ProxyError } from '../errors.ts'
import { editObject } from '../protocol/json-text.ts'
import { asText, failure, isObject, readMessage, textAt, withId } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject, Request, Response } from '../protocol/jsonrpc.ts'
import { covers, requiredFor } from './capabilities.ts'
import { takeNumber } from './conversation.ts'
import type { Conversation, Member, OpenExchange, Output, Question } from './conversation.ts'
import { errorOf, resultOf } from './results.ts'
import { findPlace } from './routing.ts'
import { isRepeatable, send } from './sending.ts'
import { deliver, withdrawIn } from './questions.ts'

/** Questions of one round. */
const mostQuestions = 100

/** A server that asks on and on would never answer. */
export const mostRounds = 10

export const asksForInput = (response: Response): boolean =>
  resultOf(response)?.['resultType'] === 'input_required'

/** The server asks before it answers: the client is asked, or the request goes out again where there is nothing to ask. */
export function askForInput(
  conversation: Conversation,
  number: number,
  exchange: OpenExchange,
  response: Response,
): Output[] {
  const count = (exchange.input?.count ?? 0) + 1
  if (count > mostRounds) return fails(number, `asked for input more than ${mostRounds} times`)
  const member = conversation.members.get(exchange.member)
  if (member === undefined) return []
  const questions = questionsIn(response)
  if (questions === undefined) return fails(number, 'asked for input that no client can give')
  for (const [, question] of questions) {
    const missing = missingFor(member, question)
    if (missing !== undefined) return [{ type: 'fail', exchange: number, error: missing }]
  }
  exchange.input = {
    count,
    open: new Set(questions.map(([key]) => key)),
    answers: new Map(),
    state: textAt(response, ['result', 'requestState']),
  }
  conversation.exchanges.set(number, exchange)
  if (questions.length === 0) return again(conversation, number, exchange)
  const suits = (other: Member): boolean => other === member
  if (findPlace(conversation, suits, number) === undefined) {
    conversation.exchanges.delete(number)
    return [{ type: 'fail', exchange: number, error: unheard(exchange.request.method) }]
  }
  return questions.flatMap(([key, question]) => {
    const input = { exchange: number, key }
    const place = findPlace(conversation, suits, number)
    return place === undefined ? [] : [deliver(conversation, question, place, input)]
  })
}

const unheard = (method: string): ProxyError =>
  new ProxyError(
    'CANNOT_CROSS',
    `the server asks something before it answers ${method}, and this client takes no event stream to be asked on`,
  )

const fails = (number: number, what: string): Output[] => [
  {
    type: 'fail',
    exchange: number,
    error: new ProxyError('BACKEND_ANSWER_INVALID', `the backend ${what}`),
  },
]

/** Undefined where one of them is no request that a client knows. */
function questionsIn(response: Response): [string, Request][] | undefined {
  const asked = resultOf(response)?.['inputRequests']
  if (asked === undefined) return []
  if (!isObject(asked)) return undefined
  const questions: [string, Request][] = []
  if (Object.keys(asked).length > mostQuestions) return undefined
  for (const [key, value] of Object.entries(asked)) {
    const text = textAt(response, ['result', 'inputRequests', key])
    if (text === undefined || !isObject(value)) return undefined
    const id = editObject(text, [], { add: { jsonrpc: '"2.0"', id: '0' } })
    const whole = withElicitationId(id, value, key)
    const read = readMessage(whole, JSON.parse(whole) as Json)
    if (!read.ok || read.value.kind !== 'request') return undefined
    if (requiredFor(read.value) === undefined) return undefined
    questions.push([key, read.value])
  }
  return questions
}

/** Session clients know of it only under an id (2025-11-25, Elicitation; gone with 2026-07-28, Changelog, minor change 11). */
function withElicitationId(text: string, { params }: JsonObject, key: string): string {
  if (!isObject(params) || params['mode'] !== 'url' || 'elicitationId' in params) return text
  return editObject(text, ['params'], { add: { elicitationId: JSON.stringify(key) } })
}

/** The server asks what the client has not said it can answer. */
function missingFor(member: Member, question: Request): ProxyError | undefined {
  const required = requiredFor(question)
  if (required === undefined || covers(member.capabilities, required)) return undefined
  return new ProxyError(
    'CAPABILITY_MISSING',
    `the server asks for ${question.method}, which this client has not declared`,
    { data: { requiredCapabilities: required } },
  )
}

/** A client's answer to one of the questions; the last one sends the request out again. */
export function takeInput(
  conversation: Conversation,
  { request, input }: Question,
  answer: Response,
): Output[] {
  const exchange = input && conversation.exchanges.get(input.exchange)
  const round = exchange?.input
  if (input === undefined || exchange === undefined || round === undefined) return []
  const text = answer.failed ? refusal(request) : textAt(answer, ['result'])
  if (text === undefined) {
    conversation.exchanges.delete(input.exchange)
    return [
      ...withdrawIn(conversation, input.exchange),
      {
        type: 'finish',
        exchange: input.exchange,
        response: refusedBy(answer, exchange.request, request.method),
      },
    ]
  }
  round.open.delete(input.key)
  round.answers.set(input.key, text)
  return round.open.size > 0 ? [] : again(conversation, input.exchange, exchange)
}

/** Only a question to the user can be left without an answer. */
const refusal = ({ method }: Request): string | undefined =>
  method === 'elicitation/create' ? '{"action":"cancel"}' : undefined

/** The client's own error ends its request: there is no way to tell the server of it. */
function refusedBy(answer: Response, { idText }: Request, method: string): Response {
  const { code, message } = errorOf(answer) ?? ({} as JsonObject)
  const number = Number.isInteger(code) ? Number(code) : -32603
  return failure(idText, number, `the client refused ${method}: ${asText(message)}`)
}

/** The same request once more, with what was asked for, under an id of its own. */
function again(conversation: Conversation, number: number, exchange: OpenExchange): Output[] {
  const { answers, state } = exchange.input ?? {
    answers: new Map<string, string>(),
    state: undefined,
  }
  const given = [...answers].map(([key, text]) => `${JSON.stringify(key)}:${text}`)
  const add = {
    ...(given.length > 0 && { inputResponses: `{${given.join(',')}}` }),
    ...(state !== undefined && { requestState: state }),
  }
  const drop = ['inputResponses', 'requestState']
  const text = editObject(exchange.wire.text, ['params'], { add, drop })
  exchange.wire = withId({ ...exchange.wire, text }, String(takeNumber(conversation.ids)))
  exchange.sent = true
  return [send(exchange, number, isRepeatable(conversation, exchange.request))]
}
