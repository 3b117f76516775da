// Access tokens that are JWTs (RFC 9068, RFC 8725): judged by the keys of their issuer, without asking it.
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from 'jose'
import type { JWTVerifyGetKey, JWTVerifyOptions, JWTVerifyResult } from 'jose'
import { ProxyError } from '../errors.ts'
import type { JsonObject } from '../protocol/jsonrpc.ts'
import type { Authenticated, Verifier } from './auth.ts'
import { createKeySet } from './jwks.ts'
import type { VerifierOptions } from './jwks.ts'
import { scopesOf } from './scopes.ts'

export interface JwtIssuer {
  /** Compared with `iss` character by character. */
  readonly issuer: string
  /** A token that is not meant for one of these is refused; empty: for the resource that it is used for. */
  readonly audience: readonly string[]
  /** JWS algorithms that are accepted; `none` cannot be. */
  readonly algorithms: readonly string[]
  /** Without it, the keys are found through the issuer's metadata. */
  readonly jwksUrl?: string
  /** The shared secret of HS256, HS384 and HS512, which are accepted only with one. */
  readonly secret?: string
  /** ms by which the issuer's clock and ours may differ. */
  readonly clockTolerance: number
  /** Accept only tokens that say they are access tokens (RFC 9068, section 2.1). */
  readonly requireAtJwt: boolean
}

export interface JwtConfig {
  readonly issuers: readonly JwtIssuer[]
}

/** Longer credentials are refused unread. */
export const maxTokenLength = 16 * 1024
/** Keys that are tried on a token that does not say which one signed it. */
const maxKeys = 4
const secretAlgorithms = ['HS256', 'HS384', 'HS512']
const keyAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
keyAlgorithms.push('ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519')

const invalid = (message: string): ProxyError => new ProxyError('TOKEN_INVALID', message)

/** Scheme and host in lower case; an origin ends with a slash (RFC 3986, sections 6.2.2.1 and 6.2.3). No more is alike. */
function canonical(resource: string): string {
  const [, origin, rest] = /^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)(.*)$/is.exec(resource) ?? []
  if (origin === undefined) return resource
  return origin.toLowerCase() + (rest === '' ? '/' : rest)
}

/** Whether a token with this `aud` is meant for one of `audience`. */
export function isMeantFor(aud: unknown, audience: readonly string[]): boolean {
  const meant: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const ours = new Set(audience.map(canonical))
  return meant.some((each) => typeof each === 'string' && ours.has(canonical(each)))
}

/** Header and claims of what looks like a JWT, on nobody's word; undefined for all else. */
function unverified(token: string): { alg: unknown; typ: unknown; iss: unknown } | undefined {
  try {
    // Five segments are an encrypted JWT, which decodeJwt refuses.
    const { iss } = decodeJwt(token)
    const { alg, typ } = decodeProtectedHeader(token)
    return { alg, typ, iss }
  } catch {
    return undefined
  }
}

const mediaType = (typ: string): string => typ.toLowerCase().replace(/^application\//, '')

/** RFC 8725, section 3.11: a JWT made for another purpose is no access token. Many issuers write `JWT` or nothing. */
const isAccessToken = (typ: unknown, required: boolean): boolean =>
  typ === undefined
    ? !required
    : typeof typ === 'string' &&
      (required ? ['at+jwt'] : ['at+jwt', 'jwt']).includes(mediaType(typ))

/** Says what is wrong in words of ours: jose's errors carry the claims, which are not for the log. */
function refusal(issuer: string, reason: unknown): ProxyError {
  if (reason instanceof ProxyError) return reason
  if (reason instanceof errors.JWTExpired) return invalid('the token has expired')
  if (reason instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason: why } = reason
    if (why === 'missing') return invalid(`the token has no "${claim}"`)
    if (claim === 'nbf') return invalid('the token is not valid yet')
    return invalid(`the token's "${claim}" is not accepted`)
  }
  if (reason instanceof errors.JWSSignatureVerificationFailed) {
    return invalid("the token's signature is wrong")
  }
  if (reason instanceof errors.JWKSNoMatchingKey) {
    return invalid('the token is signed with a key that its issuer does not have')
  }
  if (reason instanceof errors.JOSEError && !(reason instanceof errors.JWKSInvalid)) {
    return invalid('the token is malformed')
  }
  // A published key that cannot be used is the issuer's fault, not the caller's.
  return new ProxyError('AUTH_UNAVAILABLE', `a key of issuer "${issuer}" cannot be used`, {
    retryAfter: 30,
    cause: reason,
  })
}

