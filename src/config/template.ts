// Templates: text with `{parameters}`, and what a value may do where it is put in. Pure; the router walks what is
// parsed here. A value comes from a client's URL, so each way in and each way out is guarded on its own.
import { ProxyError } from '../errors.ts'

/** Parameter values, decoded. */
export type ParameterValues = Readonly<Record<string, string>>

interface Slot {
  readonly parameter: string
}

/** A parsed template. `{{` and `}}` stand for the braces themselves. */
export interface Template {
  /** As it was written. */
  readonly text: string
  readonly parts: readonly (string | Slot)[]
  /** The names that occur, each once, in the order of their first use. */
  readonly parameters: readonly string[]
}

/** A template that is a route's path: `/a/{b}/c`, or `/a/*` for a path and all below it. */
export interface PathPattern extends Template {
  /** Decoded literals, and slots that fill a segment each. */
  readonly segments: readonly (string | Slot)[]
  /** The pattern ended in `/*`: it matches the path before it and everything below. */
  readonly rest: boolean
}

export type Refusal = { readonly ok: false; readonly reason: string }

const piece = /\{\{|\}\}|\{([A-Za-z][\w-]*)\}|[{}]|[^{}]+/gy
const dots = new Set(['.', '..'])
/** WHATWG URL, "double-dot URL path segment": an encoded dot counts as a dot. */
const dotSegment = /^(?:\.|%2e){1,2}$/i

/** Reads a template. A reason tells the place and never quotes the text, which may be a secret. */
export function parseTemplate(
  text: string,
): { readonly ok: true; readonly template: Template } | Refusal {
  const parts: (string | Slot)[] = []
  const names = new Set<string>()
  let literal = ''
  for (const match of text.matchAll(piece)) {
    const [token, parameter] = match
    if (parameter !== undefined) {
      if (literal !== '') parts.push(literal)
      literal = ''
      parts.push({ parameter })
      names.add(parameter)
    } else if (token === '{' || token === '}') {
      return { ok: false, reason: braceReason(token, match.index + 1) }
    } else {
      literal += token === '{{' || token === '}}' ? token.charAt(0) : token
    }
  }
  if (literal !== '') parts.push(literal)
  return { ok: true, template: { text, parts, parameters: [...names] } }
}

const braceReason = (brace: string, column: number): string =>
  brace === '{'
    ? `character ${column}: "{" opens no parameter; write {name} (letters, digits, "_" and "-", a letter first), or "{{" for the brace itself`
    : `character ${column}: "}" closes no parameter; write "}}" for the brace itself`

/** A template that is exactly `text`, whatever braces it holds. */
export const literalText = (text: string): string => text.replace(/[{}]/g, '$&$&')

/**
 * Reads a route's path. A parameter fills a whole segment, so that every path has at most one reading and matching
 * costs the same however many routes there are.
 */
