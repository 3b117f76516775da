// The event stream of a backend that speaks `sse`: opened once, read until it ends. It finds out where the backend
// wants its POSTs; sending them is sse.ts's affair.
import { createDecoder } from '../event-stream/decode.ts'
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { readAnswer } from './answer.ts'
import type { Headers, Target, Undelivered } from './backend.ts'
import type { HttpAnswer } from './http-client.ts'
import type { BackendOptions } from './options.ts'
import { resolveEndpoint } from './origins.ts'
import { isSuccess, refused, unauthorized } from './refusal.ts'
import { createSniffer } from './sniff.ts'

export interface StreamListener {
  /** Where to POST from now on; `stream` is the URL that the stream came from. */
  endpoint(url: URL, stream: URL): void
  message(message: Message): void
  stray(text: string): void
  trouble(text: string): void
  /** The stream had opened and is over. Called at most once, never after `close`. */
  ended(error: ProxyError): void
}

export interface SseStream {
  /** Resolves once an endpoint is known or the stream is closed by us, else to why there is none. Never rejects. */
  readonly opened: Promise<Undelivered | undefined>
  /** Neither ended nor closed. */
  readonly alive: boolean
  /** Hands an opened stream over: `to` hears of the endpoint at once and of all that comes from now on. */
  pass(to: StreamListener): void
  pause(): void
  resume(): void
  close(): void
}

/** ms after which an endpoint in odd clothes is believed, for want of a true one. */
const candidateTime = 2000

export function openSseStream(
  target: Target,
  headers: Headers,
  options: BackendOptions,
  listener: StreamListener,
): SseStream {
  const { http, clock, endpointTime, origins } = options
  const { route } = target
  const request = new AbortController()
  let on = listener
  let announcement: { readonly endpoint: URL; readonly stream: URL } | undefined
  let settle: (failed: Undelivered | undefined) => void = () => {}
  const opened = new Promise<Undelivered | undefined>((resolve) => (settle = resolve))
  const timers: (() => void)[] = []
  let state: 'opening' | 'open' | 'over' = 'opening'
  let paused = false
  let body: HttpAnswer['body'] | undefined

  const stop = (): void => {
    state = 'over'
    for (const cancel of timers) cancel()
    request.abort()
    body?.destroy()
  }
  const fail = (error: ProxyError, mayHaveRun = false): void => {
    if (state === 'over') return
    const wasOpen = state === 'open'
    stop()
    if (wasOpen) on.ended(error)
    else settle({ error, mayHaveRun })
  }
  const open = (endpoint: URL, stream: URL): void => {
    if (state === 'over') return
    announcement = { endpoint, stream }
    on.endpoint(endpoint, stream)
    if (state !== 'opening') return
    state = 'open'
    for (const cancel of timers) cancel()
    if (paused) body?.pause()
    settle(undefined)
  }

  const announced = (data: string, stream: URL): void => {
    const endpoint = resolveEndpoint(data, stream, origins)
    if (endpoint.ok) return open(endpoint.url, stream)
    const text = `the backend of route "${route}" announced ${endpoint.reason}`
    // A stream that works goes on with the endpoint it has.
    if (state === 'open') on.trouble(text)
    else fail(new ProxyError('BACKEND_REFUSED', text))
  }

  const read = (answer: HttpAnswer): void => {
    const { url } = answer
    const contentType = answer.headers['content-type'] ?? ''
    const sniffer = createSniffer(contentType)
    let sniffed = false
    let takeCandidate = false
    const decoder = createDecoder(
      {
        maxEventBytes: options.maxEventBytes,
        rules: options.rules,
        endpoints: true,
        isEndpoint: (data) => resolveEndpoint(data, url, origins).ok,
      },
      {
        decoded(value) {
          if (state === 'over') return
          if (value.kind === 'message') on.message(value.message)
          else if (value.kind === 'endpoint') announced(value.data, url)
          else if (value.kind === 'stray') on.stray(value.text)
          else if (value.kind === 'error') on.trouble(value.text)
        },
        repaired: (rule, line) => options.onRepair(route, rule, line),
      },
    )
    const tryCandidate = (): void => {
      if (!takeCandidate || state !== 'opening' || decoder.candidate === undefined) return
      announced(decoder.candidate, url)
    }
    const feed = (chunk: Uint8Array): void => {
      try {
        decoder.feed(chunk)
      } catch (reason) {
        fail(ProxyError.from(reason))
      }
      tryCandidate()
    }
    const take = (chunk: Uint8Array): void => {
      if (sniffed) return feed(chunk)
      const form = sniffer.take(chunk)
      if (form === undefined) return
      sniffed = true
      if (form === 'stream') return sniffer.held.forEach(feed)
      fail(refused(route, answer.status, `${form} in place of an event stream`))
    }
    const ended = (cause?: Error): void => {
      if (state === 'over') return
      if (sniffed) {
        try {
          decoder.end()
        } catch (reason) {
          return fail(ProxyError.from(reason))
        }
      }
      const text = `the event stream of the backend of route "${route}" ended`
      fail(new ProxyError('BACKEND_STREAM_ENDED', text, cause && { cause }))
    }

    timers.push(
      clock.after(Math.min(candidateTime, endpointTime), () => {
        takeCandidate = true
        tryCandidate()
      }),
      clock.after(endpointTime, () => {
        if (target.messages !== undefined) return open(target.messages, url)
        const text = `the backend of route "${route}" announced no endpoint in ${endpointTime} ms`
        fail(new ProxyError('BACKEND_NO_ENDPOINT', text))
      }),
    )
    body = answer.body
    body.on('data', take)
    body.once('end', () => ended())
    body.once('error', ended)
    body.once('close', () => ended(new Error('closed early')))
  }

  const start = async (): Promise<void> => {
    const outcome = await http.stream({ route, url: target.url, headers, signal: request.signal })
    if (!outcome.ok) return fail(outcome.error, outcome.mayHaveRun)
    const { answer } = outcome
    body = answer.body
    if (state === 'over') return void body.destroy()
    const { status } = answer
    if (isSuccess(status) && status !== 204) return read(answer)
    const denied = unauthorized(target, answer, headers, options.rephrase)
    if (denied !== undefined) return fail(denied.error)
    const repaired = (): void => {}
    // A page of an error may have no end.
    timers.push(clock.after(endpointTime, () => answer.body.destroy()))
    const got = await readAnswer(answer, { ...options, route, repaired }, { message() {} })
    fail(refused(route, status, got.form === 'html' ? got.title : ''))
  }
  void start()

  return {
    opened,
    get alive() {
      return state !== 'over'
    },
    pass(to) {
      on = to
      if (announcement !== undefined) on.endpoint(announcement.endpoint, announcement.stream)
    },
    pause() {
      paused = true
      if (state === 'open') body?.pause()
    },
    resume() {
      paused = false
      body?.resume()
    },
    close() {
      if (state === 'over') return
      stop()
      settle(undefined)
    },
  }
}
