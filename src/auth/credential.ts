// What the backend gets instead of the client's token. The specification forbids passing on a token that was issued for
// somebody else (2025-11-25, Authorization, "Access Token Privilege Restriction"), so that it goes unless told otherwise.
import { createPrivateKey, hash } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import { ProxyError } from '../errors.ts'
import { identityTemplate, identityText } from './identity.ts'
import type { Identity, IdentityTemplate } from './identity.ts'

export interface MintedConfig {
  readonly type: 'jwt'
  readonly algorithm: 'HS256' | 'RS256' | 'ES256'
  /** The shared secret, or a private key in PEM. */
  readonly key: string
  /** Its `kid`. */
  readonly keyId?: string | undefined
  readonly issuer?: string | undefined
  readonly audience?: string | undefined
  /** A template, as all of `claims` are. */
  readonly subject: string
  readonly claims?: Readonly<Record<string, string>> | undefined
  /** ms, at most five minutes. */
  readonly lifetime: number
}

export type CredentialConfig =
  | { readonly type: 'none' | 'forward' }
  | { readonly type: 'headers'; readonly headers: Readonly<Record<string, string>> }
  | MintedConfig

type Headers = Readonly<Record<string, string>>

export interface BackendCredential {
  /**
   * The headers for the backend, made of what the client sent: without its Authorization (but with `forward`) and without
   * whatever it sent under our names in any spelling. Rejects with TOKEN_INVALID where the caller lacks a claim.
   */
  replace(inbound: Headers, who: Identity): Promise<Headers>
}

const longestLifetime = 300_000
/** ms before its end from which a token is made anew: what is sent now must still be good when it has arrived. */
const renewBefore = 60_000
/** s: backends refuse tokens from the future, and their clocks are not ours. */
const backdated = 5
/** Tokens that are kept, the oldest going first. */
export const keptTokens = 10_000
/** RFC 7518, section 3.2: as large as the hash. */
const shortestSecret = 32

/** `now`: ms since 1970. Throws CONFIG_INVALID, which never shows a key. */
export function createBackendCredential(
  config: CredentialConfig,
  now: () => number = Date.now,
): BackendCredential {
  switch (config.type) {
    case 'forward':
      return { replace: async (inbound) => inbound }
    case 'none':
      return { replace: async (inbound) => without(inbound, new Set(['authorization'])) }
    case 'headers': {
      const ours = checkedHeaders(config.headers)
      const names = new Set(['authorization', ...Object.keys(ours)].map(plainName))
      return { replace: async (inbound) => ({ ...without(inbound, names), ...ours }) }
    }
    case 'jwt': {
      const tokenFor = createMint(config, now)
      const names = new Set(['authorization'])
      return {
        replace: async (inbound, who) => {
          const token = await tokenFor(who)
          return { ...without(inbound, names), authorization: `Bearer ${token}` }
        },
      }
    }
  }
}

/** CGI and WSGI make one name of "-" and "_". */
const plainName = (name: string): string => name.toLowerCase().replaceAll('_', '-')

const without = (headers: Headers, names: ReadonlySet<string>): Headers =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !names.has(plainName(name))))

function checkedHeaders(headers: Headers): Headers {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
      throw configInvalid(`headers: ${JSON.stringify(name)} is no name of a header`)
    }
    if (!/^[ -~]+$/.test(value)) {
      throw configInvalid(`headers.${name}: not printable ASCII, or empty`)
    }
  }
  return Object.fromEntries(Object.entries(headers).map(([name, v]) => [name.toLowerCase(), v]))
}

interface Minted {
  readonly token: Promise<string>
  /** s since 1970. */
  readonly end: number
}

