// Static API keys, for clients that know no OAuth. Only digests are configured: a configuration that leaks opens nothing,
// provided that the keys are random (128 bits or more), because the digest is a plain one.
import { createHash, timingSafeEqual } from 'node:crypto'
import { ProxyError } from '../errors.ts'
import type { Authenticated, Verifier } from './auth.ts'

export interface ApiKey {
  /** SHA-256 of the key in hexadecimal, as `printf %s "$KEY" | sha256sum` prints it. */
  readonly sha256: string
  /** Who has the key; the principal is `api-key|<principal>`. Several keys may have the same. */
  readonly principal: string
  readonly scopes: readonly string[]
}

export interface ApiKeysConfig {
  readonly keys: readonly ApiKey[]
}

const invalid = (message: string): ProxyError => new ProxyError('CONFIG_INVALID', message)

/** Throws CONFIG_INVALID where a digest is none or stands twice. Resolves to undefined for a key that is not listed. */
export function createApiKeyVerifier({ keys }: ApiKeysConfig): Verifier {
  const known = keys.map(({ sha256, principal, scopes }) => {
    const named = `API key of "${principal}"`
    if (!/^[0-9a-f]{64}$/i.test(sha256)) throw invalid(`${named}: not a SHA-256 in hexadecimal`)
    if (principal === '') throw invalid('an API key names no principal')
    const authenticated: Authenticated = {
      principal: `api-key|${principal}`,
      clientId: undefined,
      scopes: [...scopes],
      claims: {},
      expires: undefined,
    }
    return { digest: Buffer.from(sha256, 'hex'), named, authenticated }
  })
  const digests = new Set<string>()
  for (const { digest, named } of known) {
    const text = digest.toString('hex')
    if (digests.has(text)) throw invalid(`${named}: the same key is listed before`)
    digests.add(text)
  }
  return {
    async verify(token) {
      const presented = createHash('sha256').update(token).digest()
      let found: Authenticated | undefined
      // Every digest is compared, and in constant time, so that the time taken says nothing of how near a key came.
      for (const { digest, authenticated } of known) {
        if (timingSafeEqual(presented, digest)) found = authenticated
      }
      return found
    },
  }
}
