// Results on their way to a client of the other era: what it must have is added, what it cannot read is taken out, and
// nothing else is touched.
import { elements, editObject, findValue } from '../protocol/json-text.ts'
import { asText, isObject, readMessage } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject, Response } from '../protocol/jsonrpc.ts'
import { serverInfoKey } from '../protocol/metadata.ts'
import { isCallable } from '../protocol/tool-headers.ts'

/** Operations whose results say how long they are good for (2026-07-28, Caching, "Cacheable Results"). */
const cacheable = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
])

/** Error codes of a missing resource: until 2025-11-25, and since (2026-07-28, Changelog, minor change 6). */
const formerNotFound = -32002
const invalidParams = -32602

export const resultOf = ({ value }: Response): JsonObject | undefined =>
  isObject(value['result']) ? value['result'] : undefined

export const errorOf = ({ value }: Response): JsonObject | undefined =>
  isObject(value['error']) ? value['error'] : undefined

/**
 * A session server's answer for a modern client; `serverInfo` is JSON text (2026-07-28, Basic, "Responses" and "Per-response protocol fields"):
 * stale at once and nobody else's, for such servers do not say.
 */
export function forModern(
  response: Response,
  method: string,
  serverInfo: string | undefined,
): Response {
  if (response.failed) {
    return errorOf(response)?.['code'] === formerNotFound
      ? withText(response, editObject(response.text, ['error'], code(invalidParams)))
      : response
  }
  const result = resultOf(response)
  if (result === undefined) return response
  const add: Record<string, string> = {}
  if (typeof result['resultType'] !== 'string') add['resultType'] = '"complete"'
  if (cacheable.has(method)) {
    if (!isLifetime(result['ttlMs'])) add['ttlMs'] = '0'
    if (result['cacheScope'] !== 'public') add['cacheScope'] = '"private"'
  }
  let text = response.text
  const meta = result['_meta']
  if (serverInfo !== undefined && !(isObject(meta) && isObject(meta[serverInfoKey]))) {
    if (isObject(meta)) {
      text = editObject(text, ['result', '_meta'], { add: { [serverInfoKey]: serverInfo } })
    } else add['_meta'] = `{${JSON.stringify(serverInfoKey)}:${serverInfo}}`
  }
  return withText(response, editObject(text, ['result'], { add }))
}

const isLifetime = (value: Json | undefined): boolean =>
  Number.isInteger(value) && Number(value) >= 0

const code = (value: number) => ({ add: { code: String(value) } })

/** What only results of 2026-07-28 have. */
const modernMembers = ['resultType', 'ttlMs', 'cacheScope']

/** A modern server's answer for a client of an earlier revision. `left` hears of tools that were left out. */
export function forSession(
  response: Response,
  method: string,
  left: (tool: string) => void,
): Response {
  if (response.failed) {
    const error = errorOf(response)
    const missing = method === 'resources/read' && error?.['code'] === invalidParams
    return missing && isObject(error['data']) && 'uri' in error['data']
      ? withText(response, editObject(response.text, ['error'], code(formerNotFound)))
      : response
  }
  const result = resultOf(response)
  if (result === undefined) return response
  const structured = result['structuredContent']
  const drop = [...modernMembers]
  // Any JSON since 2026-07-28; until then an object, and clients refuse the whole result otherwise.
  if (structured !== undefined && !isObject(structured)) drop.push('structuredContent')
  const text = editObject(response.text, ['result'], { drop })
  const trimmed = withText(response, text)
  return method === 'tools/list' ? readableTools(trimmed, result, left) : trimmed
}

/**
 * Without output schemas that earlier clients stumble over, and without tools that no client may call (2026-07-28, Tools,
 * "x-mcp-header").
 */
function readableTools(
  response: Response,
  { tools }: JsonObject,
  left: (tool: string) => void,
): Response {
  if (!Array.isArray(tools)) return response
  const kept: string[] = []
  let index = 0
  let changed = false
  const span = findValue(response.text, ['result', 'tools'])
  for (const { start, end } of elements(response.text, span?.start)) {
    const tool = (tools as readonly Json[])[index++]
    const text = response.text.slice(start, end)
    if (isObject(tool) && !isCallable(tool)) {
      left(asText(tool['name']))
      changed = true
    } else if (isObject(tool) && !isReadable(tool['outputSchema'])) {
      kept.push(editObject(text, [], { drop: ['outputSchema'] }))
      changed = true
    } else kept.push(text)
  }
  if (!changed) return response
  const add = { tools: `[${kept.join(',')}]` }
  return withText(response, editObject(response.text, ['result'], { add }))
}

const isReadable = (schema: Json | undefined): boolean =>
  schema === undefined || (isObject(schema) && schema['type'] === 'object')

/** The response as its changed text says it. */
export function withText(response: Response, text: string): Response {
  if (text === response.text) return response
  const read = readMessage(text, JSON.parse(text) as Json)
  return read.ok && read.value.kind === 'response' ? read.value : response
}
