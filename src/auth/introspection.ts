// Opaque access tokens, judged by asking the server that issued them (RFC 7662). A plain request: openid-client would
// add discovery and a client that nothing here needs.
import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { JsonObject } from '../protocol/jsonrpc.ts'
import type { Authenticated, Verifier } from './auth.ts'
import { requestJson, within } from './jwks.ts'
import type { VerifierOptions } from './jwks.ts'
import { clientIdOf, isMeantFor, maxTokenLength } from './jwt.ts'
import { scopesOf } from './scopes.ts'

export interface IntrospectionConfig {
  /** The introspection endpoint. */
  readonly url: string
  /** Principals are `<issuer>|<sub>`; an `iss` in the response must be the same. */
  readonly issuer: string
  /** A token that is not meant for one of these is refused; empty: for the resource that it is used for. */
  readonly audience: readonly string[]
  /** Clients whose tokens are accepted where the response has no `aud` at all. */
  readonly clients: readonly string[]
  /** Who we are to that server. */
  readonly clientId: string
  readonly clientSecret: string
  readonly clientAuth: 'client_secret_basic' | 'client_secret_post'
  /** Answers that are kept, of active tokens and as many of others. */
  readonly cacheSize: number
}

/** Who it is, why the token is refused, or undefined: not active there. */
type Outcome = Authenticated | { readonly refused: string } | undefined

const requestTime = 5_000
/** ms for which a revoked token may still be good here. */
const activeTime = 60_000
const inactiveTime = 10_000
/** Questions under way at once: a flood of made-up tokens must not reach the server as one. */
const maxPending = 100

const invalid = (message: string): ProxyError => new ProxyError('TOKEN_INVALID', message)

/** Bounded; the oldest entry goes first. */
function createCache<T>(clock: Clock, size: number) {
  const entries = new Map<string, { readonly value: T; readonly until: number }>()
  return {
    get(key: string): { readonly value: T } | undefined {
      const entry = entries.get(key)
      if (entry === undefined || clock.now() < entry.until) return entry
      entries.delete(key)
      return undefined
    },
    set(key: string, value: T, ms: number): void {
      entries.delete(key)
      entries.set(key, { value, until: clock.now() + ms })
      while (entries.size > size) entries.delete(entries.keys().next().value ?? '')
    },
  }
}

/** RFC 6749, section 2.3.1: both are form-encoded before they are joined. */
const basic = (id: string, secret: string): string => {
  const encoded = [id, secret].map((each) => new URLSearchParams({ '': each }).toString().slice(1))
  return `Basic ${Buffer.from(encoded.join(':')).toString('base64')}`
}

function judge(
  config: IntrospectionConfig,
  audience: readonly string[],
  response: JsonObject,
  now: number,
): Outcome {
  if (response['active'] !== true) return undefined
  const { iss, sub, aud, exp } = response
  const clientId = clientIdOf(response)
  if (iss !== undefined && iss !== config.issuer)
    return { refused: 'the token is of another issuer' }
  const meant =
    aud === undefined
      ? clientId !== undefined && config.clients.includes(clientId)
      : isMeantFor(aud, audience)
  if (!meant) return { refused: 'the token is meant for another audience' }
  // A client's id in its place would make all users of the client one principal.
  if (typeof sub !== 'string' || sub === '') return { refused: 'the token has no "sub"' }
  if (exp !== undefined && typeof exp !== 'number') {
    return { refused: 'the token\'s "exp" is not accepted' }
  }
  const expires = exp === undefined ? undefined : exp * 1000
  if (expires !== undefined && expires <= now) return { refused: 'the token has expired' }
  return {
    principal: `${config.issuer}|${sub}`,
    clientId,
    scopes: scopesOf(response),
    claims: response,
    expires,
  }
}

/**
 * Throws CONFIG_INVALID. The verifier resolves to undefined for a token that is not active: whether it is another
 * server's, nobody says. Where the server cannot be asked, refuses us or makes no sense, it is AUTH_UNAVAILABLE.
 */
export function createIntrospectionVerifier(
  config: IntrospectionConfig,
  options: VerifierOptions,
): Verifier {
  const { url, issuer, clientId, clientSecret, clientAuth, cacheSize } = config
  const { clock, wallClock = Date.now, dispatcher, onFailure } = options
  if (!URL.canParse(url)) {
    throw new ProxyError('CONFIG_INVALID', `introspection of "${issuer}": no absolute URL`)
  }
  // Apart, so that a flood of made-up tokens does not drive out the good ones.
  const active = createCache<Authenticated>(clock, cacheSize)
  const others = createCache<Exclude<Outcome, Authenticated>>(clock, cacheSize)
  /** By digest: everybody who comes with the same token waits for the one question. */
  const pending = new Map<string, Promise<Outcome>>()

  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    ...(clientAuth === 'client_secret_basic' && { authorization: basic(clientId, clientSecret) }),
  }
  const own = clientAuth === 'client_secret_post' && {
    client_id: clientId,
    client_secret: clientSecret,
  }

  const unavailable = (message: string, retryAfter: number, cause?: unknown): ProxyError =>
    new ProxyError('AUTH_UNAVAILABLE', `introspection of "${issuer}" ${message}`, {
      retryAfter,
      cause,
    })

  const ask = async (
    token: string,
    digest: string,
    audience: readonly string[],
  ): Promise<Outcome> => {
    const body = new URLSearchParams({ token, token_type_hint: 'access_token', ...own }).toString()
    let response: JsonObject
    try {
      response = await within(clock, requestTime, (signal) =>
        requestJson(url, { method: 'POST', headers, body, signal, dispatcher }),
      )
      if (typeof response['active'] !== 'boolean') throw new Error('no "active" in the answer')
    } catch (reason) {
      onFailure?.(issuer, reason)
      throw unavailable('gave no answer', 5, reason)
    }
    const now = wallClock()
    const outcome = judge(config, audience, response, now)
    if (outcome === undefined || 'refused' in outcome) others.set(digest, outcome, inactiveTime)
    else active.set(digest, outcome, Math.min(activeTime, (outcome.expires ?? Infinity) - now))
    return outcome
  }

  return {
    async verify(token, resource = '') {
      if (token.length > maxTokenLength) {
        throw invalid(`the token is longer than ${maxTokenLength} characters`)
      }
      const audience = config.audience.length > 0 ? config.audience : [resource]
      // The token itself is not kept.
      const digest = createHash('sha256')
        .update([token, ...audience].join('\n'))
        .digest('base64url')
      const kept = active.get(digest) ?? others.get(digest)
      let outcome: Outcome
      if (kept !== undefined) outcome = kept.value
      else {
        let asked = pending.get(digest)
        if (asked === undefined) {
          if (pending.size >= maxPending) {
            throw unavailable(`has ${maxPending} questions under way`, 1)
          }
          asked = ask(token, digest, audience).finally(() => pending.delete(digest))
          pending.set(digest, asked)
        }
        outcome = await asked
      }
      if (outcome !== undefined && 'refused' in outcome) throw invalid(outcome.refused)
      return outcome
    },
  }
}