async function verifySignature(
  token: string,
  getKey: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTVerifyResult> {
  try {
    return await jwtVerify(token, getKey, options)
  } catch (reason) {
    if (!(reason instanceof errors.JWKSMultipleMatchingKeys)) throw reason
    let tried = 0
    for await (const key of reason) {
      if (tried++ === maxKeys) break
      try {
        return await jwtVerify(token, key, options)
      } catch (failure) {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure
      }
    }
    throw new errors.JWSSignatureVerificationFailed()
  }
}

function createIssuer(config: JwtIssuer, options: VerifierOptions) {
  const { issuer, audience, algorithms, secret, clockTolerance, requireAtJwt } = config
  const refuse = (message: string): never => {
    throw new ProxyError('CONFIG_INVALID', `issuer "${issuer}": ${message}`)
  }
  if (!URL.canParse(issuer)) refuse('not an absolute URL')
  if (config.jwksUrl !== undefined && !URL.canParse(config.jwksUrl))
    refuse('jwksUrl is no absolute URL')
  if (algorithms.length === 0) refuse('an algorithm is needed')
  for (const alg of algorithms) {
    if (secretAlgorithms.includes(alg) ? !secret : !keyAlgorithms.includes(alg)) {
      refuse(
        `algorithm "${alg}" ${secretAlgorithms.includes(alg) ? 'needs a secret' : 'is not supported'}`,
      )
    }
  }
  const { wallClock = Date.now } = options
  const keys = createKeySet(config, options)
  const secretKey = new TextEncoder().encode(secret)
  // The algorithm chooses between secret and keys, so that a public key is never taken for a secret (RFC 8725, section 2.1).
  const getKey: JWTVerifyGetKey = (header, jws) =>
    secretAlgorithms.includes(header.alg) ? secretKey : keys(header, jws)

  return async (
    token: string,
    resource: string,
    { alg, typ }: { readonly alg: unknown; readonly typ: unknown },
  ): Promise<Authenticated> => {
    if (typeof alg !== 'string' || !algorithms.includes(alg)) {
      throw invalid("the token's algorithm is not accepted")
    }
    if (!isAccessToken(typ, requireAtJwt)) throw invalid('the token is no access token')
    const { payload } = await verifySignature(token, getKey, {
      issuer,
      algorithms: [...algorithms],
      requiredClaims: ['iss', 'sub', 'aud', 'exp'],
      clockTolerance: clockTolerance / 1000,
      currentDate: new Date(wallClock()),
    }).catch((reason: unknown) => {
      throw refusal(issuer, reason)
    })
    const meant = isMeantFor(payload.aud, audience.length > 0 ? audience : [resource])
    if (!meant) throw invalid('the token is meant for another audience')
    const { sub, exp = 0 } = payload
    if (typeof sub !== 'string' || sub === '') throw invalid('the token\'s "sub" is not accepted')
    // jose has read them from JSON.
    const claims = payload as unknown as JsonObject
    return {
      principal: `${issuer}|${sub}`,
      clientId: clientIdOf(claims),
      scopes: scopesOf(claims),
      claims,
      expires: exp * 1000 + clockTolerance,
    }
  }
}

/** RFC 9068, section 2.2, has `client_id`; `azp` is OpenID Connect's, and some issuers' only one. */
export function clientIdOf({ client_id: clientId, azp }: JsonObject): string | undefined {
  if (typeof clientId === 'string') return clientId
  return typeof azp === 'string' ? azp : undefined
}

/**
 * Throws CONFIG_INVALID. The verifier resolves to undefined for what is no JWT and for issuers that are not listed;
 * `expires` includes the tolerance.
 */
export function createJwtVerifier({ issuers }: JwtConfig, options: VerifierOptions): Verifier {
  const known = new Map<unknown, ReturnType<typeof createIssuer>>()
  for (const each of issuers) {
    if (known.has(each.issuer)) {
      throw new ProxyError('CONFIG_INVALID', `issuer "${each.issuer}" is listed twice`)
    }
    known.set(each.issuer, createIssuer(each, options))
  }
  return {
    async verify(token, resource = '') {
      if (token.length > maxTokenLength) {
        throw invalid(`the token is longer than ${maxTokenLength} characters`)
      }
      const claimed = unverified(token)
      if (claimed === undefined) return undefined
      return known.get(claimed.iss)?.(token, resource, claimed)
    },
  }
}

/** Never undefined: what no verifier knows is TOKEN_INVALID. */
export interface Verifiers extends Verifier {
  verify(token: string, resource?: string): Promise<Authenticated>
}

/**
 * Asks one after the other; the first that knows the token decides. One that cannot be asked does not keep the others
 * from knowing it, but nothing is refused without its word.
 */
export function createVerifiers(verifiers: readonly Verifier[]): Verifiers {
  return {
    async verify(token, resource) {
      let away: ProxyError | undefined
      for (const verifier of verifiers) {
        try {
          const authenticated = await verifier.verify(token, resource)
          if (authenticated !== undefined) return authenticated
        } catch (reason) {
          const error = ProxyError.from(reason)
          if (error.code !== 'AUTH_UNAVAILABLE') throw error
          away ??= error
        }
      }
      throw away ?? invalid('the token is not known here, or no longer active')
    },
  }
}
