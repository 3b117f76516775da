// From one event to what it says: by the standard first, then JSON, then JSON-RPC, and only on failure by the rules on
// data, endpoints and envelopes. No state: one event in, what was decoded out.
import { createParser } from 'eventsource-parser'
import { isPlain, repairEnvelope } from '../protocol/envelope.ts'
import { elements } from '../protocol/json-text.ts'
import { isObject, readMessage } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject, Message } from '../protocol/jsonrpc.ts'
import { isOn, textRules } from './rules.ts'
import type { RuleName, RuleSwitches } from './rules.ts'

export type Decoded =
  /** Where the backend wants its POSTs, as it was meant: trimmed, unquoted, unwrapped. */
  | { readonly kind: 'endpoint'; readonly data: string }
  | { readonly kind: 'message'; readonly message: Message }
  /** JSON that is no JSON-RPC message, such as `{"status":"acknowledged"}`. */
  | { readonly kind: 'stray'; readonly text: string }
  /** An `event: error`, or data that no rule could mend, cut to 200 characters. */
  | { readonly kind: 'error'; readonly text: string }
  /** Heartbeats and the like. */
  | { readonly kind: 'noise'; readonly name: string }

export interface EventContext {
  readonly rules: RuleSwitches
  /** Endpoint events mean something on this stream. */
  readonly endpoints: boolean
  readonly isEndpoint: (data: string) => boolean
  readonly repaired: (rule: RuleName, line: string) => void
  /** An endpoint in odd clothes has been seen. */
  readonly candidate: (data: string) => void
}

const pingLike = /^(?:ping|pong|heartbeat|keep-?alive|\[DONE\])$/i
/** Names of events that only keep a stream alive. */
export const isHeartbeatName = (name: string): boolean => pingLike.test(name)
const excerpt = (text: string): string => text.slice(0, 200)

/** `name` is the event's name, empty for a nameless one. */
export function readEvent(name: string, data: string, context: EventContext): Decoded[] {
  if (context.endpoints && name === 'endpoint') return [readEndpoint(data, context)]
  const parsed = parse(data)
  if (parsed !== undefined) return readJson(name, data, parsed.value, context)
  return readText(name, data, context)
}

export const isJson = (text: string): boolean => parse(text) !== undefined

const parse = (text: string): { readonly value: Json } | undefined => {
  try {
    return { value: JSON.parse(text) as Json }
  } catch {
    return undefined
  }
}

/** The message that data is if nothing need be mended in it. */
export function readClean(data: string): Message | undefined {
  const value = parse(data)?.value
  if (!isObject(value) || !isPlain(value)) return undefined
  const read = readMessage(data, value)
  return read.ok ? read.value : undefined
}

const isMessageName = (name: string): boolean => name === '' || name === 'message'

/** Data that is no JSON. */
function readText(name: string, data: string, context: EventContext): Decoded[] {
  for (const rule of textRules) {
    if (!isOn(context.rules, rule.name)) continue
    const meant = rule.mend(data)
    const values = meant?.map((text) => ({ text, parsed: parse(text) }))
    if (values === undefined || !values.every(({ parsed }) => isMessageJson(parsed?.value)))
      continue
    context.repaired(rule.name, data)
    return values.flatMap(({ text, parsed }) => readJson('', text, parsed?.value ?? null, context))
  }
  if (isMessageName(name) && isOn(context.rules, 'double-framing')) {
    const inside = framedEvents(data, context)
    if (inside !== undefined) return inside
  }
  if (context.endpoints && couldBeEndpoint(name)) offer(data, context)
  const word = data.trim()
  if (pingLike.test(name) || pingLike.test(word) || word === '') {
    if (isMessageName(name) && word !== '') {
      if (!isOn(context.rules, 'data-heartbeat')) return [{ kind: 'error', text: excerpt(data) }]
      context.repaired('data-heartbeat', data)
    }
    return [{ kind: 'noise', name }]
  }
  if (name === 'error' || isMessageName(name)) return [{ kind: 'error', text: excerpt(data) }]
  return [{ kind: 'noise', name }]
}

/** Events that were framed twice, one level deep: what they say, where one of them says something. */
function framedEvents(data: string, context: EventContext): Decoded[] | undefined {
  if (!/^(?:event|data|id|retry):/.test(data)) return undefined
  const inner: EventContext = { ...context, rules: { ...context.rules, 'double-framing': false } }
  const values: Decoded[] = []
  const parser = createParser({
    onEvent: ({ event, data: text }) => values.push(...readEvent(event ?? '', text, inner)),
  })
  parser.feed(`${data}\n\n`)
  if (!values.some(({ kind }) => kind === 'message' || kind === 'endpoint')) return undefined
  context.repaired('double-framing', data)
  return values
}

