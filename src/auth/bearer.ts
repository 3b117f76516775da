// The credential of a request (RFC 6750, section 2): one bearer token in the Authorization header, and nowhere else.
import type { IncomingHttpHeaders } from 'node:http'
import { ProxyError } from '../errors.ts'

/** Characters of a token at most. */
const longest = 16_384

/** Rejects what cannot be one token. Undefined: there is none. */
export function bearerIn(headers: IncomingHttpHeaders, query: string): string | undefined {
  if (new URLSearchParams(query).has('access_token')) {
    throw new ProxyError('TOKEN_INVALID', 'an access token must not be part of a URL')
  }
  const { authorization } = headers
  if (authorization === undefined) return undefined
  const token = /^bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1]
  if (token === undefined || token.length > longest || token.includes(',')) {
    throw new ProxyError('TOKEN_INVALID', 'the Authorization header does not hold one bearer token')
  }
  return token
}
