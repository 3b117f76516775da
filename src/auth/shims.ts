// OAuth endpoints at our own root, in front of those of the backend's authorization server: for clients that look there
// unasked (2025-03-26, Authorization, "Fallbacks for Servers without Metadata Discovery"). The browser is sent on with
// what it brought; everything else is asked for in the client's place, since many clients lose a POST on a redirect.
import type { Clock } from '../clock.ts'
import { ask } from './authorization-server.ts'
import type { HttpRequest } from './authorization-server.ts'
import { shimPaths } from './facade.ts'
import type { Endpoints } from './facade.ts'
import { mendAnswer, oauthError, unavailable } from './mend.ts'
import type { Answer, PostedEndpoint } from './mend.ts'

export interface ShimRequest {
  readonly method: string
  readonly path: string
  /** As it came, without its question mark. */
  readonly query: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: AsyncIterable<Uint8Array>
}

export interface ShimAnswer extends Answer {
  readonly headers: Readonly<Record<string, string>>
}

export interface ShimOptions {
  /** ms for reading a body, and ms for the AS to answer it: hosted clients wait for 10 s. */
  readonly timeout: number
  /** Bytes of a request's body, and of an answer's. */
  readonly maxBody: number
  /** Changes `resource` in a query or a form, where the AS knows the resource by another name. */
  readonly mapResource?: (text: string) => string
}

export const shimDefaults = { timeout: 10_000, maxBody: 65_536 } as const satisfies ShimOptions

export interface ShimTools {
  readonly clock: Clock
  readonly request?: HttpRequest
}

const cors = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'WWW-Authenticate, Retry-After',
} as const

const preflight = {
  ...cors,
  'access-control-allow-methods': 'POST, OPTIONS',
  'access-control-allow-headers': 'Authorization, Content-Type, Accept, MCP-Protocol-Version',
  'access-control-max-age': '600',
} as const

/** RFC 6749, section 5.1: nothing of it may be kept anywhere. */
const notKept = { 'cache-control': 'no-store', pragma: 'no-cache' } as const

const endpointAt: Readonly<Record<string, keyof typeof shimPaths>> = {
  [shimPaths.authorize]: 'authorize',
  [shimPaths.token]: 'token',
  [shimPaths.register]: 'register',
  [shimPaths.revoke]: 'revoke',
}

const isPassing = (status: number): boolean => status === 429 || status === 503 || status === 504

const told = (answer: Answer, headers: Readonly<Record<string, string>> = {}): ShimAnswer => ({
  ...answer,
  headers: {
    ...cors,
    ...notKept,
    ...(answer.body !== '' && { 'content-type': 'application/json' }),
    ...(isPassing(answer.status) && { 'retry-after': '5' }),
    ...headers,
  },
})

const header = ({ headers }: ShimRequest, name: string): string | undefined => {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}

type Body =
  { readonly ok: true; readonly bytes: Buffer } | { readonly ok: false; readonly answer: Answer }

const tooLarge = (limit: number): Body => ({
  ok: false,
  answer: oauthError(413, 'invalid_request', `the body is larger than ${limit} bytes`),
})

/** Reads as much as is allowed for as long as is allowed. What is left unread is the caller's to cut off. */
async function read(request: ShimRequest, options: ShimOptions, clock: Clock): Promise<Body> {
  const { maxBody, timeout } = options
  if (Number(header(request, 'content-length') ?? 0) > maxBody) return tooLarge(maxBody)
  const chunks = request.body[Symbol.asyncIterator]()
  let stopWaiting = (): void => {}
  const late = new Promise<'late'>((resolve) => {
    stopWaiting = clock.after(timeout, () => resolve('late'))
  })
  const bytes: Uint8Array[] = []
  let size = 0
  try {
    for (;;) {
      const next = await Promise.race([chunks.next(), late])
      if (next === 'late') {
        const text = `the body did not come within ${timeout} ms`
        return { ok: false, answer: oauthError(408, 'invalid_request', text) }
      }
      if (next.done === true) return { ok: true, bytes: Buffer.concat(bytes) }
      size += next.value.length
      if (size > maxBody) return tooLarge(maxBody)
      bytes.push(next.value)
    }
  } catch {
    return { ok: false, answer: oauthError(400, 'invalid_request', 'the body broke off') }
  } finally {
    stopWaiting()
  }
}