const isMessageJson = (value: Json | undefined): boolean =>
  isObject(value) && ('method' in value || 'result' in value || 'error' in value)

function readJson(name: string, text: string, value: Json, context: EventContext): Decoded[] {
  if (Array.isArray(value)) return readArray(name, text, value as readonly Json[], context)
  if (typeof value === 'string') return readString(name, text, value, context)
  if (!isObject(value)) return [{ kind: 'noise', name }]
  if (isMessageJson(value)) {
    const odd = !isMessageName(name)
    const whole = value['jsonrpc'] === '2.0' || ('id' in value && !('method' in value))
    if (odd && !(whole && isOn(context.rules, 'event-name'))) {
      return [name === 'error' ? { kind: 'error', text: excerpt(text) } : { kind: 'noise', name }]
    }
    if (odd) context.repaired('event-name', text)
    return [readRepaired(text, value, context)]
  }
  const url = endpointIn(value)
  if (context.endpoints && url !== undefined && couldBeEndpoint(name)) offer(url, context)
  if (!isMessageName(name)) {
    return [name === 'error' ? { kind: 'error', text: excerpt(text) } : { kind: 'noise', name }]
  }
  if (isHeartbeat(value) && isOn(context.rules, 'data-heartbeat')) {
    context.repaired('data-heartbeat', text)
    return [{ kind: 'noise', name }]
  }
  return [readRepaired(text, value, context)]
}

function readRepaired(text: string, value: JsonObject, context: EventContext): Decoded {
  const read = repairEnvelope(text, value, context.rules, (rule) => context.repaired(rule, text))
  return read.ok ? { kind: 'message', message: read.value } : { kind: 'stray', text }
}

function readArray(
  name: string,
  text: string,
  values: readonly Json[],
  context: EventContext,
): Decoded[] {
  const whole = values.length > 0 && values.every(isMessageJson)
  if (!whole || !isOn(context.rules, 'array-of-messages')) return [{ kind: 'stray', text }]
  context.repaired('array-of-messages', text)
  return [...elements(text)].flatMap(({ start, end }, index) =>
    readJson(name, text.slice(start, end), values[index] ?? null, context),
  )
}

function readString(name: string, text: string, value: string, context: EventContext): Decoded[] {
  const inner = parse(value)
  if (inner !== undefined && isMessageJson(inner.value) && isOn(context.rules, 'json-in-string')) {
    context.repaired('json-in-string', text)
    return readJson(name, value, inner.value, context)
  }
  if (context.endpoints && couldBeEndpoint(name)) offer(value, context)
  return [{ kind: 'noise', name }]
}

const isHeartbeat = (value: JsonObject): boolean =>
  ['type', 'event'].some((key) => {
    const word = value[key]
    return typeof word === 'string' && pingLike.test(word)
  })

/** Rule `odd-endpoint`: nameless, `message`, or `endpoint` in another spelling. */
const couldBeEndpoint = (name: string): boolean =>
  isMessageName(name) || name.trim().toLowerCase() === 'endpoint'

function offer(data: string, context: EventContext): void {
  const url = data.trim()
  if (!isOn(context.rules, 'odd-endpoint') || !looksLikeUrl(url) || !context.isEndpoint(url)) return
  context.repaired('odd-endpoint', data)
  context.candidate(url)
}

const looksLikeUrl = (text: string): boolean => /^(?:\/|https?:\/\/|\?|[\w.~-]+[/?])\S*$/.test(text)

/** The URL of an object that has just one. */
function endpointIn(value: JsonObject): string | undefined {
  const urls = ['endpoint', 'uri', 'url', 'messageUrl']
    .map((key) => value[key])
    .filter((each) => typeof each === 'string')
  return urls.length === 1 ? urls[0] : undefined
}

/** The data of an `endpoint` event, out of whatever it was wrapped in. */
function readEndpoint(data: string, context: EventContext): Decoded {
  let url = data
  const change = (rule: RuleName, to: string | undefined): void => {
    if (to === undefined || to === url || !isOn(context.rules, rule)) return
    context.repaired(rule, data)
    url = to
  }
  change('double-framing', /^data:\s*(\S+)\s*$/.exec(url)?.[1])
  change('padded-endpoint', url.trim())
  let end = url.length
  while (url.endsWith('\\n', end) || url.endsWith('\\r', end)) end -= 2
  change('escaped-line-breaks', url.slice(0, end))
  const value = parse(url)?.value
  if (typeof value === 'string') change('quoted-endpoint', value)
  else change('quoted-endpoint', /^(["'])(.*)\1$/.exec(url)?.[2])
  if (isObject(value)) change('json-endpoint', endpointIn(value))
  // Nothing resolves to the stream's own URL, which is no place for POSTs.
  return url === '' ? { kind: 'noise', name: 'endpoint' } : { kind: 'endpoint', data: url }
}
