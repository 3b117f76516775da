// HTTP towards one backend: pooled POSTs, one connection for each event stream, redirects that stay with the backend,
// patience with a backend that is waking up. What an answer means is the dialects' affair.
import type { Readable } from 'node:stream'
import { buildConnector, Client, Pool } from 'undici'
import type { Clock } from '../clock.ts'
import { principalHeader } from '../auth/auth.ts'
import { ProxyError } from '../errors.ts'
import type { Passing } from '../protocol/passing.ts'
import { Table } from '../table.ts'
import type { Headers } from './backend.ts'
import { httpAnswer } from './http-answer.ts'
import type { HttpAnswer } from './http-answer.ts'
import { dispatch } from './http-dispatch.ts'
import type { RawAnswer } from './http-dispatch.ts'
import { httpFailure } from './http-failure.ts'
import type { HttpFailure } from './http-failure.ts'
import { onDemand } from './on-demand.ts'
import { pathOf, redirectTarget } from './origins.ts'

export type { HttpAnswer } from './http-answer.ts'

export interface HttpGet {
  /** The route's name, for messages. */
  readonly route: string
  readonly url: URL
  readonly headers: Headers
  /** Gives the request up, and the body with it. */
  readonly signal: AbortSignal
  /** ms within which it is tried again; `wakeTime` by default. */
  readonly patience?: number
}

export interface HttpPost extends HttpGet {
  /** Text, or what can be sent once: after that it is not tried again, nor redirected. */
  readonly body: string | Passing
  /** May be sent again after 502, 503 or 504, or when the connection broke before the answer. */
  readonly repeatable: boolean
}

export type HttpOutcome =
  | { readonly ok: true; readonly answer: HttpAnswer }
  | { readonly ok: false; readonly error: ProxyError; readonly mayHaveRun: boolean }

/** Neither method rejects: what went wrong is part of the outcome. */
export interface HttpClient {
  /** POSTs JSON text. An answer of any status is `ok`. */
  post(call: HttpPost): Promise<HttpOutcome>
  /** Opens an event stream on a connection of its own, which closes with the body. */
  stream(call: HttpGet): Promise<HttpOutcome>
  /** Sends a DELETE and forgets about it: whoever ends a session has no use for the answer. */
  remove(call: Omit<HttpGet, 'signal'>): Promise<void>
  /** Closes every connection; what is under way fails. Idempotent. */
  close(): Promise<void>
}

export interface HttpClientOptions {
  readonly clock: Clock
  /** ms until a connection must stand. */
  readonly connectTime: number
  /** ms within which a request that cannot have run is tried again. */
  readonly wakeTime: number
  /** Connections for POSTs per origin. */
  readonly connections?: number
  readonly tls?: { readonly ca?: string; readonly rejectUnauthorized?: boolean }
  /** Told of each answer to a request with these headers. */
  onAnswer?(headers: Headers, status: number): void
  /** Told of each new try, for the log. */
  onRetry?(route: string, reason: string): void
}

type Attempt = { readonly answer: HttpAnswer } | HttpFailure

const firstDelay = 250
const longestDelay = 4000
const maxRedirects = 3
const rememberedRedirects = 1000
/** Shorter than the 5 s after which widely used servers close an idle connection without saying so. */
const keepAliveTimeout = 4000
/** 303 turns a POST into a GET, which no MCP endpoint can mean. */
const redirects = (status: number): boolean =>
  status === 301 || status === 302 || status === 307 || status === 308
const isWaking = (status: number): boolean => status === 502 || status === 503 || status === 504

