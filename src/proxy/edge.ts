// The HTTP edge: who may talk to us (Host, Origin), what browsers are told (CORS), and which headers of a client's
// request go on to the backend. Pure functions of headers; nothing here sends anything.
import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Config } from '../config/schema.ts'
import { principalHeader } from '../auth/auth.ts'
import { ProxyError } from '../errors.ts'

export interface Edge {
  /** Throws HOST_FORBIDDEN or ORIGIN_FORBIDDEN. Answers the CORS headers for the answer. */
  admit(headers: IncomingHttpHeaders): Record<string, string>
  /** CORS headers for a preflight, besides those of `admit`. */
  preflight(headers: IncomingHttpHeaders, allow: string): Record<string, string>
}

const loopbackNames = new Set(['localhost', '127.0.0.1', '[::1]', '::1'])

const hostnameOf = (host: string): string => host.replace(/:\d*$/, '').toLowerCase()

const isLoopbackOrigin = (origin: string): boolean => {
  const match = /^https?:\/\/(\[[^\]]+\]|[^/:]+)(?::\d+)?$/.exec(origin)
  return match?.[1] !== undefined && loopbackNames.has(match[1].toLowerCase())
}

/** What browsers may read of our answers. */
const exposed = 'Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After'

const usualRequestHeaders =
  'authorization, content-type, accept, mcp-protocol-version, mcp-session-id, last-event-id, mcp-method, mcp-name'

export function createEdge(
  config: Pick<Config, 'listen' | 'publicUrl' | 'origins' | 'hosts'>,
): Edge {
  const onLoopback = loopbackNames.has(config.listen.host)
  const ours = config.publicUrl === undefined ? undefined : new URL(config.publicUrl)
  const origins = new Set(config.origins)
  const hosts = new Set([...loopbackNames, ...config.hosts.map((host) => host.toLowerCase())])
  if (ours !== undefined) hosts.add(ours.hostname)

  const allows = (origin: string): boolean =>
    origins.has('*') ||
    origins.has(origin) ||
    origin === ours?.origin ||
    (onLoopback && isLoopbackOrigin(origin))

  return {
    admit({ host, origin }): Record<string, string> {
      // Against DNS rebinding (2025-11-25, Transports, "Security Warning").
      if (onLoopback && (host === undefined || !hosts.has(hostnameOf(host)))) {
        throw new ProxyError(
          'HOST_FORBIDDEN',
          `host "${host ?? ''}" is not served here; list it in "hosts", or set "publicUrl"`,
        )
      }
      if (origin === undefined) return {}
      if (!allows(origin)) {
        throw new ProxyError('ORIGIN_FORBIDDEN', `origin "${origin}" is not allowed`)
      }
      return {
        'access-control-allow-origin': origin,
        'access-control-expose-headers': exposed,
        vary: 'Origin',
      }
    },
    preflight(headers, allow) {
      return {
        'access-control-allow-methods': allow,
        'access-control-allow-headers':
          headers['access-control-request-headers'] ?? usualRequestHeaders,
        'access-control-max-age': '86400',
      }
    },
  }
}

// Hop-by-hop (RFC 9110, section 7.6.1), what is ours to set per dialect, and what would let a client pose as somebody:
// the first users' backend trusts `x-user-id`.
const dropped = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'host',
  'accept',
  'accept-encoding',
  'content-type',
  'content-length',
  'content-encoding',
  'origin',
  'referer',
  'cookie',
  'forwarded',
  'via',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
  'last-event-id',
])
/** Names under which proxies in front of a server say who the user is; a client must not. */
const identity =
  /^(?:x-)?(?:remote|auth|authenticated|forwarded|end)?-?(?:user|client)(?:-|name|id|ip|$)|^(?:x-)?remote-|^(?:x-)?auth-request-|^(?:cf|true|fastly|fly)-.*ip$|^x-(?:amzn-oidc|ms-client|goog|ms-token|original|webauth|email|groups|roles|principal|subject)/

const droppedPrefixes = [
  'mcp-',
  // Ours: see principalHeader.
  'x-causeway-',
  'x-forwarded-',
  'proxy-',
  'sec-',
  'x-user-',
  'x-client-',
  'access-control-',
]

const decideDropped = (name: string): boolean =>
  dropped.has(name) ||
  name.includes('_') ||
  (name !== 'user-agent' && identity.test(name)) ||
  droppedPrefixes.some((prefix) => name.startsWith(prefix))

/** What was decided of header names: the same few come with every request. */
const decided = new Map<string, boolean>()
const mostDecided = 1000

