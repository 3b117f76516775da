// The authorization server (AS) of a backend that keeps its own: found, checked, and looked at again from time to time.
// Nothing here answers clients, and no redirect is ever followed.
import { request as undiciRequest } from 'undici'
import type { Clock } from '../clock.ts'
import { isObject } from '../protocol/jsonrpc.ts'
import type { JsonObject } from '../protocol/jsonrpc.ts'
import { metadataUrls, quoted, readMetadata, trouble, withoutSlash } from './facade.ts'
import type { Discovery, Trouble } from './facade.ts'

/** How HTTP is spoken: undici's `request`. */
export type HttpRequest = typeof undiciRequest

export interface AuthorizationServerOptions {
  /** The issuer where the operator names it; else the backend's protected resource metadata says it, else it is the backend's origin. */
  readonly issuer?: string
  readonly backendUrl: URL
  /** ms until a good answer is looked at again. */
  readonly refresh: number
  /** ms until the next look after a first failure; doubled with each further one, up to `refresh`. */
  readonly retry: number
  /** ms for each document. */
  readonly timeout: number
  /** Bytes of the largest document that is read. */
  readonly maxDocument: number
}

export const discoveryDefaults = {
  refresh: 600_000,
  retry: 5_000,
  timeout: 10_000,
  maxDocument: 65_536,
} as const satisfies Partial<AuthorizationServerOptions>

export interface AuthorizationServer {
  /** The last good answer, with the trouble of the last look where that failed; or why there has never been one. */
  current(): Discovery
  /** What the backend's protected resource metadata tells clients to ask for; empty where it was not needed or says nothing. */
  scopes(): readonly string[]
  /** Resolves after the first look. Never rejects. */
  ready(): Promise<Discovery>
  /** Looks now, or joins the look under way. Never rejects. */
  look(): Promise<Discovery>
  /** Gives the look under way up; none follows. Idempotent. */
  close(): void
}

export interface AuthorizationServerTools {
  readonly clock: Clock
  readonly request?: HttpRequest
  /** Told the outcome of each look, for log and readiness. */
  onLook?(discovery: Discovery): void
}

interface Text {
  readonly ok: true
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** `unreachable`: no connection, or it broke. */
export type AskFault = 'unreachable' | 'timeout' | 'too-large'

export interface Unanswered {
  readonly ok: false
  readonly fault: AskFault
  /** Of the system's error, such as `ECONNREFUSED`. */
  readonly code?: string
}

export interface Ask {
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Buffer
  /** ms until the whole answer must be there. */
  readonly timeout: number
  /** Bytes of the largest answer that is read. */
  readonly maxBytes: number
  readonly signal?: AbortSignal
}

/** One request and its whole answer, of whatever status. Never rejects. */
export async function ask(
  url: string,
  { method, headers, body, timeout, maxBytes, signal }: Ask,
  { clock, request = undiciRequest }: Pick<AuthorizationServerTools, 'clock' | 'request'>,
): Promise<Text | Unanswered> {
  const over = new AbortController()
  let late = false
  const stopWaiting = clock.after(timeout, () => {
    late = true
    over.abort()
  })
  const all = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
  try {
    const answer = await request(url, {
      method,
      headers: { ...headers, 'accept-encoding': 'identity' },
      signal: all,
      ...(body !== undefined && { body }),
    })
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of answer.body) {
      size += (chunk as Buffer).length
      // Leaving the loop closes the connection.
      if (size > maxBytes) return { ok: false, fault: 'too-large' }
      chunks.push(chunk as Buffer)
    }
    const text = Buffer.concat(chunks).toString()
    return { ok: true, status: answer.statusCode, headers: answer.headers, text }
  } catch (error) {
    if (late) return { ok: false, fault: 'timeout' }
    const code = error instanceof Error && 'code' in error ? { code: String(error.code) } : {}
    return { ok: false, fault: 'unreachable', ...code }
  } finally {
    stopWaiting()
  }
}

