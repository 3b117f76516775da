// What a backend calls a user, where that is not what the token says: the claim itself, a table, or a service that is
// asked. Nothing here knows what the id is used for.
import { request as undiciRequest } from 'undici'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Json } from '../protocol/jsonrpc.ts'
import { identityTemplate, identityText } from './identity.ts'
import type { Identity } from './identity.ts'

/** With neither `table` nor `url` the claim is the id. */
export interface IdMapConfig {
  /**
   * The claim to go by, as in a template: `sub`, `user.id`; or a whole template, `{principal}`. A claim alone is unique
   * for one issuer only.
   */
  readonly claim: string
  /** Ids by the value of the claim. */
  readonly table?: Readonly<Record<string, string>> | undefined
  /** Asked with GET; `{value}`, in its path or query, is the claim's value. */
  readonly url?: string | undefined
  /** Headers of that request, such as the credential that the service wants. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Where the id stands in the answer (RFC 6901). */
  readonly pointer?: string | undefined
  /** ms for which an id that was found is used; that there is none is believed for less. */
  readonly cacheTime?: number | undefined
}

export interface IdMap {
  /**
   * Rejects with SCOPE_INSUFFICIENT where the user is not known there, with AUTH_UNAVAILABLE where that cannot be found
   * out, and with TOKEN_INVALID where the claim is missing.
   */
  idOf(who: Identity): Promise<string>
}

/** As much of undici's `request` as is used here. */
export type Request = (
  url: string,
  options: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
) => Promise<{ readonly statusCode: number; readonly body: AsyncIterable<Uint8Array> }>

/** An id, or null where there is none. */
interface Found {
  readonly id: string | null
  readonly until: number
}

const defaultCacheTime = 300_000
const longestMissTime = 10_000
const lookupTime = 5000
const largestAnswer = 65_536
const longestId = 1024
/** Values whose ids are remembered, the oldest going first. */
export const rememberedIds = 10_000

const configInvalid = (reason: string): ProxyError => new ProxyError('CONFIG_INVALID', reason)
const unknownUser = (): ProxyError =>
  new ProxyError('SCOPE_INSUFFICIENT', 'this user is not known here')
const unavailable = (reason: string, cause?: unknown): ProxyError =>
  new ProxyError('AUTH_UNAVAILABLE', `the look-up of ids ${reason}`, { cause, retryAfter: 5 })

/** Throws CONFIG_INVALID. */
export function createIdMap(
  config: IdMapConfig,
  { clock, request = undiciRequest }: { readonly clock: Clock; readonly request?: Request },
): IdMap {
  const { claim, table, url } = config
  if (table !== undefined && url !== undefined) {
    throw configInvalid('id: "table" and "url" exclude each other')
  }
  const template = identityTemplate(claim.includes('{') ? claim : `{claims.${claim}}`, 'id.claim')
  if (template.usesId) throw configInvalid('id.claim: {id} cannot come from itself')
  const find =
    table !== undefined
      ? fromTable(table)
      : url !== undefined
        ? fromService({ ...config, url }, clock, request)
        : (value: string) => value
  return {
    async idOf(who) {
      const id = await find(identityText(template, who))
      if (id === null) throw unknownUser()
      return id
    },
  }
}

function fromTable(table: Readonly<Record<string, string>>): (value: string) => string | null {
  // Not the object itself, which knows a user called "constructor".
  const ids = new Map(Object.entries(table))
  for (const id of ids.values()) if (id === '') throw configInvalid('id.table: an id is empty')
  return (value) => ids.get(value) ?? null
}

