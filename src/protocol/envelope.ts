// The JSON-RPC envelope of what a backend sends, mended where its meaning is plain. Applies to events and to JSON bodies
// alike. The text is rebuilt only when a rule fired; the names of the rules stand in event-stream/rules.ts.
import { isOn } from '../event-stream/rules.ts'
import type { RuleName, RuleSwitches } from '../event-stream/rules.ts'
import { members } from './json-text.ts'
import { isObject, readMessage } from './jsonrpc.ts'
import type { Json, JsonObject, Message, Read } from './jsonrpc.ts'

const responseMembers = new Set(['jsonrpc', 'id', 'result', 'error'])

/**
 * Reads a message from a parsed value and its text. `repaired` hears each rule that was applied. Not ok: the value is no
 * JSON-RPC message and no rule makes it one.
 */
export function repairEnvelope(
  text: string,
  value: Json,
  rules: RuleSwitches,
  repaired: (rule: RuleName) => void,
): Read<Message> {
  if (!isObject(value)) return readMessage(text, value)
  if (isPlain(value)) return readMessage(text, value)
  const fired: RuleName[] = []
  const may = (rule: RuleName): boolean => isOn(rules, rule)
  const fix = (rule: RuleName): true => {
    fired.push(rule)
    return true
  }
  const parts = partsOf(text)
  const drop = (...keys: string[]): void => keys.forEach((key) => parts.delete(key))

  const known = ['result', 'error', 'method'].some((key) => key in value)
  if (!known && may('framework-envelope')) {
    const inner = typeof value['raw'] === 'string' ? unframe(value['raw']) : undefined
    if (inner !== undefined) {
      const once = { ...rules, 'framework-envelope': false }
      const read = repairEnvelope(inner.text, inner.value, once, repaired)
      if (read.ok) repaired('framework-envelope')
      return read
    }
    const error = frameworkError(value)
    if (error !== undefined && fix('framework-envelope')) parts.set('error', JSON.stringify(error))
  }

  // Servers that write every message from one structure put empty answers into their requests.
  const empty = ['result', 'error'].filter((key) => parts.get(key) === 'null')
  const asks = typeof value['method'] === 'string' && parts.has('params') && empty.length > 0
  const answers = ['result', 'error'].some((key) => parts.has(key) && parts.get(key) !== 'null')
  if (asks && !answers && may('result-and-error')) {
    fix('result-and-error')
    drop(...empty)
  }
  if (parts.has('result') || parts.has('error')) {
    if (!parts.has('id') && may('id-spelling')) {
      const spelt = [...parts.keys()].find((key) => key.toLowerCase() === 'id')
      if (spelt !== undefined && fix('id-spelling')) {
        parts.set('id', parts.get(spelt) ?? 'null')
        drop(spelt)
      }
    }
    if (parts.has('result') && parts.has('error') && may('result-and-error')) {
      fix('result-and-error')
      const none = ['null', '""', '{}', 'false'].includes(parts.get('error') ?? '')
      drop(none && parts.get('result') !== 'null' ? 'error' : 'result')
    }
    if (parts.has('method') && may('echoed-method')) {
      fix('echoed-method')
      drop('method', 'params')
    }
    const error = parts.get('error')
    if (error !== undefined && may('error-shape')) {
      const shaped = shapeError(JSON.parse(error) as Json)
      if (shaped !== undefined && fix('error-shape')) parts.set('error', JSON.stringify(shaped))
    }
    const extra = [...parts.keys()].filter((key) => !responseMembers.has(key))
    if (extra.length > 0 && !parts.has('method') && may('extra-members')) {
      if (!fired.includes('framework-envelope')) fix('extra-members')
      drop(...extra)
    }
  }
  if (parts.get('jsonrpc') !== '"2.0"') {
    if (!may('jsonrpc-version')) return { ok: false, reason: 'the jsonrpc member is not "2.0"' }
    if (fired.length === 0) fix('jsonrpc-version')
    parts.set('jsonrpc', '"2.0"')
  }
  const mended = fired.every((rule) => rule === 'jsonrpc-version') ? text : join(parts)
  const read = readMessage(mended, JSON.parse(mended) as Json)
  if (read.ok) for (const rule of fired) repaired(rule)
  return read
}

/** Nothing to mend: the usual case, told apart cheaply. */
export function isPlain(value: JsonObject): boolean {
  if (value['jsonrpc'] !== '2.0') return false
  if (!('result' in value) && !('error' in value)) return typeof value['method'] === 'string'
  if ('result' in value && 'error' in value) return false
  const count = Object.keys(value).length
  const error = value['error']
  return (
    count === ('id' in value ? 3 : 2) &&
    ('id' in value || 'result' in value || error !== undefined) &&
    (!('error' in value) || (isObject(error) && shapeError(error) === undefined))
  )
}

const partsOf = (text: string): Map<string, string> => {
  const parts = new Map<string, string>()
  for (const { key, value } of members(text)) parts.set(key, text.slice(value.start, value.end))
  return parts
}

const join = (parts: ReadonlyMap<string, string>): string =>
  `{${[...parts].map(([key, text]) => `${JSON.stringify(key)}:${text}`).join(',')}}`

/** -32603 where nothing better is known; -32601 where the text says that the method is unknown. */
const codeOf = (message: string): number =>
  /\bmethod\b[^.]{0,80}?\bnot (?:found|supported|implemented)|unknown method/i.test(
    message.slice(0, 300),
  )
    ? -32601
    : -32603

/** An error as JSON-RPC has it (section 5.1), or undefined where it is one already. */
function shapeError(error: Json): JsonObject | undefined {
  if (!isObject(error)) {
    const message = typeof error === 'string' ? error : JSON.stringify(error)
    return { code: codeOf(message), message }
  }
  const { code, message } = error
  if (Number.isInteger(code) && typeof message === 'string') return undefined
  const text = typeof message === 'string' ? message : JSON.stringify(message ?? error)
  return { ...error, code: Number.isInteger(code) ? code : codeOf(text), message: text }
}

/** What a web framework says instead of a JSON-RPC error. */
function frameworkError(value: JsonObject): JsonObject | undefined {
  const { detail, errors, code, message } = value
  const first = Array.isArray(errors) ? (errors[0] as Json | undefined) : undefined
  const text =
    textOf(detail) ??
    (isObject(first) ? textOf(first['message']) : undefined) ??
    (isFailure(code) ? textOf(message) : undefined)
  return text === undefined ? undefined : { code: codeOf(text), message: text }
}

const shown = (value: Json): string => JSON.stringify(value).slice(0, 200)

/** `{"code":0,"message":"success"}` is no error, and must not end the exchange that waits. */
const isFailure = (code: Json | undefined): boolean => {
  if (typeof code !== 'number' && typeof code !== 'string') return false
  const number = Number(code)
  return Number.isNaN(number)
    ? !/^(?:ok|success)$/i.test(String(code))
    : number < 0 || number >= 400
}

const textOf = (value: Json | undefined): string | undefined => {
  if (typeof value === 'string') return value
  if (!Array.isArray(value) || value.length === 0) return undefined
  return value
    .map((each: Json) => (isObject(each) ? (textOf(each['msg']) ?? shown(each)) : String(each)))
    .join('; ')
}

/** The JSON inside an event stream that was put into a string whole. */
function unframe(raw: string): { text: string; value: Json } | undefined {
  const text = raw
    .split(/\r\n|\r|\n/)
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(5))
    .join('\n')
  for (const candidate of [text, raw]) {
    try {
      return { text: candidate.trim(), value: JSON.parse(candidate) as Json }
    } catch {
      // Not this one.
    }
  }
  return undefined
}