export function parsePathPattern(
  text: string,
): { readonly ok: true; readonly pattern: PathPattern } | Refusal {
  const refuse = (reason: string): Refusal => ({ ok: false, reason })
  if (!text.startsWith('/')) return refuse('a path must begin with "/"')
  const bad = /[?#\\\s]/.exec(text)
  if (bad !== null) return refuse(`a path must not hold ${JSON.stringify(bad[0])}`)
  const parsed = parseTemplate(text)
  if (!parsed.ok) return parsed
  const rest = text.endsWith('/*')
  const path = rest ? text.slice(0, -2) : text.replace(/\/$/, '')
  const segments: (string | Slot)[] = []
  const names = new Set<string>()
  for (const source of path === '' ? [] : path.slice(1).split('/')) {
    const segment = parseSegment(source)
    if (typeof segment === 'object' && 'reason' in segment) return segment
    if (typeof segment === 'object') {
      if (names.has(segment.parameter)) {
        return refuse(`the parameter {${segment.parameter}} occurs twice`)
      }
      names.add(segment.parameter)
    }
    segments.push(segment)
  }
  return { ok: true, pattern: { ...parsed.template, segments, rest } }
}

function parseSegment(source: string): string | Slot | Refusal {
  if (source === '') return { ok: false, reason: 'a path must not have an empty segment ("//")' }
  if (source.includes('*')) return { ok: false, reason: '"*" may stand only as the last segment' }
  const parsed = parseTemplate(source)
  if (!parsed.ok) return parsed
  const { parts, parameters } = parsed.template
  const [first] = parts
  if (typeof first === 'object' && parts.length === 1) return first
  if (parameters.length > 0) {
    return { ok: false, reason: `a parameter must fill its whole segment, unlike in "${source}"` }
  }
  const literal = decode(parts.join(''))
  if (literal === undefined) return { ok: false, reason: `bad percent-encoding in "${source}"` }
  if (dots.has(literal))
    return { ok: false, reason: `a path must not hold "${source}" as a segment` }
  return literal
}

/**
 * Fills a path or URL. Each value is percent-encoded as one piece of a segment (RFC 3986, section 2.1): everything but
 * letters, digits and `-_.!~*'()`, so that "/", "\", "?", "#", "%", "&" and controls lose their meaning.
 * Throws ROUTE_UNKNOWN for an empty or missing value, for text that UTF-8 cannot carry, and where a segment would come out as "." or "..":
 * encoding cannot help there, because URL parsers read "%2e%2e" as ".." too.
 */
export function expandPath(template: Template, values: ParameterValues): string {
  const text = expand(template, values, encodeForUrl)
  if (template.parameters.length > 0 && pathOf(text).split('/').some(isDotSegment)) {
    throw refused('a parameter value makes a dot segment')
  }
  return text
}

const pathOf = (url: string): string => url.split('?', 1)[0] ?? ''
const isDotSegment = (segment: string): boolean => dotSegment.test(segment)

function encodeForUrl(value: string, name: string): string {
  try {
    return encodeURIComponent(value)
  } catch (cause) {
    throw refused(`the value of {${name}} is not well-formed text`, cause)
  }
}

// Spaces at the ends, which recipients trim; "%", which marks what is encoded; all that latin-1 has no byte for.
const notInHeader = /^ +| +$|%|[^\0-\xff]+/g
/** C0 and C1 controls and DEL. */
// oxlint-disable-next-line no-control-regex -- controls are what it looks for
export const controlCharacter = /[\0-\x1f\x7f-\x9f]/

/**
 * Fills a header value (RFC 9110, section 5.5). What a header cannot carry faithfully is percent-encoded as UTF-8, and "%" with it, so
 * that two different values never make the same header. Throws ROUTE_UNKNOWN for an empty or missing value and for
 * control characters: CR, LF and NUL would end the header, and no honest value holds any of them.
 */
export const expandHeader = (template: Template, values: ParameterValues): string =>
  expand(template, values, encodeForHeader)

function encodeForHeader(value: string, name: string): string {
  if (controlCharacter.test(value)) {
    throw refused(`the value of {${name}} holds a control character`)
  }
  return value.replace(notInHeader, (text) => encodeForUrl(text, name))
}

function expand(
  template: Template,
  values: ParameterValues,
  encode: (value: string, name: string) => string,
): string {
  let text = ''
  for (const part of template.parts) {
    if (typeof part === 'string') {
      text += part
      continue
    }
    const name = part.parameter
    const value = Object.hasOwn(values, name) ? values[name] : undefined
    if (value === undefined || value === '') throw refused(`the value of {${name}} is empty`)
    text += encode(value, name)
  }
  return text
}

const refused = (reason: string, cause?: unknown): ProxyError =>
  new ProxyError('ROUTE_UNKNOWN', `no such path: ${reason}`, { cause })

/**
 * Cuts a request's path into decoded segments, each decoded once. A single slash at the end is dropped, because
 * clients and backends disagree about it. Undefined, so no match at all, where the percent-encoding is broken or a
 * dot segment hides in it in any spelling: a backend may resolve it and leave what the route was meant to open.
 */
export function splitPath(pathname: string): readonly string[] | undefined {
  if (!pathname.startsWith('/')) return undefined
  const path = pathname.endsWith('/') ? pathname.slice(1, -1) : pathname.slice(1)
  if (path === '') return []
  const segments: string[] = []
  for (const source of path.split('/')) {
    const segment = decode(source)
    if (segment === undefined || hidesDots(segment)) return undefined
    segments.push(segment)
  }
  return segments
}

const hidesDots = (segment: string): boolean =>
  segment.includes('.') && segment.split(/[/\\]/).some((part) => dots.has(part))

function decode(source: string): string | undefined {
  if (!source.includes('%')) return source
  try {
    return decodeURIComponent(source)
  } catch {
    return undefined
  }
}

/** A value may fill a parameter when it is one whole segment: not empty, no "/" decoded out of it. Dots never get here. */
const isParameterValue = (segment: string): boolean => segment !== '' && !segment.includes('/')

/** The parameters, if the segments of `splitPath` match. */
export function matchPath(
  pattern: PathPattern,
  segments: readonly string[],
): ParameterValues | undefined {
  const wanted = pattern.segments
  if (segments.length < wanted.length) return undefined
  if (segments.length > wanted.length && !pattern.rest) return undefined
  const values: Record<string, string> = {}
  for (const [index, want] of wanted.entries()) {
    const segment = segments[index] ?? ''
    if (typeof want === 'string') {
      if (segment !== want) return undefined
    } else {
      if (!isParameterValue(segment)) return undefined
      values[want.parameter] = segment
    }
  }
  return values
}
