// The metadata of authorization servers (RFC 8414), pure: reading what an AS publishes, and the facade, which is what we
// publish in its place for clients that look for an AS where the MCP server is.
import type { Json, JsonObject } from '../protocol/jsonrpc.ts'

/** Where requests go; strings, because a URL object would respell them. */
export interface Endpoints {
  readonly authorization: string
  readonly token: string
  readonly registration: string | undefined
  readonly revocation: string | undefined
}

export interface ServerMetadata {
  /** Byte for byte as the AS publishes it. */
  readonly issuer: string
  readonly endpoints: Endpoints
  /** It sends `iss` with authorization responses (RFC 9207, section 3), so no other issuer may be shown in its place. */
  readonly emitsIss: boolean
  /** All that it published. */
  readonly document: JsonObject
}

/** `not-found`: there is no metadata. `pending`: nobody has looked yet. */
export type DiscoveryFault =
  | 'pending'
  | 'not-found'
  | 'unreachable'
  | 'redirected'
  | 'invalid'
  | 'insecure'
  | 'issuer-mismatch'
  | 'no-s256'

export interface Trouble {
  readonly ok: false
  readonly fault: DiscoveryFault
  /** For the log. */
  readonly reason: string
}

export type Discovery =
  | { readonly ok: true; readonly metadata: ServerMetadata; readonly trouble: Trouble | undefined }
  | Trouble

export const trouble = (fault: DiscoveryFault, reason: string): Trouble => ({
  ok: false,
  fault,
  reason,
})
/** Of another server's words, as much as fits a log. */
export const quoted = (value: unknown): string => String(JSON.stringify(value)).slice(0, 200)

/** `http` only where the operator himself reaches the backend by it: in development, or inside a private network. */
const isSecure = (url: URL, backendUrl: URL): boolean =>
  url.protocol === 'https:' || (url.protocol === 'http:' && backendUrl.protocol === 'http:')

export const withoutSlash = (text: string): string => text.replace(/\/$/, '')

/** RFC 8414, section 3.1: the well-known name goes between host and path, and a slash at the end goes. */
const inserted = (url: URL, name: string): string =>
  `${url.origin}/.well-known/${name}${withoutSlash(url.pathname)}`

/** In the order of 2025-11-25, Authorization, "Authorization Server Metadata Discovery". */
export const metadataUrls = (issuer: URL): string[] => [
  ...new Set([
    inserted(issuer, 'oauth-authorization-server'),
    inserted(issuer, 'openid-configuration'),
    `${withoutSlash(issuer.origin + issuer.pathname)}/.well-known/openid-configuration`,
  ]),
]

const endpointNames = [
  'authorization_endpoint',
  'token_endpoint',
  'registration_endpoint',
  'revocation_endpoint',
] as const

/** Checks what an AS says of itself (RFC 8414, sections 2 and 3.3). `fits` tells whether that is the issuer asked for. */
export function readMetadata(
  document: JsonObject,
  fits: (issuer: string) => boolean,
  backendUrl: URL,
): { readonly ok: true; readonly metadata: ServerMetadata } | Trouble {
  const { issuer } = document
  if (typeof issuer !== 'string' || !fits(issuer)) {
    return trouble('issuer-mismatch', `its metadata is of another issuer, ${quoted(issuer)}`)
  }
  const found: Partial<Record<(typeof endpointNames)[number], string>> = {}
  for (const name of endpointNames) {
    const value = document[name]
    if (value === undefined || value === null) continue
    const url = typeof value === 'string' ? URL.parse(value) : null
    // It must be able to stand in a header as it is; RFC 6749, sections 3.1 and 3.2: no fragment.
    const plain = url !== null && /^[!-~]+$/.test(value as string) && !/#/.test(value as string)
    if (!plain || url.username !== '' || url.password !== '') {
      return trouble('invalid', `its ${name} is no URL to use: ${quoted(value)}`)
    }
    if (!isSecure(url, backendUrl)) {
      return trouble('insecure', `its ${name} is not https: ${quoted(value)}`)
    }
    found[name] = value as string
  }
  const { authorization_endpoint: authorization, token_endpoint: token } = found
  if (authorization === undefined || token === undefined) {
    return trouble('invalid', 'its metadata lacks authorization_endpoint or token_endpoint')
  }
  // 2025-11-25, Authorization, "Authorization Code Protection": clients refuse to go on without.
  const methods = document['code_challenge_methods_supported']
  if (!Array.isArray(methods) || !methods.includes('S256')) {
    return trouble('no-s256', 'its metadata does not list S256 in code_challenge_methods_supported')
  }
  const { registration_endpoint: registration, revocation_endpoint: revocation } = found
  const endpoints = { authorization, token, registration, revocation }
  const emitsIss = document['authorization_response_iss_parameter_supported'] === true
  return { ok: true, metadata: { issuer, endpoints, emitsIss, document } }
}

