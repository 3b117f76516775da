// Who a caller is, put into text for the backend: a header, a parameter of its path, a claim of a token made for it.
// The values come from token issuers and, through them, from users, so each way out is guarded on its own.
import { ProxyError } from '../errors.ts'
import type { Json } from '../protocol/jsonrpc.ts'
import type { Authenticated } from './auth.ts'

/** A caller, and the id that an id map has found for it. */
export interface Identity extends Authenticated {
  readonly id?: string | undefined
}

type Slot =
  | { readonly of: 'principal' | 'client' | 'id' }
  /** `name`: the claim as it was written, for messages. */
  | { readonly of: 'claims'; readonly name: string; readonly path: readonly string[] }

export interface IdentityTemplate {
  /** As it was written. */
  readonly text: string
  readonly parts: readonly (string | Slot)[]
  /** `{id}` occurs: it takes an id map. */
  readonly usesId: boolean
}

/** Characters of one value at most: what they go into has limits that are hit with worse messages. */
const longestValue = 1024

const piece = /\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+/gy
const claimReference = /^claims((?:\.(?:'[^']+'|[^\s.'"]+))+)$/
const claimSegment = /\.(?:'([^']+)'|([^.]+))/g
/** C0 and C1 controls and DEL. */
// oxlint-disable-next-line no-control-regex -- controls are what it looks for
const control = /[\0-\x1f\x7f-\x9f]/
/** UTF-8 cannot carry it. */
const loneSurrogate = /\p{Surrogate}/u

/**
 * Reads text with `{principal}`, `{client}`, `{id}` and `{claims.sub}` in it. Dots lead into nested claims; a name that
 * holds dots itself is quoted, `{claims.'https://example.com/email'}`. `{{` and `}}` stand for the braces.
 */
export function parseIdentityTemplate(
  text: string,
):
  | { readonly ok: true; readonly template: IdentityTemplate }
  | { readonly ok: false; readonly reason: string } {
  const refuse = (index: number, reason: string) =>
    ({ ok: false, reason: `character ${index + 1}: ${reason}` }) as const
  const bad = text.search(control)
  if (bad !== -1) return refuse(bad, 'a template must not hold control characters')
  const broken = text.search(loneSurrogate)
  if (broken !== -1) return refuse(broken, 'not well-formed text')
  const parts: (string | Slot)[] = []
  for (const match of text.matchAll(piece)) {
    const [token, reference] = match
    if (reference !== undefined) {
      const slot = parseSlot(reference)
      if (slot === undefined) return refuse(match.index, unknownSlot(reference))
      parts.push(slot)
    } else if (token === '{' || token === '}') {
      const ends = token === '{' ? 'is never closed' : 'closes nothing'
      return refuse(
        match.index,
        `"${token}" ${ends}; write "${token}${token}" for the brace itself`,
      )
    } else parts.push(token === '{{' || token === '}}' ? token.charAt(0) : token)
  }
  const usesId = parts.some((part) => typeof part === 'object' && part.of === 'id')
  return { ok: true, template: { text, parts, usesId } }
}

function parseSlot(reference: string): Slot | undefined {
  if (reference === 'principal' || reference === 'client' || reference === 'id') {
    return { of: reference }
  }
  const name = claimReference.exec(reference)?.[1]
  if (name === undefined) return undefined
  const path = [...name.matchAll(claimSegment)].map(([, quoted, bare]) => quoted ?? bare ?? '')
  return { of: 'claims', name: name.slice(1), path }
}

const unknownSlot = (reference: string): string =>
  `${JSON.stringify(`{${reference}}`)} is none of {claims.<name>}, {principal}, {client} and {id}`

/** A template of the configuration. `key` names it in the message of a CONFIG_INVALID. */
export function identityTemplate(text: string, key: string): IdentityTemplate {
  const parsed = parseIdentityTemplate(text)
  if (!parsed.ok) throw new ProxyError('CONFIG_INVALID', `${key}: ${parsed.reason}`)
  return parsed.template
}

/**
 * The text itself, for whoever guards it. Like the other two it rejects with TOKEN_INVALID where the credential does not
 * say what the template asks for; messages name the claim and never show its value.
 */
export const identityText = (template: IdentityTemplate, who: Identity): string =>
  expand(template, who, (value) => value)

// Spaces at the ends, which recipients trim; "%", which marks what is encoded; all that is not ASCII.
// oxlint-disable-next-line no-control-regex -- ASCII begins with them
const notInHeader = /^ +| +$|%|[^\0-\x7f]+/g

/**
 * A header value (RFC 9110, section 5.5). Control characters are refused: CR, LF and NUL would end the header. What is not
 * ASCII is percent-encoded as UTF-8, and "%" with it, so that two values never make the same header.
 */
export const identityHeader = (template: IdentityTemplate, who: Identity): string =>
  expand(template, who, (value, name) => {
    if (control.test(value)) throw refused(`${name} holds a control character`)
    return encode(value)
    // The template's own text keeps its "%": whoever wrote it may have encoded it already.
  }).replace(/[^ -~]+/g, encodeURIComponent)

const encode = (value: string): string => value.replace(notInHeader, encodeURIComponent)

/** What a path may have as a parameter: no separator, no encoding, nothing that a backend's own syntax is made of. */
const parameterValue = /^[A-Za-z0-9._-]{1,128}$/

/** A parameter of a path: a whole segment, which needs no encoding. */
export function identityParameter(template: IdentityTemplate, who: Identity): string {
  const text = identityText(template, who)
  if (!parameterValue.test(text) || /^\.+$/.test(text)) {
    throw refused(`what "${template.text}" stands for cannot be part of a path`)
  }
  return text
}

function expand(
  { parts }: IdentityTemplate,
  who: Identity,
  guard: (value: string, name: string) => string,
): string {
  let text = ''
  for (const part of parts) {
    if (typeof part === 'string') text += part
    else text += guard(valueOf(part, who), nameOf(part))
  }
  return text
}

const nameOf = (slot: Slot): string =>
  slot.of === 'claims' ? `the claim "${slot.name}"` : `{${slot.of}}`

function valueOf(slot: Slot, who: Identity): string {
  const name = nameOf(slot)
  if (slot.of === 'id' && who.id === undefined) {
    throw new ProxyError('CONFIG_INVALID', '{id} is used, but nothing says what it is')
  }
  const value = valueIn(slot, who)
  if (value === undefined || value === null || value === '') {
    throw refused(`the access token lacks ${slot.of === 'client' ? 'its client' : name}`)
  }
  const text = textOf(value)
  if (text === undefined) throw refused(`${name} is neither text nor a whole number`)
  if (text.length > longestValue) {
    throw refused(`${name} has ${text.length} characters, more than ${longestValue}`)
  }
  if (loneSurrogate.test(text)) throw refused(`${name} is not well-formed text`)
  return text
}

function valueIn(slot: Slot, { principal, clientId, id, claims }: Identity): Json | undefined {
  switch (slot.of) {
    case 'principal':
      return principal
    case 'client':
      return clientId
    case 'id':
      return id
    case 'claims':
      return slot.path.reduce<Json | undefined>(memberOf, claims)
  }
}

/** A member of an object itself: not of its prototype, nor an element of an array. */
const memberOf = (value: Json | undefined, name: string): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, Json>>)[name]
    : undefined

/** Numbers past 2^53 have lost digits when they were parsed: two users would become one. */
function textOf(value: Json): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean' || Number.isSafeInteger(value)) return String(value)
  return undefined
}

const refused = (reason: string): ProxyError => new ProxyError('TOKEN_INVALID', reason)
