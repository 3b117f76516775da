// The guard of one route: lets a request in, or says what its client has to do about it, and tells the backend who asks.
import type { IncomingHttpHeaders } from 'node:http'
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { principalHeader } from './auth.ts'
import type { Authenticated } from './auth.ts'
import { challengeText } from './challenge.ts'
import type { Challenge } from './challenge.ts'
import { metadataUrl } from './resource-metadata.ts'
import type { ResourceFacts } from './resource-metadata.ts'

/** What is looked at of a request. */
export interface Knock {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  /** Without its question mark. */
  readonly query: string
  readonly address: string
  /** The URL that the client means, as the configuration has it. */
  readonly resource: string
  /** The parameters of the route's path. */
  readonly parameters: Readonly<Record<string, string>>
}

/** Who has been let in. */
export interface Admission {
  /** Undefined where nobody in particular asks. */
  readonly principal: string | undefined
  readonly client: string | undefined
  /** ms since 1970 until which it holds; undefined: as long as the request lasts. */
  readonly expires: number | undefined
  /** Parameters for the templates of the backend, besides those of the path. */
  readonly parameters: Readonly<Record<string, string>>
  /** What it permits depends on what messages say: they must be read whole. */
  readonly reads: boolean
  /** Rejects messages that need more than was granted (SCOPE_INSUFFICIENT). */
  permit(messages: readonly Message[]): void
  /** The headers for the backend, made of those of the client that may pass. */
  headers(inbound: Readonly<Record<string, string>>): Promise<Record<string, string>>
}

export interface Guard {
  readonly type: 'relay' | 'verify'
  /** What the metadata of the protected resource says. */
  /** Rejects with AUTH_UNAVAILABLE while they are not known. */
  facts(): Promise<ResourceFacts>
  /** Rejects with what the client is to be told, challenge included. */
  admit(knock: Knock): Promise<Admission>
}

/** An error that tells its client where to get what it lacks. */
export function challenged(
  error: ProxyError,
  resource: string,
  challenge: Omit<Challenge, 'metadata'>,
): ProxyError {
  const text = challengeText({ ...challenge, metadata: metadataUrl(resource) })
  return new ProxyError(error.code, error.message, {
    cause: error.cause,
    ...(error.retryAfter !== undefined && { retryAfter: error.retryAfter }),
    status: error.status,
    headers: { ...error.headers, 'www-authenticate': text },
  })
}

/** No credential came. */
export const missing = (resource: string, scopes: readonly string[]): ProxyError =>
  challenged(new ProxyError('TOKEN_MISSING', 'this resource needs a bearer token'), resource, {
    scopes,
  })

/** Adds who asks to the headers that callers are told apart by. */
export const named = (
  headers: Readonly<Record<string, string>>,
  who: Pick<Authenticated, 'principal'>,
): Record<string, string> => ({ ...headers, [principalHeader]: who.principal })
