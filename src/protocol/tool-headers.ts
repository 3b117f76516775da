// Arguments of a tool that are repeated in HTTP headers (2026-07-28, Streamable HTTP, "Custom Headers from Tool
// Parameters").
import { isObject } from './jsonrpc.ts'
import type { Json, JsonObject } from './jsonrpc.ts'
import { argumentText, decodeHeader, encodeHeader } from './metadata.ts'

/** One argument and its header. */
interface Repeated {
  /** The keys that lead to the argument. */
  readonly path: readonly string[]
  /** In lower case, `mcp-param-` included. */
  readonly header: string
}

const annotation = 'x-mcp-header'
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const primitive = new Set<Json | undefined>(['string', 'integer', 'boolean'])

/** Whether clients may offer the tool: one with a faulty annotation they must leave out. */
export const isCallable = (tool: JsonObject): boolean => repeatedIn(tool) !== undefined

/** The headers of a call of `tool` with these arguments. */
export function headersOf(tool: JsonObject, given: Json | undefined): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const { path, header } of repeatedIn(tool) ?? []) {
    let value = given
    for (const key of path) value = isObject(value) ? value[key] : undefined
    const text = argumentText(value)
    if (text !== undefined) headers[header] = encodeHeader(text)
  }
  return headers
}

/** Whether any argument of the tool is to be repeated. */
export const repeatsArguments = (tool: JsonObject): boolean => (repeatedIn(tool) ?? []).length > 0

/**
 * Where the headers of a call contradict its arguments, or are missing, in words; undefined where they agree (Streamable
 * HTTP, "Server Behavior for Custom Headers").
 */
export function mismatchIn(
  tool: JsonObject,
  given: Json | undefined,
  headers: Readonly<Record<string, string>>,
): string | undefined {
  for (const { path, header } of repeatedIn(tool) ?? []) {
    let value = given
    for (const key of path) value = isObject(value) ? value[key] : undefined
    const expected = argumentText(value)
    if (expected === undefined) continue
    const text = headers[header]
    if (text === undefined) return `the ${header} header is missing`
    const decoded = decodeHeader(text)
    if (decoded === undefined) return `the ${header} header cannot be read`
    // Integers may be written in more than one way (Server Validation).
    const number = typeof value === 'number' && /^-?\d+(?:\.\d+)?$/.test(decoded)
    const same = number ? Number(decoded) === value : decoded === expected
    if (!same) return `the ${header} header does not say what the body does`
  }
  return undefined
}

/** Undefined where an annotation is none that a client may follow. */
function repeatedIn(tool: JsonObject): readonly Repeated[] | undefined {
  const found: Repeated[] = []
  if (!walk(tool['inputSchema'], [], true, found)) return undefined
  return new Set(found.map(({ header }) => header)).size === found.length ? found : undefined
}

/** Deeper than this nobody nests a schema by hand. */
const deepest = 64

/** `reachable`: only `properties` lead here from the root. False: an annotation stands where none may. */
function walk(
  schema: Json | undefined,
  path: readonly string[],
  reachable: boolean,
  found: Repeated[],
  depth = 0,
): boolean {
  if (depth > deepest) return true
  if (Array.isArray(schema)) {
    return schema.every((each: Json) => walk(each, path, false, found, depth + 1))
  }
  if (!isObject(schema)) return true
  const name = schema[annotation]
  if (name !== undefined) {
    if (!reachable || path.length === 0) return false
    if (typeof name !== 'string' || !token.test(name) || !primitive.has(schema['type']))
      return false
    found.push({ path, header: `mcp-param-${name.toLowerCase()}` })
  }
  for (const [key, value] of Object.entries(schema)) {
    if (key === annotation || literal.has(key)) continue
    if (key === 'properties' && isObject(value)) {
      for (const [property, inner] of Object.entries(value)) {
        if (!walk(inner, [...path, property], reachable, found, depth + 1)) return false
      }
    } else if (!walk(value, path, false, found, depth + 1)) return false
  }
  return true
}

/** Keywords whose values are data, not schemas. */
const literal = new Set(['default', 'const', 'enum', 'examples', 'description', 'title'])
