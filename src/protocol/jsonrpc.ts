// JSON-RPC 2.0 messages as values that keep their original text. What nobody changes is forwarded as that text; a
// changed id or token is replaced inside it.
import { elements, findValue, replaceValue } from './json-text.ts'
import type { Passing } from './passing.ts'

export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [key: string]: Json | undefined
}

interface Base {
  /** One JSON object as text. It always carries `"jsonrpc":"2.0"`, whatever the sender wrote. */
  readonly text: string
  /** The same, parsed. */
  readonly value: JsonObject
}

export interface Request extends Base {
  readonly kind: 'request'
  readonly method: string
  /** The id as JSON text: `1`, `1.0` and `"1"` differ here, as they do to their owner. */
  readonly idText: string
  /**
   * The whole, where it is too large to be held; `text` and `value` then have no more than the envelope. Its end is yet
   * to come, and may bring the id: `null` until then.
   */
  readonly bytes?: Passing
}

export interface Notification extends Base {
  readonly kind: 'notification'
  readonly method: string
}

export interface Response extends Base {
  readonly kind: 'response'
  /** Undefined where the id is missing or null: an answer that names no request. */
  readonly idText: string | undefined
  readonly failed: boolean
}

export type Message = Request | Notification | Response

export type Read<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string }

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A text or a number as text; anything else, which may have no text at all, as nothing. */
export const asText = (value: Json | undefined): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : ''

const versioned = (text: string, value: JsonObject): string => {
  if (value['jsonrpc'] === '2.0') return text
  if ('jsonrpc' in value) return replaceValue(text, ['jsonrpc'], '"2.0"')
  const brace = text.indexOf('{')
  const separator = Object.keys(value).length === 0 ? '' : ','
  return `${text.slice(0, brace + 1)}"jsonrpc":"2.0"${separator}${text.slice(brace + 1)}`
}

/**
 * Reads one message from a parsed value and the text it was parsed from. A missing or odd `jsonrpc` member is put
 * right; ids may be strings or numbers (MCP forbids null ids in requests: 2025-11-25, Basic, "Requests").
 */
export function readMessage(text: string, value: Json): Read<Message> {
  if (!isObject(value)) return { ok: false, reason: 'a message must be a JSON object' }
  const id = value['id']
  const method = value['method']
  const base = { text: versioned(text, value), value }
  const answers = 'result' in value || 'error' in value
  if (typeof method === 'string' && !answers) {
    if (id === undefined) return { ok: true, value: { ...base, kind: 'notification', method } }
    if (typeof id !== 'string' && typeof id !== 'number') {
      return { ok: false, reason: 'the id of a request must be a string or a number' }
    }
    return { ok: true, value: { ...base, kind: 'request', method, idText: idTextOf(text, id) } }
  }
  if (!answers) return { ok: false, reason: 'a message needs a method, a result or an error' }
  if (id !== undefined && id !== null && typeof id !== 'string' && typeof id !== 'number') {
    return { ok: false, reason: 'the id of a response must be a string, a number or null' }
  }
  const failed = 'error' in value && value['error'] !== null
  const idText = id === undefined || id === null ? undefined : idTextOf(text, id)
  return { ok: true, value: { ...base, kind: 'response', idText, failed } }
}

const idTextOf = (text: string, id: string | number): string => {
  // The usual ids have one spelling only, so the text need not be searched for them.
  if (typeof id === 'number' && Number.isSafeInteger(id) && !/"id"\s*:\s*-?[\d]+[.eE]/.test(text)) {
    return String(id)
  }
  const span = findValue(text, ['id'])
  return span === undefined ? JSON.stringify(id) : text.slice(span.start, span.end)
}

export const isInitialize = (message: Message | undefined): boolean =>
  message?.kind === 'request' && message.method === 'initialize'

/** Whether `message` is the response to `sent`, by its id as it is written. */
export const answers = (message: Message, sent: Message): boolean =>
  message.kind === 'response' && sent.kind === 'request' && message.idText === sent.idText

/** Reads the body of a POST or of an answer: one message, or a batch (2025-03-26, Basic, "Batching"). */
export function readBody(
  text: string,
): Read<{ readonly batch: boolean; readonly messages: readonly Message[] }> {
  let parsed: Json
  try {
    parsed = JSON.parse(text) as Json
  } catch (error) {
    // The engine's message quotes the text, which may hold secrets.
    const what = (error as Error).message.replace(/,? (?:\.{3})?"[\s\S]*$/, '')
    return { ok: false, reason: `not JSON: ${what}` }
  }
  if (!Array.isArray(parsed)) {
    const message = readMessage(text, parsed)
    return message.ok ? { ok: true, value: { batch: false, messages: [message.value] } } : message
  }
  if (parsed.length === 0) return { ok: false, reason: 'a batch must not be empty' }
  const messages: Message[] = []
  let index = 0
  for (const { start, end } of elements(text)) {
    const message = readMessage(text.slice(start, end), parsed[index] as Json)
    if (!message.ok)
      return { ok: false, reason: `message ${index} of the batch: ${message.reason}` }
    messages.push(message.value)
    index++
  }
  return { ok: true, value: { batch: true, messages } }
}

/** The same message under another id. `value` keeps the old one: ids are read from `idText` only. */
export function withId<T extends Request | Response>(message: T, idText: string): T {
  if (message.idText === idText) return message
  const text =
    'id' in message.value
      ? replaceValue(message.text, ['id'], idText)
      : message.text.replace('{', () => `{"id":${idText},`)
  return { ...message, text, idText }
}

/** The same message with the value at `path` replaced by JSON text; `value` keeps the old one. */
export function withValueAt<T extends Message>(
  message: T,
  path: readonly string[],
  replacement: string,
): T {
  return { ...message, text: replaceValue(message.text, path, replacement) }
}

/** The JSON text of the value at `path`, if there is one. */
export function textAt(message: Message, path: readonly string[]): string | undefined {
  let value: Json | undefined = message.value
  for (const step of path) {
    if (!isObject(value)) return undefined
    value = value[step]
  }
  if (value === undefined) return undefined
  const span = findValue(message.text, path)
  return span === undefined ? undefined : message.text.slice(span.start, span.end)
}

const build = (value: JsonObject): Message => {
  const message = readMessage(JSON.stringify(value), value)
  if (!message.ok) throw new TypeError(message.reason)
  return message.value
}

/** Messages of our own making. */
export const request = (idText: string, method: string, params?: JsonObject): Request =>
  withId(build({ jsonrpc: '2.0', id: 0, method, ...(params && { params }) }) as Request, idText)

export const notification = (method: string, params?: JsonObject): Notification =>
  build({ jsonrpc: '2.0', method, ...(params && { params }) }) as Notification

export const result = (idText: string, value: JsonObject): Response =>
  withId(build({ jsonrpc: '2.0', id: 0, result: value }) as Response, idText)

/** `idText` undefined makes an error without an id, as HTTP-level refusals carry (2025-11-25, Transports, "Sending Messages to the Server"). */
export const failure = (
  idText: string | undefined,
  code: number,
  message: string,
  data?: JsonObject,
): Response => {
  const error = { code, message, ...(data && { data }) }
  if (idText !== undefined) {
    return withId(build({ jsonrpc: '2.0', id: 0, error }) as Response, idText)
  }
  return build({ jsonrpc: '2.0', id: null, error }) as Response
}
