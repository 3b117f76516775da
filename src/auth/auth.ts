// The contract of authentication: who asks, as a route's `auth` has established it. Everything in this folder is made for
// one route, knows nothing of conversations, and says what is wrong with a ProxyError.
import type { JsonObject } from '../protocol/jsonrpc.ts'

/** A caller whose credential has been verified. */
export interface Authenticated {
  /** Unique over all issuers and kinds of credential, such as `https://as.example.com|user-1`. */
  readonly principal: string
  /** The OAuth client that the token was issued to, where it says so. */
  readonly clientId: string | undefined
  readonly scopes: readonly string[]
  /** What the token says, or what introspection said of it; empty for static keys. */
  readonly claims: JsonObject
  /** ms since 1970 after which the credential is no longer good; undefined: never. */
  readonly expires: number | undefined
}

/** Verifies one kind of credential. */
export interface Verifier {
  /**
   * Resolves to who it is, or to undefined where the credential is none of this kind and another verifier may know it.
   * `resource` is what the token is used for, and its audience where no other is configured. Rejects with TOKEN_INVALID,
   * or with AUTH_UNAVAILABLE where whoever must be asked cannot be.
   */
  verify(token: string, resource?: string): Promise<Authenticated | undefined>
}

/**
 * A header of ours that carries a verified principal from the edge to wherever callers are told apart. No client can set
 * it, and no backend gets it.
 */
export const principalHeader = 'x-causeway-principal'
