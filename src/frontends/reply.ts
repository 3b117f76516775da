// The only place that renders answers and errors to a client: one POST's answer as JSON or as an event stream, and
// refusals outside any exchange.
import type { ServerResponse } from 'node:http'
import type { ProxyError } from '../errors.ts'
import { keepAlive, messageHead, oneLine } from '../event-stream/event.ts'
import { failure } from '../protocol/jsonrpc.ts'
import type { Message, Request, Response } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { openBodySink } from './body-sink.ts'
import { openEventStream } from './event-stream.ts'
import type { EventStream, StreamLimits } from './event-stream.ts'
import type { Reply } from './exchange.ts'
import type { Keeper } from './keeper.ts'
import { ResumableStream } from './resumable.ts'

/** What every frontend needs to answer. */
export interface Tools {
  readonly keeper: Keeper
  readonly limits: StreamLimits
  /** A client was cut off because it did not read. */
  readonly onCut: (route: string, reason: string) => void
}

export const failureOf = (idText: string | undefined, error: ProxyError): Response =>
  failure(idText, error.rpc, error.message)

const jsonHeaders = { 'content-type': 'application/json', 'cache-control': 'no-store' } as const

/** Sends JSON text as a whole answer. */
export function sendJson(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return
  const length = Buffer.byteLength(text)
  response.writeHead(status, { ...headers, ...jsonHeaders, 'content-length': length })
  // As a string it goes out in one write with its headers.
  response.end(text)
}

/** 202 with an empty body: what notifications and answers get (2025-11-25, Transports, "Sending Messages to the Server"). */
export function sendAccepted(response: ServerResponse): void {
  response.writeHead(202, { 'content-length': 0 })
  response.end()
}

/** Headers that belong to an error, whatever form its body takes. */
function errorHeaders(error: ProxyError): Record<string, string> {
  const headers: Record<string, string> = { ...error.headers }
  if (error.retryAfter !== undefined) headers['retry-after'] = String(error.retryAfter)
  return headers
}

/** Refuses an HTTP request as a whole: a JSON-RPC error, with the id of its only request where that is known. */
export function sendError(response: ServerResponse, error: ProxyError, idText?: string): void {
  sendJson(response, error.status, failureOf(idText, error).text, errorHeaders(error))
}

export interface PostAnswer {
  /** One reply for each request of the body, in its order. */
  readonly replies: readonly Reply[]
  /** Headers to send with the answer, such as `Mcp-Session-Id`: in time if set before anything is sent. */
  readonly headers: Record<string, string>
}

export interface PostAnswerOptions {
  readonly route: string
  readonly requests: readonly Request[]
  /** Answer with an array (2025-03-26, Basic, "Batching"). */
  readonly batch: boolean
  /** The client takes `application/json`. */
  readonly json: boolean
  /** The client takes `text/event-stream`. */
  readonly events: boolean
  /** Makes the stream of this answer one that the client can come back to. */
  readonly resumable?: () => { readonly stream: ResumableStream; readonly priming: boolean }
  /** Failures of the backend are JSON-RPC errors in a 200 answer; false: the HTTP status tells of them too. */
  readonly quiet: boolean
}

/** Errors that the client must see in the HTTP status, or it could not act on them. */
const loud = new Set([
  'BACKEND_UNAUTHORIZED',
  'LIMIT_REACHED',
  'SHUTTING_DOWN',
  'SESSION_UNKNOWN',
  // A body that passed by as it came is judged at its end.
  'BODY_INVALID',
  'BODY_TOO_LARGE',
  'BODY_TIMEOUT',
  'MESSAGE_INVALID',
])

/**
 * The answer to a POST. If the first thing to say is the last response, it goes out as JSON; else an event stream opens,
 * at the latest when the keep-alive interval has passed in silence.
 */
export function answerPost(
  response: ServerResponse,
  tools: Tools,
  options: PostAnswerOptions,
): PostAnswer {
  const headers: Record<string, string> = {}
  const finished: Response[] = []
  let stream: EventStream | ResumableStream | undefined
  let left = options.requests.length
  let status = 200
  /** The response goes out in bytes. */
  let passing = false
  const since = tools.keeper.now

  const open = (): EventStream | ResumableStream => {
    if (stream !== undefined) return stream
    tools.keeper.remove(waiting)
    const connection = openEventStream(response, headers, tools.keeper, tools.limits, (reason) =>
      tools.onCut(options.route, reason),
    )
    const resumable = options.resumable?.()
    resumable?.stream.begin(connection, resumable.priming)
    stream = resumable?.stream ?? connection
    for (const early of finished) stream.send(early)
    return stream
  }

  const waiting = {
    tick(now: number) {
      if (now - since >= tools.limits.keepAlive) open().comment(keepAlive)
    },
  }
  if (options.events) tools.keeper.add(waiting)
  response.on('close', () => tools.keeper.remove(waiting))

  const conclude = (): void => {
    tools.keeper.remove(waiting)
    if (response.destroyed && stream === undefined) return
    if (stream === undefined && finished.length > 0 && (options.json || !options.events)) {
      const texts = finished.map(({ text }) => text)
      const body = options.batch ? `[${texts.join(',')}]` : texts.join('')
      sendJson(response, status, oneLine(body), headers)
      return
    }
    open().close()
  }

  const pass = (length: number | undefined): Sink | undefined => {
    if (options.requests.length > 1 || options.batch || response.destroyed) return undefined
    if (stream !== undefined || !options.json) return passOnStream()
    tools.keeper.remove(waiting)
    passing = true
    return openBodySink(response, { ...headers, ...jsonHeaders }, length, tools, (reason) =>
      tools.onCut(options.route, reason),
    )
  }

  const passOnStream = (): Sink | undefined => {
    const events = open()
    const sink = events instanceof ResumableStream ? events.pass() : events.pass(messageHead())
    if (sink === undefined) return undefined
    passing = true
    return {
      ...sink,
      end() {
        sink.end()
        events.close()
      },
    }
  }

  const finish = (message: Response): void => {
    left--
    if (stream !== undefined) stream.send(message)
    else finished.push(message)
    if (left === 0) conclude()
  }

  const fail = (request: Request, error: ProxyError): void => {
    if (passing) {
      // Half an answer must not look like a whole one.
      response.destroy()
      stream?.close()
      return
    }
    if (error.code === 'CANCELLED' && options.events) {
      // A cancelled request gets no response (2025-11-25, Cancellation, "Behavior Requirements").
      left--
      if (left === 0) conclude()
      return
    }
    if (options.requests.length === 1 && (!options.quiet || loud.has(error.code))) {
      status = error.status
      Object.assign(headers, errorHeaders(error))
    }
    finish(failureOf(request.idText, error))
  }

  /** A client that went before its stream was open has no event id to come back with. */
  const canStream = (): boolean => options.events && (stream !== undefined || !response.destroyed)

  const replies = options.requests.map((request): Reply => ({
    carries: options.events,
    get resumable() {
      return stream instanceof ResumableStream
    },
    send: (message: Message) => (canStream() && !passing ? open().send(message) : true),
    pass,
    finish,
    fail: (error) => fail(request, error),
    onceDrained(task) {
      if (stream === undefined) task()
      else stream.onceDrained(task)
    },
  }))
  return { replies, headers }
}