function fromService(
  config: IdMapConfig & { readonly url: string },
  clock: Clock,
  request: Request,
): (value: string) => Promise<string | null> {
  const urlOf = parseUrl(config.url)
  const pointer = parsePointer(config.pointer ?? '/id')
  const { cacheTime = defaultCacheTime } = config
  const missTime = Math.min(cacheTime / 2, longestMissTime)
  /** Oldest first. Only misses write, so that it need not be a Table. */
  const cache = new Map<string, Found>()
  /** One question for all who want to know the same. */
  const asking = new Map<string, Promise<string | null>>()

  const ask = async (url: string): Promise<string | null> => {
    const giveUp = new AbortController()
    const stop = clock.after(lookupTime, () => giveUp.abort())
    try {
      const headers = { accept: 'application/json', ...config.headers }
      const { statusCode, body } = await request(url, { headers, signal: giveUp.signal })
      const text = await readText(body)
      if (statusCode === 404) return null
      // A redirect is not followed: the credential in the headers is meant for this service.
      if (statusCode !== 200) throw unavailable(`was answered with status ${statusCode}`)
      return idIn(text, pointer)
    } catch (cause) {
      if (cause instanceof ProxyError) throw cause
      throw unavailable(giveUp.signal.aborted ? `took more than ${lookupTime} ms` : 'failed', cause)
    } finally {
      stop()
    }
  }

  const remember = (value: string, id: string | null): string | null => {
    cache.delete(value)
    cache.set(value, { id, until: clock.now() + (id === null ? missTime : cacheTime) })
    for (const oldest of cache.keys()) {
      if (cache.size <= rememberedIds) break
      cache.delete(oldest)
    }
    return id
  }

  return async (value) => {
    const found = cache.get(value)
    if (found !== undefined && clock.now() < found.until) return found.id
    const url = urlOf(value)
    if (url === undefined) return null
    let answer = asking.get(value)
    if (answer === undefined) {
      answer = ask(url)
        .then((id) => remember(value, id))
        .finally(() => asking.delete(value))
      asking.set(value, answer)
    }
    return answer
  }
}

/** WHATWG URL, "double-dot URL path segment": an encoded dot counts as a dot. */
const dotSegment = /^(?:\.|%2e){1,2}$/i
const isDot = (segment: string): boolean => dotSegment.test(segment)

/**
 * What makes the URL for a value, or nothing where dot segments are in the value: percent-encoding does not keep them from
 * leading elsewhere, and no honest value has any.
 */
function parseUrl(template: string): (value: string) => string | undefined {
  const fill = (value: string): string => template.replaceAll('{value}', value)
  // No brace before the path: a value must not decide who is asked.
  const begins = /^https?:\/\/[^/?#@{}\\\s]+[/?]/i.test(template)
  const valid = template.includes('{value}') && !template.includes('#') && URL.canParse(fill('a'))
  if (!begins || !valid) {
    throw configInvalid(
      'id.url: not an http or https URL with {value} in its path or query, and without password and fragment',
    )
  }
  return (value) => (value.split(/[/\\]/).some(isDot) ? undefined : fill(encodeURIComponent(value)))
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > largestAnswer) throw unavailable(`was answered with over ${largestAnswer} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** RFC 6901, section 3: "/" separates, "~1" is "/" and "~0" is "~". */
function parsePointer(text: string): readonly string[] {
  if (!/^(?:\/(?:[^~/]|~[01])*)*$/.test(text)) {
    throw configInvalid('id.pointer: not a JSON pointer, such as "/user/id"')
  }
  const [, ...steps] = text.split('/')
  return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** Nothing at the pointer means that there is no such user: services that search answer with an empty list. */
function idIn(text: string, pointer: readonly string[]): string | null {
  let value: unknown
  try {
    value = JSON.parse(text) as Json
  } catch {
    // The cause would quote what the service says of a user.
    throw unavailable('was not answered with JSON')
  }
  for (const step of pointer) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return null
    if (Array.isArray(value) && !/^(?:0|[1-9]\d*)$/.test(step)) return null
    value = (value as Readonly<Record<string, unknown>>)[step]
  }
  if (value === null || value === '') return null
  const id = Number.isSafeInteger(value) ? String(value) : value
  if (typeof id !== 'string' || id.length > longestId) {
    throw unavailable('was answered with something that is no id')
  }
  return id
}