function isDropped(name: string): boolean {
  const known = decided.get(name)
  if (known !== undefined) return known
  const verdict = decideDropped(name)
  if (decided.size < mostDecided) decided.set(name, verdict)
  return verdict
}

/** What names no header besides itself. */
const usualConnection = /^(?:keep-alive|close)?$/i
const none: ReadonlySet<string> = new Set()

const fold = (name: string): string => name.toLowerCase().replaceAll('_', '-')

/**
 * Headers for the backend: those of the client that may pass, in lower case, without what a route sets (in any
 * spelling: some servers fold `_` and `-`), then forwarding headers made anew, then the route's own.
 */
export function forwardedHeaders(
  headers: IncomingHttpHeaders,
  own: Readonly<Record<string, string>>,
  from: { readonly address: string; readonly publicUrl: URL | undefined },
): Record<string, string> {
  const ownKeys = Object.keys(own)
  const ownNames = ownKeys.length === 0 ? none : new Set(ownKeys.map(fold))
  const { connection = '' } = headers
  const named = usualConnection.test(connection)
    ? none
    : new Set(connection.toLowerCase().split(/\s*,\s*/))
  const result: Record<string, string> = {}
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined || isDropped(name) || named.has(name)) continue
    if (ownNames.size > 0 && ownNames.has(fold(name))) continue
    result[name] = Array.isArray(value) ? value.join(', ') : value
  }
  if (from.address !== '') result['x-forwarded-for'] = from.address
  const ours = from.publicUrl
  const host = ours?.host ?? headers.host
  if (host !== undefined) result['x-forwarded-host'] = host
  result['x-forwarded-proto'] = ours?.protocol.slice(0, -1) ?? 'http'
  return Object.assign(result, own)
}

/** Headers that describe a client or a request rather than say who is asking. */
const descriptive = new Set([
  'user-agent',
  'accept-language',
  'traceparent',
  'tracestate',
  'baggage',
  'x-request-id',
  'x-correlation-id',
  'cache-control',
  'pragma',
  'priority',
  'dnt',
  'date',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
])

/**
 * Who is asking, as far as the backend can tell: a digest of every forwarded header that could matter to it. Callers with
 * different ones never share a backend session.
 */
export function principalOf(headers: Readonly<Record<string, string>>): string {
  return hash('sha256', textOf(headers, Object.keys(headers).sort()), 'base64url')
}

function textOf(headers: Readonly<Record<string, string>>, names: readonly string[]): string {
  let text = ''
  // What the backend gets for a verified caller says less of it, and may be made anew at any time.
  const verified = headers[principalHeader] !== undefined
  for (const name of names) {
    if (verified && name === 'authorization') continue
    // Copies of a tool's arguments, which say nothing of who calls it.
    if (name.startsWith('mcp-param-')) continue
    if (!descriptive.has(name)) text += `${name}:${headers[name]}\n`
  }
  return text
}

/**
 * Whose session it is: as `principalOf`, except that a bearer token may change, because clients refresh theirs. What
 * stays the same of it is used: that there is one, and the issuer and subject that a JWT claims. The claims are believed
 * by nobody; they only keep one user's session from another who has come by its id.
 */
export function identityOf(headers: Readonly<Record<string, string>>): string {
  const verified = headers[principalHeader]
  if (verified !== undefined) return hash('sha256', `verified ${verified}`, 'base64url')
  const { authorization, ...others } = headers
  const token = authorization === undefined ? 'none' : subjectOf(authorization)
  return principalOf({ ...others, authorization: token })
}

/** Checks request after request against one identity; the same headers are not worked out anew each time. */
export class IdentityCheck {
  readonly #expected: string
  #latest: string | undefined

  constructor(expected: string) {
    this.#expected = expected
  }

  admits(headers: Readonly<Record<string, string>>): boolean {
    const text = textOf(headers, Object.keys(headers))
    if (text === this.#latest) return true
    if (identityOf(headers) !== this.#expected) return false
    this.#latest = text
    return true
  }
}

function subjectOf(authorization: string): string {
  const [scheme = '', token = ''] = authorization.split(' ')
  if (scheme.toLowerCase() !== 'bearer') return authorization
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(token.split('.')[1] ?? '', 'base64url').toString(),
    )
    const { iss, sub } = claims as { iss?: unknown; sub?: unknown }
    return `bearer ${String(iss)} ${String(sub)}`
  } catch {
    return 'bearer'
  }
}
