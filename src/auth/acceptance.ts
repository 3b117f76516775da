// Who a token belongs to that only the backend can verify. What a token claims counts after the backend has accepted
// that very token, and for a short time: else a forged one would open another user's session.
import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { isObject } from '../protocol/jsonrpc.ts'
import type { JsonObject } from '../protocol/jsonrpc.ts'

export interface TokenAcceptanceOptions {
  /** ms for which an acceptance holds; never more than 5 min. */
  readonly lifetime: number
  /** Tokens at most; the one accepted first goes first. */
  readonly capacity: number
}

const longestLifetime = 300_000

export const acceptanceDefaults = {
  lifetime: longestLifetime,
  capacity: 10_000,
} as const satisfies TokenAcceptanceOptions

interface Entry {
  readonly principal: string
  until: number
}

export class TokenAcceptance {
  readonly #clock: Clock
  readonly #lifetime: number
  readonly #capacity: number
  readonly #whose: (token: string) => string
  /** By digest, so that no token is kept; oldest first. */
  readonly #entries = new Map<string, Entry>()

  constructor(
    options: TokenAcceptanceOptions,
    clock: Clock,
    whose: (token: string) => string = principalOfToken,
  ) {
    this.#clock = clock
    this.#whose = whose
    this.#lifetime = Math.min(options.lifetime, longestLifetime)
    this.#capacity = options.capacity
  }

  get size(): number {
    return this.#entries.size
  }

  /**
   * The backend has answered 2xx to a request with `token`, one that it does not answer without a token as well.
   * Returns whose it is.
   */
  accepted(token: string): string {
    const digest = digestOf(token)
    const until = this.#clock.now() + this.#lifetime
    const known = this.#entries.get(digest)
    if (known !== undefined) {
      known.until = until
      return known.principal
    }
    const principal = this.#whose(token)
    this.#entries.set(digest, { principal, until })
    if (this.#entries.size > this.#capacity) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest)
        break
      }
    }
    return principal
  }

  /** The backend has refused `token`. */
  refused(token: string): void {
    this.#entries.delete(digestOf(token))
  }

  /** Undefined: the backend has to be asked first. */
  principalOf(token: string): string | undefined {
    const digest = digestOf(token)
    const known = this.#entries.get(digest)
    if (known === undefined) return undefined
    if (this.#clock.now() < known.until) return known.principal
    this.#entries.delete(digest)
    return undefined
  }
}

const digestOf = (token: string): string => createHash('sha256').update(token).digest('hex')

const objectIn = (segment: string): JsonObject | undefined => {
  try {
    const value: unknown = JSON.parse(Buffer.from(segment, 'base64url').toString())
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Issuer and subject of a JWT (RFC 7519, section 4.1), as it claims; a signature is not looked at. */
const claimedBy = (token: string): string | undefined => {
  const [header = '', payload = '', ...rest] = token.split('.')
  if (rest.length !== 1 || objectIn(header) === undefined) return undefined
  const { iss, sub } = objectIn(payload) ?? {}
  if (typeof iss !== 'string' || typeof sub !== 'string' || iss === '' || sub === '') {
    return undefined
  }
  // No URL holds a bar; with one, two pairs of issuer and subject could read the same.
  return iss.includes('|') ? undefined : `${iss}|${sub}`
}

/** A principal that is this token and nothing else. */
export const tokenItself = (token: string): string => `sha256:${digestOf(token)}`

/** Whose a token is, if it is good: as it claims, or else nobody's but its own. */
export const principalOfToken = (token: string): string => claimedBy(token) ?? tokenItself(token)
