// The keys of an issuer: found, fetched and kept (RFC 7517, RFC 8414). jose's own remote set reads the clock of the
// machine and fails as soon as the issuer is away; this one takes its clock and goes on with the last good set.
import { createLocalJWKSet, errors } from 'jose'
import type { CryptoKey, FlattenedJWSInput, JSONWebKeySet, JWSHeaderParameters } from 'jose'
import { request } from 'undici'
import type { Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { isObject } from '../protocol/jsonrpc.ts'
import type { JsonObject } from '../protocol/jsonrpc.ts'

/** What verifiers are given from outside. */
export interface VerifierOptions {
  readonly clock: Clock
  /** ms since 1970, for `exp` and `nbf`; `Date.now` by default. */
  readonly wallClock?: () => number
  /** Carries the requests to authorization servers; undici's global one by default. */
  readonly dispatcher?: Dispatcher
  /** Told each time an issuer could not be asked, for the log: a set of keys that is kept on hides it from callers. */
  onFailure?(issuer: string, reason: unknown): void
}

export interface KeySource {
  readonly issuer: string
  /** Without it, `jwks_uri` of the issuer's metadata. */
  readonly jwksUrl?: string | undefined
}

/** ms after a load in which an unknown key does not cause another one: tokens with made-up keys cost the issuer nothing. */
const cooldown = 30_000
/** ms after which a set is fetched anew, so that a key that was withdrawn stops being good. */
const maxAge = 600_000
/** ms for which the last good set serves while the issuer is away. */
const maxStale = 86_400_000
/** ms for a whole load, metadata included. */
const loadTime = 5_000
/** ms between tries while the issuer is away. */
const retryPause = 5_000
const maxBytes = 256 * 1024

export interface JsonRequest {
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal: AbortSignal
  readonly dispatcher?: Dispatcher | undefined
}

/** The JSON object of a 200 answer; all else rejects. Redirects are not followed. Nothing of a body goes into an error. */
export async function requestJson(url: string, call: JsonRequest): Promise<JsonObject> {
  const { method = 'GET', headers, body, signal, dispatcher } = call
  const { origin, pathname } = new URL(url)
  const answer = await request(url, {
    method,
    headers: { accept: 'application/json', ...headers },
    signal,
    ...(body !== undefined && { body }),
    ...(dispatcher && { dispatcher }),
  })
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes)
      throw new Error(`${origin}${pathname} answered more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  if (answer.statusCode !== 200) {
    throw new Error(`${origin}${pathname} answered ${answer.statusCode}`)
  }
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    // The parser's own error quotes what it read.
  }
  if (!isObject(value)) throw new Error(`${origin}${pathname} answered no JSON object`)
  return value
}

/** Gives `task` a signal that aborts after `ms`. */
export async function within<T>(
  clock: Clock,
  ms: number,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const callOff = clock.after(ms, () => stop.abort(new Error(`no answer in ${ms} ms`)))
  try {
    return await task(stop.signal)
  } finally {
    callOff()
  }
}

/** Where an issuer's metadata may be, in the order of 2025-11-25, Authorization, "Authorization Server Metadata Discovery". */
function metadataUrls(issuer: string): Set<string> {
  const { origin, pathname } = new URL(issuer)
  // RFC 8414, section 3.1: a slash at the end goes before the path is put behind the well-known part.
  const path = pathname.replace(/\/$/, '')
  return new Set([
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}/.well-known/openid-configuration${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ])
}

async function discoverJwksUrl(
  issuer: string,
  call: Pick<JsonRequest, 'signal' | 'dispatcher'>,
): Promise<string> {
  const reasons: unknown[] = []
  for (const url of metadataUrls(issuer)) {
    try {
      const metadata = await requestJson(url, call)
      // RFC 8414, section 3.3: metadata of another issuer must not be used.
      if (metadata['issuer'] !== issuer) throw new Error(`${url} is of another issuer`)
      const found = metadata['jwks_uri']
      if (typeof found !== 'string' || !URL.canParse(found))
        throw new Error(`${url} has no jwks_uri`)
      // Keys that come in the clear are anybody's; an issuer in the clear is somebody's test.
      const { protocol } = new URL(found)
      if (protocol !== 'https:' && protocol !== new URL(issuer).protocol) {
        throw new Error(`${url} has a jwks_uri without TLS`)
      }
      return found
    } catch (reason) {
      reasons.push(reason)
    }
  }
  throw new AggregateError(reasons, `no metadata of issuer "${issuer}"`)
}

/**
 * What jose asks for the key of a token. Rejects with jose's JWKSNoMatchingKey where the issuer has no such key, and
 * with AUTH_UNAVAILABLE where that cannot be known.
 */
export type KeySet = (header?: JWSHeaderParameters, token?: FlattenedJWSInput) => Promise<CryptoKey>

export function createKeySet({ issuer, jwksUrl }: KeySource, options: VerifierOptions): KeySet {
  const { clock, dispatcher, onFailure } = options
  let keys: KeySet | undefined
  let loadedAt = -Infinity
  /** When the last try failed, unless one has succeeded since. */
  let failedAt: number | undefined
  let failure: unknown
  /** The load under way, which everybody waits for; it says whether it succeeded. */
  let loading: Promise<boolean> | undefined
  /** The last jwks_uri that was found, for when the keys can be had and the metadata cannot. */
  let found: string | undefined

  const fetchKeys = (signal: AbortSignal): Promise<JsonObject> => {
    const call = { signal, dispatcher }
    if (jwksUrl !== undefined) return requestJson(jwksUrl, call)
    // Looked up at every load, for it may move.
    return discoverJwksUrl(issuer, call).then(
      (url) => requestJson((found = url), call),
      (reason: unknown) => {
        if (found === undefined) throw reason
        return requestJson(found, call)
      },
    )
  }

  const load = (): Promise<boolean> =>
    (loading ??= within(clock, loadTime, fetchKeys)
      .then((set) => {
        // jose checks that it is a set of keys.
        keys = createLocalJWKSet(set as unknown as JSONWebKeySet)
        loadedAt = clock.now()
        failedAt = undefined
        return true
      })
      .catch((reason: unknown) => {
        failedAt = clock.now()
        failure = reason
        onFailure?.(issuer, reason)
        return false
      })
      .finally(() => (loading = undefined)))

  const age = (): number => clock.now() - loadedAt
  const pausing = (): boolean => failedAt !== undefined && clock.now() - failedAt < retryPause

  const unavailable = (): ProxyError => {
    const wait = (failedAt ?? clock.now()) + retryPause - clock.now()
    return new ProxyError('AUTH_UNAVAILABLE', `the keys of issuer "${issuer}" cannot be fetched`, {
      retryAfter: Math.max(1, Math.ceil(wait / 1000)),
      cause: failure,
    })
  }

  return async (header, token) => {
    if (age() >= maxAge && !pausing()) {
      // While the issuer is known to be away nobody waits for it who can be served without.
      const wait = failedAt === undefined || age() >= maxStale
      const loaded = load()
      if (wait) await loaded
    }
    if (keys === undefined || age() >= maxStale) throw unavailable()
    try {
      return await keys(header, token)
    } catch (reason) {
      if (!(reason instanceof errors.JWKSNoMatchingKey)) throw reason
      if (age() < cooldown) throw reason
    }
    // A key that came with a rotation, or none at all: only the issuer knows.
    if (pausing() || !(await load())) throw unavailable()
    return keys(header, token)
  }
}
