// What requests of 2026-07-28 carry with them (Basic, "_meta"): who asks and what that client can do, and the copies of it
// in HTTP headers (Streamable HTTP, "Request Metadata").
import { editObject } from './json-text.ts'
import { isObject, textAt } from './jsonrpc.ts'
import type { Json, JsonObject, Message, Notification, Request } from './jsonrpc.ts'

const prefix = 'io.modelcontextprotocol/'
export const revisionKey = `${prefix}protocolVersion`
export const clientInfoKey = `${prefix}clientInfo`
export const capabilitiesKey = `${prefix}clientCapabilities`
export const logLevelKey = `${prefix}logLevel`
export const subscriptionKey = `${prefix}subscriptionId`
export const serverInfoKey = `${prefix}serverInfo`

/** What of a request's `_meta` belongs to this revision alone. */
const requestKeys = [revisionKey, clientInfoKey, capabilitiesKey, logLevelKey]

/** What a client says of itself with a request. */
export interface Declared {
  readonly capabilities: JsonObject
  /** The same as it was written, and who the client says it is: what clients write is never serialised anew. */
  readonly capabilitiesText: string
  readonly clientInfoText: string | undefined
  /** The least severe log messages that it wants with the answer; undefined: none. */
  readonly logLevel: string | undefined
}

/** From the least severe to the most (RFC 5424, section 6.2.1). */
export const logLevels: readonly string[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]

/** The `params` of a message; empty where there are none. */
export const paramsOf = ({ value }: Message): JsonObject =>
  isObject(value['params']) ? value['params'] : {}

/** The `_meta` of a message's `params`; empty where there is none. */
export function metaOf(message: Message): JsonObject {
  const meta = paramsOf(message)['_meta']
  return isObject(meta) ? meta : {}
}

/** A progress token that the sender gave, as JSON text. */
export const progressToken = (message: Message): string | undefined =>
  textAt(message, ['params', '_meta', 'progressToken'])

/** What a client says of itself; undefined where the request is not of this revision. Faults are `faultIn`'s affair. */
export function declaredIn(message: Message): Declared | undefined {
  const meta = metaOf(message)
  if (meta[revisionKey] === undefined) return undefined
  const capabilities = meta[capabilitiesKey]
  const level = meta[logLevelKey]
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    get capabilitiesText() {
      return objectAt(message, ['params', '_meta', capabilitiesKey]) ?? '{}'
    },
    get clientInfoText() {
      return objectAt(message, ['params', '_meta', clientInfoKey])
    },
    logLevel: typeof level === 'string' ? level : undefined,
  }
}

/** The JSON text of the object at `path`; undefined where there is none. */
export function objectAt(message: Message, path: readonly string[]): string | undefined {
  const text = textAt(message, path)
  return text?.startsWith('{') === true ? text : undefined
}

/** What is wrong with a request's `_meta`, in words; undefined where nothing is (Basic, "Per-request protocol fields"). */
export function faultIn(message: Message): string | undefined {
  const meta = metaOf(message)
  if (typeof meta[revisionKey] !== 'string') return `_meta must have the text "${revisionKey}"`
  if (!isObject(meta[capabilitiesKey])) return `_meta must have the object "${capabilitiesKey}"`
  const info = meta[clientInfoKey]
  if (info !== undefined) {
    const named = isObject(info) && typeof info['name'] === 'string'
    if (!named || typeof info['version'] !== 'string') {
      return `"${clientInfoKey}" in _meta must have a name and a version`
    }
  }
  const level = meta[logLevelKey]
  if (level !== undefined && !logLevels.includes(level as string)) {
    return `"${logLevelKey}" in _meta must be one of ${logLevels.join(', ')}`
  }
  return undefined
}

/** The request as a session knows it: without what this revision put into its `params`. */
export function withoutDeclared(message: Request): Request {
  const meta = metaOf(message)
  const left = Object.keys(meta).filter((key) => !requestKeys.includes(key))
  const answers = ['inputResponses', 'requestState']
  let { text } = message
  if (left.length > 0) text = editObject(text, ['params', '_meta'], { drop: requestKeys })
  text = editObject(text, ['params'], { drop: left.length > 0 ? answers : ['_meta', ...answers] })
  return { ...message, text }
}