/**
 * Where requests of clients go. A backend without metadata is meant to have the default paths at its root (2025-03-26,
 * Authorization, "Fallbacks for Servers without Metadata Discovery"). Undefined where what there is cannot be trusted.
 */
export function endpointsOf(found: Discovery, backendUrl: URL): Endpoints | undefined {
  if (found.ok) return found.metadata.endpoints
  if (found.fault !== 'not-found') return undefined
  const { origin } = backendUrl
  return {
    authorization: `${origin}/authorize`,
    token: `${origin}/token`,
    registration: `${origin}/register`,
    revocation: `${origin}/revoke`,
  }
}

/** Where the facade has its endpoints: the default paths of 2025-03-26, which some clients use unasked. */
export const shimPaths = {
  authorize: '/authorize',
  token: '/token',
  register: '/register',
  revoke: '/revoke',
} as const

/** What stays true when the endpoints move. Anything that names or signs the AS's own URLs does not. */
const kept = [
  'scopes_supported',
  'response_types_supported',
  'response_modes_supported',
  'grant_types_supported',
  'code_challenge_methods_supported',
  'client_id_metadata_document_supported',
  'jwks_uri',
  'service_documentation',
  'ui_locales_supported',
  'op_policy_uri',
  'op_tos_uri',
] as const

/** An assertion of the client would name our token endpoint or issuer as its audience (RFC 7523, section 3). */
const isRelayed = (method: unknown): boolean =>
  method === 'none' || method === 'client_secret_basic' || method === 'client_secret_post'

const relayed = (document: JsonObject, name: string): JsonObject => {
  const methods = document[name]
  if (!Array.isArray(methods)) return {}
  const usable = methods.filter(isRelayed)
  return usable.length === 0 ? {} : { [name]: usable }
}

/**
 * The document for `/.well-known/oauth-authorization-server` at `publicOrigin`. It never says that `iss` is sent: that
 * would be the AS's own, and clients compare it (RFC 9207, section 2.4).
 */
export function facadeDocument(
  { document, endpoints }: ServerMetadata,
  publicOrigin: string,
): JsonObject {
  const facade: Record<string, Json> = {
    issuer: publicOrigin,
    authorization_endpoint: publicOrigin + shimPaths.authorize,
    token_endpoint: publicOrigin + shimPaths.token,
    ...(endpoints.registration !== undefined && {
      registration_endpoint: publicOrigin + shimPaths.register,
    }),
    ...(endpoints.revocation !== undefined && {
      revocation_endpoint: publicOrigin + shimPaths.revoke,
      ...relayed(document, 'revocation_endpoint_auth_methods_supported'),
    }),
    ...relayed(document, 'token_endpoint_auth_methods_supported'),
  }
  for (const name of kept) {
    const value = document[name]
    if (value !== undefined && value !== null) facade[name] = value
  }
  return facade
}

const resourceKey = (text: string): string | undefined => {
  const url = URL.parse(text)
  return url === null ? undefined : withoutSlash(url.origin + url.pathname)
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}

/**
 * Puts `to` in place of `from` where a query or a form names it as its `resource` (RFC 8707, section 2). Clients add a
 * slash or a query to it. Every other byte stays, and so does a foreign resource: refusing it is the AS's affair.
 */
export function mapResource(text: string, from: string, to: string): string {
  const wanted = resourceKey(from)
  return text
    .split('&')
    .map((pair) => {
      const at = pair.indexOf('=')
      if (at === -1 || decoded(pair.slice(0, at)) !== 'resource') return pair
      const value = decoded(pair.slice(at + 1))
      if (value === undefined || resourceKey(value) !== wanted) return pair
      return `${pair.slice(0, at)}=${encodeURIComponent(to)}`
    })
    .join('&')
}