function createMint(config: MintedConfig, now: () => number): (who: Identity) => Promise<string> {
  const { algorithm, lifetime, issuer, audience, keyId } = config
  if (!(lifetime >= 1000 && lifetime <= longestLifetime)) {
    throw configInvalid(`lifetime: ${lifetime} ms is not between 1 s and 5 min`)
  }
  const key = readKey(config)
  const header = { alg: algorithm, typ: 'JWT', ...(keyId !== undefined && { kid: keyId }) }
  const fixed = {
    ...(issuer !== undefined && { iss: issuer }),
    ...(audience !== undefined && { aud: audience }),
  }
  const templates = claimTemplates(config)
  /** By a digest of who it is for and all it says; oldest first. */
  const minted = new Map<string, Minted>()

  const sign = (payload: Record<string, string>, from: number, end: number): Promise<string> =>
    new SignJWT({ ...payload, ...fixed })
      .setIssuedAt(from - backdated)
      .setExpirationTime(end)
      .setProtectedHeader(header)
      .sign(key)

  return async (who) => {
    const payload = Object.fromEntries(
      templates.map(([name, template]) => [name, identityText(template, who)]),
    )
    const time = now()
    const { expires = Infinity } = who
    // It is no longer good than what it stands for.
    const end = Math.floor(Math.min(time + lifetime, expires) / 1000)
    if (end * 1000 <= time) throw new ProxyError('TOKEN_INVALID', 'the access token has expired')
    const name = hash('sha256', JSON.stringify([who.principal, payload]), 'base64url')
    const kept = minted.get(name)
    if (kept !== undefined && time < kept.end * 1000 - renewBefore && kept.end * 1000 <= expires) {
      return kept.token
    }
    const token = sign(payload, Math.floor(time / 1000), end)
    minted.delete(name)
    minted.set(name, { token, end })
    for (const oldest of minted.keys()) {
      if (minted.size <= keptTokens) break
      minted.delete(oldest)
    }
    return token.catch((cause: unknown) => {
      minted.delete(name)
      throw new ProxyError('INTERNAL', 'no token could be made for the backend', { cause })
    })
  }
}

/** RFC 7519, section 4.1: what these mean is not up to a template. */
const reserved = new Set(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat'])

function claimTemplates({
  subject,
  claims = {},
}: MintedConfig): readonly (readonly [string, IdentityTemplate])[] {
  const further = Object.entries(claims).map(([name, text]) => {
    if (reserved.has(name)) throw configInvalid(`claims.${name}: has a key of its own`)
    return [name, identityTemplate(text, `credential.claims.${name}`)] as const
  })
  return [['sub', identityTemplate(subject, 'credential.subject')], ...further]
}

/** A key that cannot be what the algorithm takes is found at the start, not with the first request. */
function readKey({ algorithm, key }: MintedConfig): Uint8Array | KeyObject {
  if (algorithm === 'HS256') {
    const bytes = new TextEncoder().encode(key)
    // Everybody has a public key: a token signed with one as a secret is signed by anybody.
    if (key.includes('-----BEGIN ')) throw configInvalid('key: HS256 takes a secret, not PEM')
    if (bytes.length < shortestSecret) {
      throw configInvalid(`key: HS256 takes ${shortestSecret} bytes or more, not ${bytes.length}`)
    }
    return bytes
  }
  let found: KeyObject
  try {
    found = createPrivateKey(key)
  } catch {
    throw configInvalid(`key: ${algorithm} takes a private key in PEM, without a passphrase`)
  }
  const { asymmetricKeyType, asymmetricKeyDetails } = found
  // RFC 7518, sections 3.3 and 3.4.
  const fits =
    algorithm === 'ES256'
      ? asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1'
      : asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048
  if (!fits) {
    const wanted = algorithm === 'ES256' ? 'of the curve P-256' : 'of RSA with 2048 bits or more'
    throw configInvalid(`key: ${algorithm} takes a key ${wanted}`)
  }
  return found
}

const configInvalid = (reason: string): ProxyError =>
  new ProxyError('CONFIG_INVALID', `credential.${reason}`)
