// Putting right what a backend's own authorization says, pure: answers of token, registration and revocation endpoints
// become what RFC 6749, section 5.2, and RFC 7591, section 3.2, ask for, and refusals of an MCP endpoint become what a
// client starts OAuth on. Never passes on a page, a stack trace, or what a request held.
import { isObject } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject } from '../protocol/jsonrpc.ts'
import { parametersIn } from './challenge.ts'
import type { Challenge } from './challenge.ts'

export type PostedEndpoint = 'token' | 'register' | 'revoke'

export interface Answer {
  readonly status: number
  /** JSON, or empty. */
  readonly body: string
}

/** The characters of a code and of a description (RFC 6749, section 5.2); a sentence is no code. */
const code = /^[a-z][a-z0-9_]{0,63}$/
const inDescription = (text: string): string =>
  text
    .replace(/[^\x20-\x7e]/g, '?')
    .replace(/["\\]/g, "'")
    .slice(0, 200)

/** An error as OAuth writes it. */
export const oauthError = (status: number, error: string, description: string): Answer => ({
  status,
  body: JSON.stringify({ error, error_description: inDescription(description) }),
})

const parsed = (text: string): JsonObject | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * The words in FastAPI's `detail`: a text, or a list of what is wrong with which field. Later versions also repeat there
 * what was sent (`input`), and that may be a secret.
 */
const wordsOf = (detail: Json | undefined): string => {
  if (typeof detail === 'string') return detail
  if (!Array.isArray(detail)) return 'the request was refused'
  return detail
    .filter(isObject)
    .map(({ loc, msg }) => {
      const field = Array.isArray(loc) ? loc.at(-1) : undefined
      return [field, msg].filter((part) => typeof part === 'string').join(': ')
    })
    .join('; ')
}

const mentions = (words: string, ...these: string[]): boolean => {
  const plain = words.toLowerCase().replaceAll(/[^a-z]+/g, ' ')
  return these.some((each) => plain.includes(each))
}

/** What FastAPI says of a path or a method that it does not have. */
const isMissing = (status: number, words: string): boolean =>
  (status === 404 && words === 'Not Found') || (status === 405 && words === 'Method Not Allowed')

/** A refusal that has no code. `grant` is the request's `grant_type`. */
const refusal = (
  endpoint: PostedEndpoint,
  status: number,
  words: string,
  grant: string | undefined,
): Answer => {
  if (isMissing(status, words)) {
    return oauthError(404, 'invalid_request', `the authorization server has no ${endpoint} here`)
  }
  if (endpoint === 'register') {
    return status === 401
      ? oauthError(401, 'invalid_token', words)
      : oauthError(400, 'invalid_client_metadata', words)
  }
  // Clients register anew on this, which they must where the AS has forgotten them.
  if (status === 401 || mentions(words, 'invalid client', 'unknown client', 'client not found')) {
    return oauthError(401, 'invalid_client', words)
  }
  if (endpoint === 'revoke') return oauthError(400, 'invalid_request', words)
  // An endpoint that was written for codes alone misses its `code` in every other grant.
  const other = status === 422 && grant !== undefined && grant !== 'authorization_code'
  if (other || mentions(words, 'unsupported grant')) {
    return oauthError(400, 'unsupported_grant_type', words)
  }
  const refused = status === 400 || status === 403
  return oauthError(400, refused ? 'invalid_grant' : 'invalid_request', words)
}

const isDone = (endpoint: PostedEndpoint, answer: JsonObject | undefined): boolean => {
  if (endpoint === 'revoke') return answer?.['error'] === undefined
  return typeof answer?.[endpoint === 'token' ? 'access_token' : 'client_id'] === 'string'
}

const unusable = (): Answer =>
  oauthError(502, 'server_error', 'the authorization server gave no usable answer')

/** What is tried again later; the client keeps what it has. */
export const unavailable = (status: 429 | 503 | 504, description: string): Answer =>
  oauthError(status, 'temporarily_unavailable', description)

/**
 * What a client gets for what the AS answered. A text that is right passes as it is. `grant` is the `grant_type` of a
 * token request.
 */
export function mendAnswer(
  endpoint: PostedEndpoint,
  { status, body }: Answer,
  grant?: string,
): Answer {
  const value = parsed(body)
  if (status >= 200 && status < 300 && isDone(endpoint, value)) {
    // RFC 7009, section 2.2: the body of a revocation says nothing. RFC 7591, section 3.2.1: a new client is 201.
    if (endpoint === 'revoke') return { status: 200, body: '' }
    return { status: endpoint === 'register' ? 201 : 200, body }
  }
  if (status === 429) return unavailable(429, 'the authorization server is asked too often')
  const detail = value?.['detail']
  // `HTTPException(detail={"error": ...})` wraps what is meant.
  const inner = isObject(detail) && 'error' in detail ? detail : value
  const error = inner?.['error']
  if (typeof error === 'string' && code.test(error)) {
    // A sign of success with an error inside, as GitHub answers, and statuses of no meaning here are 400.
    const meant = status === 401 || status === 403 || status >= 500 ? status : 400
    return { status: meant, body: inner === value ? body : JSON.stringify(inner) }
  }
  if (status >= 502 && status <= 504) {
    return unavailable(503, 'the authorization server is not there at the moment')
  }
  // A page that somebody in between has put there says nothing of the request.
  if (value === undefined || status >= 500 || (status >= 300 && status < 400)) return unusable()
  if (status < 300 && error === undefined) return unusable()
  const said = detail ?? error ?? value['message']
  return refusal(endpoint, status, wordsOf(said), grant)
}

/** How a backend's refusal is to be told to a client; the rest of the challenge is the route's own. */
export interface Refusal extends Pick<Challenge, 'error' | 'description'> {
  readonly status: 401 | 403
  readonly scopes: readonly string[]
}

/** A status, and what is found in the body then, by which a backend says that a token has expired. */
export interface ExpirySign {
  readonly status: number
  readonly body: RegExp
}

export interface BackendAnswer {
  readonly status: number
  /** Its `WWW-Authenticate`. */
  readonly challenge: string | undefined
  /** As much of the body as is there; only looked at for `signs`. */
  readonly body?: string
}

const errorNames = ['invalid_token', 'insufficient_scope', 'invalid_request'] as const

/**
 * What a refusal by the MCP endpoint means. Undefined: it passes as it is. FastAPI before 0.122 says 403 where there is
 * no token, and no client starts OAuth on it. 403 with a token stays what it is, or clients would ask for a new token for
 * ever. 405 stays too: the guard asks for a token whatever the method, and where none is needed, 405 is what tells the
 * dialects apart.
 */
export function refusalOf(
  { status, challenge, body = '' }: BackendAnswer,
  sentToken: boolean,
  signs: readonly ExpirySign[] = [],
): Refusal | undefined {
  const { error: named, error_description: description, scope = '' } = parametersIn(challenge)
  const scopes = scope.split(' ').filter((each) => each !== '')
  // RFC 6750, section 3.1: no error where there was no token.
  if (!sentToken) {
    return status === 401 || status === 403 ? { status: 401, scopes } : undefined
  }
  const error = errorNames.find((each) => each === named)
  const words = description === undefined ? {} : { description: inDescription(description) }
  const expired = signs.some((sign) => sign.status === status && sign.body.test(body))
  if (expired) return { status: 401, error: 'invalid_token', ...words, scopes }
  if (status === 401) return { status, error: error ?? 'invalid_token', ...words, scopes }
  if (status === 403 && error === 'insufficient_scope') return { status, error, ...words, scopes }
  return undefined
}