const parsed = (text: string): JsonObject | undefined => {
  try {
    const value: unknown = JSON.parse(text.replace(/^\uFEFF/, ''))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

interface Named {
  readonly ok: true
  readonly issuer: string
  /** Said by the operator, so that it counts byte for byte. */
  readonly exact: boolean
}

/** A bare origin has two spellings, and both lead to the same document; what goes on is the AS's own. */
const sameIssuer = (named: Named, issuer: string): boolean =>
  issuer === named.issuer ||
  (!named.exact &&
    URL.canParse(issuer) &&
    withoutSlash(issuer) === withoutSlash(named.issuer) &&
    withoutSlash(issuer) === new URL(issuer).origin)

/** RFC 6749, section 3.3: what may stand in a list that blanks divide. */
const isScope = (value: unknown): value is string =>
  typeof value === 'string' && /^[\x21\x23-\x5B\x5D-\x7E]+$/.test(value)

type Document = { readonly ok: true; readonly document: JsonObject } | Trouble

/** Begins to look at once. */
export function createAuthorizationServer(
  options: AuthorizationServerOptions,
  { clock, request = undiciRequest, onLook }: AuthorizationServerTools,
): AuthorizationServer {
  const { backendUrl, refresh, retry, timeout, maxDocument: maxBytes } = options
  const closing = new AbortController()
  let scopes: readonly string[] = []
  let current: Discovery = trouble('pending', 'nobody has looked for its metadata yet')
  let looking: Promise<Discovery> | undefined
  let failures = 0
  let stopWaiting = (): void => {}

  const documentAt = async (url: string): Promise<Document> => {
    const { signal } = closing
    const asked = { method: 'GET', headers: { accept: 'application/json' }, signal } as const
    const told = await ask(url, { ...asked, timeout, maxBytes }, { clock, request })
    if (!told.ok) {
      if (told.fault === 'too-large') {
        return trouble('invalid', `${url} is larger than ${maxBytes} bytes`)
      }
      const none = `gave no answer (${told.code ?? 'cut off'})`
      const what = told.fault === 'timeout' ? `took over ${timeout} ms` : none
      return trouble('unreachable', `${url} ${what}`)
    }
    const { status } = told
    if (status >= 300 && status < 400) return trouble('redirected', `${url} redirects`)
    // What somebody in front of a server that is asleep, or overrun, says.
    if ((status >= 502 && status <= 504) || status === 408 || status === 429) {
      return trouble('unreachable', `${url} answers ${status}`)
    }
    if (status >= 500) return trouble('invalid', `${url} answers ${status}`)
    if (status !== 200) return trouble('not-found', `${url} answers ${status}`)
    const document = parsed(told.text)
    if (document === undefined) return trouble('invalid', `${url} is no JSON object`)
    return { ok: true, document }
  }

  /** What the backend itself calls its AS (RFC 9728, section 3); the path form before the root (2025-11-25). */
  const issuerOfBackend = async (): Promise<Named | Trouble> => {
    const at = new Set(['', backendUrl.pathname].map((path) => withoutSlash(path)))
    for (const path of [...at].toReversed()) {
      const url = `${backendUrl.origin}/.well-known/oauth-protected-resource${path}`
      const told = await documentAt(url)
      // Whatever else is wrong with it, a backend that answers has no such metadata; a silent one may have.
      if (!told.ok && told.fault === 'unreachable') return told
      const servers = told.ok ? told.document['authorization_servers'] : undefined
      const issuer: unknown = Array.isArray(servers) ? servers[0] : undefined
      if (!told.ok || typeof issuer !== 'string') continue
      const supported = told.document['scopes_supported']
      scopes = Array.isArray(supported) ? supported.filter(isScope) : []
      return { ok: true, issuer, exact: false }
    }
    scopes = []
    return { ok: true, issuer: backendUrl.origin, exact: false }
  }

  const find = async (): Promise<ReturnType<typeof readMetadata>> => {
    const named: Named | Trouble =
      options.issuer === undefined
        ? await issuerOfBackend()
        : { ok: true, issuer: options.issuer, exact: true }
    if (!named.ok) return named
    const url = URL.parse(named.issuer)
    // RFC 8414, section 2: neither query nor fragment.
    if (url === null || !/^https?:$/.test(url.protocol) || /[?#@]/.test(named.issuer)) {
      return trouble('invalid', `its issuer is no URL of a server: ${quoted(named.issuer)}`)
    }
    if (url.protocol === 'http:' && backendUrl.protocol === 'https:') {
      return trouble('insecure', `its issuer is not https: ${quoted(named.issuer)}`)
    }
    let first = trouble('not-found', 'nothing was asked')
    for (const at of metadataUrls(url)) {
      const told = await documentAt(at)
      const fits = (issuer: string): boolean => sameIssuer(named, issuer)
      const read = told.ok ? readMetadata(told.document, fits, backendUrl) : told
      if (read.ok) return read
      // What tells most is the first answer that is more than "there is none".
      if (first.fault === 'not-found') first = read
      if (!told.ok && told.fault === 'unreachable') break
    }
    const reason = `authorization server ${quoted(named.issuer)}: ${first.reason}`
    return trouble(first.fault, reason)
  }

  const lookOnce = async (): Promise<Discovery> => {
    stopWaiting()
    const found = await find()
    looking = undefined
    if (closing.signal.aborted) return current
    failures = found.ok ? 0 : failures + 1
    // An AS that has an hour's trouble is still the one that issued the tokens in use.
    if (found.ok) current = { ...found, trouble: undefined }
    else current = current.ok ? { ...current, trouble: found } : found
    const wait = found.ok ? refresh : Math.min(refresh, retry * 2 ** Math.min(failures - 1, 30))
    stopWaiting = clock.after(wait, () => void look())
    onLook?.(current)
    return current
  }
  const look = (): Promise<Discovery> => (looking ??= lookOnce())
  const first = look()

  return {
    current: () => current,
    scopes: () => scopes,
    ready: () => first,
    look,
    close() {
      closing.abort()
      stopWaiting()
    },
  }
}
