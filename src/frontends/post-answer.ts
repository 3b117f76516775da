// The answer to one POST: JSON if the first thing to say is the last response, else an event stream.
import type { ProxyError } from '../errors.ts'
import { keepAlive, messageHead, oneLine } from '../event-stream/event.ts'
import type { Message, Request, Response } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { openBodySink } from './body-sink.ts'
import { openEventStream } from './event-stream.ts'
import type { EventStream } from './event-stream.ts'
import type { Answerable, Reply } from './exchange.ts'
import type { Kept } from './keeper.ts'
import { errorHeaders, failureOf, jsonHeaders, sendJson } from './reply.ts'
import type { Tools } from './reply.ts'
import { ResumableStream } from './resumable.ts'

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
  /** The HTTP status of a whole answer; 200 where this is missing. */
  readonly statusOf?: (response: Response) => number
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
  'PARAMS_INVALID',
])

/** A stream opens at the latest when the keep-alive interval has passed in silence. */
export function answerPost(
  response: Answerable,
  tools: Tools,
  options: PostAnswerOptions,
): PostAnswer {
  return new Answer(response, tools, options)
}

class Answer implements PostAnswer, Kept {
  readonly replies: readonly Reply[]
  readonly headers: Record<string, string> = {}
  readonly options: PostAnswerOptions
  stream: EventStream | ResumableStream | undefined
  readonly #response: Answerable
  readonly #tools: Tools
  readonly #finished: Response[] = []
  readonly #since: number
  #left: number
  #status = 200
  /** The response goes out in bytes. */
  #passing = false
  /** Takes it from the keeper, who tells when it has been silent for long. */
  #unwatch: () => void

  constructor(response: Answerable, tools: Tools, options: PostAnswerOptions) {
    this.options = options
    this.#response = response
    this.#tools = tools
    this.#left = options.requests.length
    this.#since = tools.keeper.now
    this.#unwatch = options.events ? tools.keeper.add(this) : unwatched
    this.replies = options.requests.map((request) => new PostReply(this, request))
  }

  tick(now: number): void {
    if (this.#response.destroyed) this.#unwatch()
    else if (now - this.#since >= this.#tools.limits.keepAlive) this.#open().comment(keepAlive)
  }

  send(message: Message): boolean {
    // A client that went before its stream was open has no event id to come back with.
    const canStream =
      this.options.events && (this.stream !== undefined || !this.#response.destroyed)
    return canStream && !this.#passing ? this.#open().send(message) : true
  }

  finish(message: Response): void {
    if (this.stream !== undefined) this.stream.send(message)
    else {
      this.#finished.push(message)
      const { statusOf } = this.options
      if (statusOf !== undefined && this.#status === 200) this.#status = statusOf(message)
    }
    this.#oneLess()
  }

  fail(request: Request, error: ProxyError): void {
    if (this.#passing) {
      // Half an answer must not look like a whole one.
      this.#response.destroy()
      this.stream?.close()
      return
    }
    if (error.code === 'CANCELLED' && this.options.events) {
      // A cancelled request gets no response (2025-11-25, Cancellation, "Behavior Requirements").
      this.#oneLess()
      return
    }
    if (this.options.requests.length === 1 && (!this.options.quiet || loud.has(error.code))) {
      this.#status = error.status
      Object.assign(this.headers, errorHeaders(error))
    }
    this.finish(failureOf(request.idText, error))
  }

  pass(length: number | undefined): Sink | undefined {
    const { requests, batch, json, route } = this.options
    if (requests.length > 1 || batch || this.#response.destroyed) return undefined
    if (this.stream !== undefined || !json) return this.#passOnStream()
    this.#unwatch()
    this.#passing = true
    const headers = { ...this.headers, ...jsonHeaders }
    return openBodySink(this.#response, headers, length, this.#tools, (reason) =>
      this.#tools.onCut(route, reason),
    )
  }

  #passOnStream(): Sink | undefined {
    const events = this.#open()
    const sink = events instanceof ResumableStream ? events.pass() : events.pass(messageHead())
    if (sink === undefined) return undefined
    this.#passing = true
    return {
      ...sink,
      end() {
        sink.end()
        events.close()
      },
    }
  }

  #open(): EventStream | ResumableStream {
    if (this.stream !== undefined) return this.stream
    this.#unwatch()
    const { keeper, limits, onCut } = this.#tools
    const connection = openEventStream(this.#response, this.headers, keeper, limits, (reason) =>
      onCut(this.options.route, reason),
    )
    const resumable = this.options.resumable?.()
    resumable?.stream.begin(connection, resumable.priming)
    this.stream = resumable?.stream ?? connection
    for (const early of this.#finished) this.stream.send(early)
    return this.stream
  }

  #oneLess(): void {
    this.#left--
    if (this.#left > 0) return
    this.#unwatch()
    const { batch, json, events } = this.options
    const finished = this.#finished
    if (this.#response.destroyed && this.stream === undefined) return
    if (this.stream === undefined && finished.length > 0 && (json || !events)) {
      const texts = finished.map(({ text }) => text).join(',')
      const body = oneLine(batch ? `[${texts}]` : texts)
      sendJson(this.#response, this.#status, body, this.headers)
      return
    }
    this.#open().close()
  }
}

const unwatched = (): void => {}

class PostReply implements Reply {
  readonly #answer: Answer
  readonly #request: Request

  constructor(answer: Answer, request: Request) {
    this.#answer = answer
    this.#request = request
  }

  get carries(): boolean {
    return this.#answer.options.events
  }

  get resumable(): boolean {
    return this.#answer.stream instanceof ResumableStream
  }

  send(message: Message): boolean {
    return this.#answer.send(message)
  }

  pass(length: number | undefined): Sink | undefined {
    return this.#answer.pass(length)
  }

  finish(response: Response): void {
    this.#answer.finish(response)
  }

  fail(error: ProxyError): void {
    this.#answer.fail(this.#request, error)
  }

  onceDrained(task: () => void): void {
    const { stream } = this.#answer
    if (stream === undefined) task()
    else stream.onceDrained(task)
  }
}
