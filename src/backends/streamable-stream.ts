// One event stream that a `streamable` backend gives in answer to a GET: the standing stream, or an answer that is read on
// from its last event (2025-11-25, Transports, "Resumability and Redelivery").
import type { Message } from '../protocol/jsonrpc.ts'
import { readAnswer } from './answer.ts'
import type { AnswerListener, StreamPosition } from './answer.ts'
import type { Headers, Target } from './backend.ts'
import type { HttpAnswer } from './http-client.ts'
import type { BackendOptions } from './options.ts'
import { isSuccess } from './refusal.ts'

export type StreamEnd =
  /** It was read and is over; it may be read on from `at`. */
  | { readonly kind: 'ended'; readonly at: StreamPosition }
  /** The backend gave no event stream; status 0: it could not be reached. */
  | { readonly kind: 'refused'; readonly status: number }

export interface GetStream {
  /** Resolves when the stream stands, or is known not to. Never rejects. */
  readonly opened: Promise<void>
  /** Resolves when the stream is over, for whatever reason. Never rejects. */
  readonly ended: Promise<StreamEnd>
  pause(): void
  resume(): void
  close(): void
}

export interface GetStreamListener extends AnswerListener {
  message(message: Message): void
}

/** ms before a stream is asked for again where the backend names no time, and the longest that it may name. */
const usualRetry = 1000
const longestRetry = 30_000

/** Opens the stream after `at.retry` ms; the first one of a session asks at once. */
export function openGetStream(
  target: Target,
  headers: () => Headers,
  at: StreamPosition,
  options: BackendOptions,
  on: GetStreamListener,
  patience?: number,
): GetStream {
  const { clock, http } = options
  const { route, url } = target
  const request = new AbortController()
  let body: HttpAnswer['body'] | undefined
  let paused = false
  let hasOpened = (): void => {}
  const opened = new Promise<void>((resolve) => (hasOpened = resolve))

  const waited = new Promise<void>((resolve) => {
    const callOff = clock.after(Math.min(at.retry ?? usualRetry, longestRetry), resolve)
    request.signal.addEventListener('abort', () => {
      callOff()
      resolve()
    })
  })

  const read = async (): Promise<StreamEnd> => {
    await waited
    if (request.signal.aborted) return { kind: 'ended', at }
    const resuming: Headers = at.lastEventId === '' ? {} : { 'last-event-id': at.lastEventId }
    const outcome = await http.stream({
      route,
      url,
      headers: { ...headers(), ...resuming },
      signal: request.signal,
      ...(patience !== undefined && { patience }),
    })
    if (!outcome.ok) return { kind: 'refused', status: 0 }
    const { answer } = outcome
    const { status } = answer
    if (!isSuccess(status) || status === 204) {
      answer.body.destroy()
      return { kind: 'refused', status }
    }
    hasOpened()
    const repaired = options.onRepair.bind(options, route)
    const reading = readAnswer(answer, { ...options, route, repaired }, on)
    body = answer.body
    if (paused) body.pause()
    const got = await reading
    const left = 'at' in got ? got.at : undefined
    if (left === undefined) return { kind: 'refused', status }
    return { kind: 'ended', at: { ...left, lastEventId: left.lastEventId || at.lastEventId } }
  }

  const ended = read()
  void ended.then(hasOpened)
  return {
    opened,
    ended,
    pause() {
      paused = true
      body?.pause()
    },
    resume() {
      paused = false
      body?.resume()
    },
    close() {
      request.abort()
      body?.destroy()
    },
  }
}