/** The message with `declared` in its `_meta`; `revision` names what is spoken. */
export function withDeclared<T extends Request | Notification>(
  message: T,
  revision: string,
  declared: Omit<Declared, 'capabilities'>,
): T {
  const { capabilitiesText, clientInfoText, logLevel } = declared
  return withMeta(message, {
    [revisionKey]: JSON.stringify(revision),
    ...(clientInfoText !== undefined && { [clientInfoKey]: clientInfoText }),
    [capabilitiesKey]: capabilitiesText,
    ...(logLevel !== undefined && { [logLevelKey]: JSON.stringify(logLevel) }),
  })
}

/** The message with members, their values as JSON text, put into the `_meta` of its `params`. */
export function withMeta<T extends Request | Notification>(
  message: T,
  add: Readonly<Record<string, string>>,
): T {
  const params = message.value['params']
  const members = Object.entries(add).map(([key, value]) => `${JSON.stringify(key)}:${value}`)
  const whole = `{${members.join(',')}}`
  let text: string
  if (!isObject(params))
    text = editObject(message.text, [], { add: { params: `{"_meta":${whole}}` } })
  else if (isObject(params['_meta'])) text = editObject(message.text, ['params', '_meta'], { add })
  else text = editObject(message.text, ['params'], { add: { _meta: whole } })
  return { ...message, text }
}

/** The member of `params` that `Mcp-Name` repeats, by method (Streamable HTTP, "Standard Request Headers"). */
const named: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
}

/** What `Mcp-Name` must say of a request; undefined where it has none. */
export function nameOf(message: Request): string | undefined {
  const member = named[message.method]
  const name = member === undefined ? undefined : paramsOf(message)[member]
  return typeof name === 'string' ? name : undefined
}

/** The headers that repeat what a request says. */
export function mirrored(
  message: Request | Notification,
  revision: string,
): Record<string, string> {
  const headers: Record<string, string> = { 'mcp-protocol-version': revision }
  if (message.kind !== 'request') return headers
  headers['mcp-method'] = message.method
  const name = nameOf(message)
  if (name !== undefined) headers['mcp-name'] = encodeHeader(name)
  return headers
}

const opening = '=?base64?'
const closing = '?='
const looksEncoded = (text: string): boolean => text.startsWith(opening) && text.endsWith(closing)

/** A value as a header can carry it (Streamable HTTP, "Value Encoding"). */
export function encodeHeader(value: string): string {
  const plain = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !looksEncoded(value)
  return plain ? value : `${opening}${Buffer.from(value).toString('base64')}${closing}`
}

/** The value that a header carries; undefined where it holds what no header may. */
export function decodeHeader(text: string): string | undefined {
  if (!/^[\t\x20-\x7e]*$/.test(text)) return undefined
  if (!looksEncoded(text)) return text
  const inner = text.slice(opening.length, -closing.length)
  if (inner.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(inner)) return undefined
  const bytes = Buffer.from(inner, 'base64')
  const value = bytes.toString()
  return Buffer.from(value).equals(bytes) ? value : undefined
}

/** A tool's argument as text for its header; undefined where it has none. */
export function argumentText(value: Json | undefined): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return String(value)
  return typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : undefined
}

export type MirroredHeaders = Readonly<Record<string, string | string[] | undefined>>

/**
 * Where the headers of a request contradict it, or are missing, in words; undefined where they agree (Streamable HTTP,
 * "Server Validation").
 */
export function mismatch(headers: MirroredHeaders, message: Request): string | undefined {
  const revision = metaOf(message)[revisionKey]
  const name = nameOf(message)
  return (
    differs('MCP-Protocol-Version', headers, revision as string) ??
    differs('Mcp-Method', headers, message.method) ??
    (name === undefined ? undefined : differs('Mcp-Name', headers, name, decodeHeader))
  )
}

function differs(
  header: string,
  headers: MirroredHeaders,
  expected: string,
  decode: (text: string) => string | undefined = (text) => text,
): string | undefined {
  const given = headers[header.toLowerCase()]
  if (given === undefined) return `the ${header} header is missing`
  const value = typeof given === 'string' ? decode(given) : undefined
  if (value === undefined) return `the ${header} header cannot be read`
  if (value === expected) return undefined
  return `the ${header} header is "${shown(value)}", the body says "${shown(expected)}"`
}

const shown = (text: string): string => text.slice(0, 100)