/** The AS's own page, with the query byte for byte: `state` and the PKCE values are none of our affair. */
function authorize(request: ShimRequest, endpoint: string, options: ShimOptions): ShimAnswer {
  const query = options.mapResource?.(request.query) ?? request.query
  // What cannot stand in a header, or would end the query, goes escaped.
  const escaped = query.replace(/[^!-~]|#/gu, (each) =>
    Buffer.from(each, each > '\xff' ? 'utf8' : 'latin1')
      .toString('hex')
      .replace(/../g, '%$&'),
  )
  // RFC 6749, section 3.1: a query that the endpoint has itself is kept.
  const joint = escaped === '' ? '' : endpoint.includes('?') ? '&' : '?'
  const headers = { location: endpoint + joint + escaped, 'referrer-policy': 'no-referrer' }
  return { status: 302, headers: { ...notKept, ...headers }, body: '' }
}

async function relay(
  request: ShimRequest,
  endpoint: PostedEndpoint,
  url: string,
  options: ShimOptions,
  { clock, request: http }: ShimTools,
): Promise<ShimAnswer> {
  const sent = await read(request, options, clock)
  if (!sent.ok) return told(sent.answer, { connection: 'close' })
  const type = header(request, 'content-type')
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(type ?? '')
  const form = isForm ? sent.bytes.toString('latin1') : ''
  const mapped = options.mapResource?.(form) ?? form
  const authorization = header(request, 'authorization')
  const answer = await ask(
    url,
    {
      method: 'POST',
      headers: {
        accept: 'application/json',
        ...(type !== undefined && { 'content-type': type }),
        ...(authorization !== undefined && { authorization }),
      },
      body: mapped === form ? sent.bytes : Buffer.from(mapped, 'latin1'),
      timeout: options.timeout,
      maxBytes: options.maxBody,
    },
    { clock, ...(http !== undefined && { request: http }) },
  )
  if (!answer.ok) {
    if (answer.fault === 'timeout') {
      return told(
        unavailable(504, `no answer of the authorization server in ${options.timeout} ms`),
      )
    }
    if (answer.fault === 'unreachable') {
      return told(unavailable(503, 'the authorization server cannot be reached'))
    }
    const text = `an answer of the authorization server is larger than ${options.maxBody} bytes`
    return told(oauthError(502, 'server_error', text))
  }
  const grant = new URLSearchParams(form).get('grant_type') ?? undefined
  const mended = mendAnswer(endpoint, { status: answer.status, body: answer.text }, grant)
  const after = answer.headers['retry-after']
  return told(mended, {
    // RFC 6749, section 5.2. The AS's own challenge could lead past us.
    ...(mended.status === 401 &&
      authorization !== undefined && { 'www-authenticate': 'Basic realm="token"' }),
    ...(typeof after === 'string' && mended.status >= 400 && { 'retry-after': after }),
  })
}

/**
 * Answers a request for one of `shimPaths`; 404 for any other. `endpoints` are the AS's, undefined while they are not
 * known. Never rejects, and never redirects anything but a browser.
 */
export async function serveShim(
  request: ShimRequest,
  endpoints: Endpoints | undefined,
  options: ShimOptions,
  tools: ShimTools,
): Promise<ShimAnswer> {
  const { method, path } = request
  const endpoint = endpointAt[path]
  if (endpoint === undefined) return told(oauthError(404, 'invalid_request', 'nothing is here'))
  const browsed = endpoint === 'authorize'
  const allow = browsed ? 'GET, HEAD, OPTIONS' : 'POST, OPTIONS'
  if (method === 'OPTIONS') {
    return { status: 204, headers: { allow, ...(!browsed && preflight) }, body: '' }
  }
  if (!allow.split(', ').includes(method)) {
    return told(oauthError(405, 'invalid_request', `only ${allow}`), { allow })
  }
  if (endpoints === undefined) {
    return told(unavailable(503, 'the authorization server is not known at the moment'))
  }
  if (browsed) return authorize(request, endpoints.authorization, options)
  const { token, registration, revocation } = endpoints
  const url = { token, register: registration, revoke: revocation }[endpoint]
  if (url === undefined) {
    return told(oauthError(404, 'invalid_request', `the authorization server has no ${endpoint}`))
  }
  return relay(request, endpoint, url, options, tools)
}