/** What is ours among the headers of a request stays here. */
function outward(headers: Headers): Headers {
  if (headers[principalHeader] === undefined) return headers
  const { [principalHeader]: _, ...others } = headers
  return others
}

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { clock, wakeTime, connectTime } = options
  const pools = new Map<string, Pool>()
  /** What ends each open event stream. */
  const streams = new Table<number, () => Promise<void>>(Number)
  let lastStream = 0
  const pauses = new Set<() => void>()
  /** Where a URL was redirected to, oldest first. */
  const redirected = new Map<string, URL>()
  /** Errors of opening a connection: nothing was sent on it. */
  const connectErrors = new WeakSet<Error>()
  let closed = false

  const connector = buildConnector({ ...options.tls, timeout: connectTime, allowH2: false })
  // Time limits of answers are the relay's: a tool may run for long and a stream may be silent.
  const common = {
    connect: (to: buildConnector.Options, done: buildConnector.Callback): void =>
      connector(to, (...[error, socket]) => {
        if (error === null) return done(null, socket)
        connectErrors.add(error)
        done(error, null)
      }),
    allowH2: false,
    headersTimeout: 0,
    bodyTimeout: 0,
  }

  const poolFor = (origin: string): Pool => {
    let pool = pools.get(origin)
    if (pool === undefined) {
      pool = new Pool(origin, {
        ...common,
        connections: options.connections ?? 4096,
        keepAliveTimeout,
      })
      pools.set(origin, pool)
    }
    return pool
  }

  const attempt = (call: HttpGet, url: URL, send: () => Promise<RawAnswer>): Promise<Attempt> => {
    if (closed) return Promise.resolve({ error: shuttingDown(), sent: false, passing: false })
    return send().then(
      (answer) => ({ answer: httpAnswer(answer, url, clock) }),
      (reason: unknown) => {
        const connecting = reason instanceof Error && connectErrors.has(reason)
        return httpFailure(call.route, url.origin, reason, connecting)
      },
    )
  }

  /** One try goes on with its redirects. */
  const follow = async (
    call: HttpGet & { readonly body?: unknown },
    first: Attempt,
    from: URL,
    once: (url: URL) => Promise<Attempt>,
  ): Promise<Attempt> => {
    const asked = call.url.href
    let url = from
    let got = first
    for (let hops = 0; ; hops++) {
      if (!('answer' in got)) return got
      const { status, headers } = got.answer
      if (!redirects(status)) {
        if (status === 404 || status === 410) redirected.delete(asked)
        else remember(asked, url)
        return got
      }
      got.answer.discard()
      redirected.delete(asked)
      const next = redirectTarget(headers['location'] ?? '', url)
      if (!next.ok || hops === maxRedirects) {
        const where = next.ok ? `more than ${maxRedirects} times` : `to ${next.reason}`
        const text = `the backend of route "${call.route}" at ${url.origin} redirects ${where}`
        return { error: new ProxyError('BACKEND_REFUSED', text), sent: false, passing: false }
      }
      url = next.url
      got = await once(url)
    }
  }

  const remember = (asked: string, url: URL): void => {
    redirected.set(asked, url)
    if (redirected.size <= rememberedRedirects) return
    for (const oldest of redirected.keys()) return void redirected.delete(oldest)
  }

  /** Resolves after `ms`, or at once when given up. */
  const pause = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        stop()
        pauses.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const stop = clock.after(ms, done)
      pauses.add(done)
      signal.addEventListener('abort', done)
    })

  /** Tries until there is an answer or `wakeTime` is over. */
  const deliver = async (
    call: HttpGet & { readonly body?: unknown },
    repeatable: boolean,
    once: (url: URL) => Promise<Attempt>,
  ): Promise<HttpOutcome> => {
    const repeats = call.body === undefined || typeof call.body === 'string'
    const until = clock.now() + (call.patience ?? wakeTime)
    for (let delay = firstDelay; ; delay = Math.min(delay * 2, longestDelay)) {
      if (closed) return { ok: false, error: shuttingDown(), mayHaveRun: false }
      if (call.signal.aborted) return givenUp(call)
      const url = (redirected.size > 0 && redirected.get(call.url.href)) || call.url
      let got = await once(url)
      if ('answer' in got) {
        const { status } = got.answer
        if (repeats && redirects(status)) got = await follow(call, got, url, once)
        else if (status === 404 || status === 410) redirected.delete(call.url.href)
      }
      const again =
        'answer' in got
          ? repeatable && isWaking(got.answer.status)
          : got.passing && (repeatable || !got.sent)
      if (!again || closed || call.signal.aborted || clock.now() + delay > until) {
        if ('answer' in got) {
          options.onAnswer?.(call.headers, got.answer.status)
          return { ok: true, answer: got.answer }
        }
        return { ok: false, error: got.error, mayHaveRun: got.sent }
      }
      options.onRetry?.(
        call.route,
        'answer' in got ? `status ${got.answer.status}` : got.error.message,
      )
      if ('answer' in got) got.answer.discard()
      await pause(delay, call.signal)
    }
  }

  /** POSTs what can be sent once: it is tried again only as long as no connection has stood. */
  const pass = (
    call: HttpPost,
    headers: Headers,
    { stream, length }: Passing,
  ): Promise<HttpOutcome> =>
    deliver(call, false, (url) =>
      attempt(call, url, () =>
        dispatch(
          poolFor(url.origin),
          {
            path: pathOf(url),
            method: 'POST',
            headers:
              length === undefined ? headers : { ...headers, 'content-length': String(length) },
            body: onDemand(stream as Readable),
          },
          call.signal,
        ),
      ),
    )

  return {
    post(call) {
      const headers = {
        ...outward(call.headers),
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'accept-encoding': 'identity',
      }
      const { signal } = call
      if (typeof call.body !== 'string') return pass(call, headers, call.body)
      const { body } = call
      // A body given as a string goes out with its Content-Length: some servers refuse chunked requests.
      return deliver(call, call.repeatable, (url) =>
        attempt(call, url, () =>
          dispatch(
            poolFor(url.origin),
            { path: pathOf(url), method: 'POST', headers, body },
            signal,
          ),
        ),
      )
    },

    async stream(call) {
      const client = new Client(call.url.origin, common)
      const number = ++lastStream
      const ended = new AbortController()
      const end = (): Promise<void> => {
        if (streams.delete(number) === undefined) return Promise.resolve()
        call.signal.removeEventListener('abort', end)
        stopWaiting()
        ended.abort()
        return client.destroy()
      }
      const headTime = (call.patience ?? wakeTime) + connectTime
      let late = false
      const stopWaiting = clock.after(headTime, () => {
        late = true
        void end()
      })
      streams.set(number, end)
      call.signal.addEventListener('abort', end)
      const headers = {
        ...outward(call.headers),
        accept: 'text/event-stream',
        'accept-encoding': 'identity',
      }
      const outcome = await deliver({ ...call, signal: ended.signal }, true, (url) =>
        attempt(call, url, () => dispatch(client, { path: pathOf(url), method: 'GET', headers })),
      )
      stopWaiting()
      if (late || !outcome.ok) {
        void end()
        if (!late) return outcome
        const text = `the backend of route "${call.route}" answered nothing in ${headTime} ms`
        return { ok: false, error: new ProxyError('BACKEND_TIMEOUT', text), mayHaveRun: false }
      }
      outcome.answer.body.once('close', end)
      if (outcome.answer.body.destroyed) void end()
      return outcome
    },

    async remove(call) {
      if (closed) return
      const giveUp = new AbortController()
      const { signal } = giveUp
      const stop = clock.after(connectTime, () => giveUp.abort())
      const got = await attempt({ ...call, signal }, call.url, () =>
        dispatch(
          poolFor(call.url.origin),
          {
            path: pathOf(call.url),
            method: 'DELETE',
            headers: { ...outward(call.headers), 'accept-encoding': 'identity' },
          },
          signal,
        ),
      )
      stop()
      if ('answer' in got) got.answer.discard()
    },

    async close() {
      closed = true
      for (const done of pauses) done()
      const ends = streams.values().map((end) => end())
      await Promise.all([...ends, ...[...pools.values()].map((pool) => pool.destroy())])
      pools.clear()
    },
  }
}

const shuttingDown = (): ProxyError =>
  new ProxyError('SHUTTING_DOWN', 'the proxy is closing its backend connections')

const givenUp = (call: HttpGet): HttpOutcome => {
  const error = new ProxyError('BACKEND_UNREACHABLE', `route "${call.route}": given up`)
  return { ok: false, error, mayHaveRun: false }
}
