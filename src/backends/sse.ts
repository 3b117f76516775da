// The `sse` dialect towards a backend (2024-11-05, Transports, "HTTP with SSE"): one event stream brings every answer,
// each message is a POST to the endpoint that the stream named. No reconnecting here: whoever opened the session decides.
import type { ProxyError } from '../errors.ts'
import { answers } from '../protocol/jsonrpc.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { Table } from '../table.ts'
import { readAnswer } from './answer.ts'
import type { Answer } from './answer.ts'
import type {
  BackendDialect,
  BackendListener,
  BackendSession,
  Headers,
  SendOptions,
  Target,
  Undelivered,
} from './backend.ts'
import type { HttpAnswer } from './http-client.ts'
import { aborted, limited } from './limited.ts'
import type { BackendOptions } from './options.ts'
import { underPrefix } from './origins.ts'
import {
  isSuccess,
  mayHaveRun,
  refused,
  saysSessionUnknown,
  sessionLost,
  unauthorized,
} from './refusal.ts'
import { openSseStream } from './sse-stream.ts'
import type { SseStream, StreamListener } from './sse-stream.ts'

/** ms that the body of a refusal, or of the answer to a notification, may take. */
const bodyTime = 5000
/** ms that the body of a POST may go on after the answer has come on the stream. */
const lingerTime = 1000

/** ms that a stream opened by detection is kept for the session that detection was for. */
const spareTime = 5000

/** A stream that was opened to find out whether the backend has one, read no further than its endpoint. */
export interface SpareStream {
  readonly target: Target
  readonly headers: Headers
  readonly stream: SseStream
}

export interface SseBackend extends BackendDialect {
  /**
   * Keeps a stream for the next session of the same URL and headers, for 5 s. Closing it instead would do harm: a
   * backend with one queue for all streams of a user drops that queue, and with it the session's stream, when any of
   * them closes.
   */
  keep(spare: SpareStream): void
  /** Closes what is kept. */
  close(): void
}

/** What the sessions of one backend have in common. */
interface Common {
  /** Routes whose backend leaves its mount prefix out of the endpoint. */
  readonly prefixed: Set<string>
  takeSpare(target: Target, headers: Headers): SseStream | undefined
}

export function createSseBackend(options: BackendOptions): SseBackend {
  const spares = new Map<string, { readonly stream: SseStream; callOff(): void }>()
  const keyOf = ({ route, url }: Target, headers: Headers): string =>
    JSON.stringify([route, url.href, headers])
  const take = (key: string): SseStream | undefined => {
    const spare = spares.get(key)
    spares.delete(key)
    spare?.callOff()
    return spare?.stream
  }
  const common: Common = {
    prefixed: new Set(),
    takeSpare(target, headers) {
      const stream = take(keyOf(target, headers))
      return stream?.alive === true ? stream : undefined
    },
  }
  return {
    open: (target, headers, listener) => new SseSession(target, headers, listener, options, common),
    keep({ target, headers, stream }) {
      const key = keyOf(target, headers)
      take(key)?.close()
      const callOff = options.clock.after(spareTime, () => take(key)?.close())
      spares.set(key, { stream, callOff })
    },
    close() {
      for (const key of spares.keys()) take(key)?.close()
    },
  }
}

/** A message on its way, until the body of its POST's answer is over. */
interface Post {
  readonly number: number
  readonly message: Message
  readonly request: AbortController
}

class SseSession implements BackendSession {
  readonly #target: Target
  readonly #headers: Headers
  readonly #listener: BackendListener
  readonly #options: BackendOptions
  readonly #common: Common
  /** Every POST whose body is not over, to be given up with the message or the session. */
  readonly #posts = new Table<number, Post>(Number)
  #last = 0
  /** Bodies that are still read though the answer may come on the stream, by the request's id. */
  readonly #bodies = new Table<string, () => void>(String)
  #stream: SseStream | undefined
  #paused = false
  /** Where to POST: the last endpoint announced, and the same below the stream's directory. */
  #endpoint: URL | undefined
  #alternative: URL | undefined
  /** The alternative is in use and has not proved right yet. */
  #turned = false
  /** A POST has been taken, so the endpoint is right and a 404 has another cause. */
  #accepted = false
  /** Requests whose POST has no answer yet, and whether the stream has brought their response. */
  readonly #headless = new Table<string, boolean>(String)
  #closed = false
  #gone: ProxyError | undefined

  constructor(
    target: Target,
    headers: Headers,
    listener: BackendListener,
    options: BackendOptions,
    common: Common,
  ) {
    this.#target = target
    this.#headers = headers
    this.#listener = listener
    this.#options = options
    this.#common = common
  }

  async send(message: Message, options: SendOptions): Promise<Undelivered | undefined> {
    if (this.#closed) return undefined
    if (this.#gone !== undefined) return { error: this.#gone, mayHaveRun: false }
    const post: Post = { number: ++this.#last, message, request: new AbortController() }
    this.#posts.set(post.number, post)
    try {
      return await limited(message, post.request, this.#options.clock, () =>
        this.#deliverBy(post, options),
      )
    } finally {
      if (message.kind === 'request') this.#headless.delete(message.idText)
    }
  }

  async #deliverBy(post: Post, options: SendOptions): Promise<Undelivered | undefined> {
    if (this.#endpoint === undefined) {
      const { signal } = post.request
      const failed = await Promise.race([this.#open(), aborted(signal)])
      if (failed !== undefined || signal.aborted) {
        this.#posts.delete(post.number)
        return signal.aborted ? this.#givenUp(false) : failed
      }
    }
    return this.#post(post, options)
  }

  abort(message: Message): void {
    for (const post of this.#posts.values()) if (post.message === message) post.request.abort()
  }

  pause(): void {
    this.#paused = true
    this.#stream?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#stream?.resume()
  }

  close(): void {
    this.#closed = true
    this.#stream?.close()
    this.#abortAll()
  }

  #abortAll(): void {
    for (const { request } of this.#posts.values()) request.abort()
  }

  /** How a send ends whose POST was aborted: in silence, unless the end of the stream is the reason. */
  #givenUp(sent: boolean): Undelivered | undefined {
    return this.#gone && !this.#closed ? { error: this.#gone, mayHaveRun: sent } : undefined
  }

  async #open(): Promise<Undelivered | undefined> {
    if (this.#stream === undefined) {
      const listener: StreamListener = {
        endpoint: (url, stream) => this.#announced(url, stream),
        message: (message) => this.#received(message),
        stray: (text) => this.#listener.stray?.(text),
        trouble: (text) => this.#listener.trouble?.(text),
        ended: (error) => this.#ended(error),
      }
      const spare = this.#common.takeSpare(this.#target, this.#headers)
      this.#stream = spare ?? openSseStream(this.#target, this.#headers, this.#options, listener)
      spare?.pass(listener)
      if (this.#paused) this.#stream.pause()
      else spare?.resume()
    }
    const stream = this.#stream
    const failed = await stream.opened
    // A stream that never opened ends nothing: the next send opens another.
    if (failed !== undefined && this.#stream === stream) this.#stream = undefined
    return failed
  }

  #announced(endpoint: URL, stream: URL): void {
    const below = underPrefix(endpoint, stream)
    const first = this.#common.prefixed.has(this.#target.route) ? below : undefined
    this.#endpoint = first ?? endpoint
    this.#alternative = first === undefined ? below : endpoint
    this.#accepted = false
    this.#turned = false
    this.#listener.endpoint?.(this.#endpoint.href)
  }

  #received(message: Message): void {
    if (message.kind === 'response' && message.idText !== undefined) {
      const linger = this.#bodies.get(message.idText)
      if (linger !== undefined) linger()
      else if (this.#headless.has(message.idText)) this.#headless.set(message.idText, true)
    }
    this.#listener.message(message)
  }

  #ended(error: ProxyError): void {
    if (this.#closed || this.#gone !== undefined) return
    this.#gone = error
    this.#abortAll()
    this.#listener.gone(error)
  }

  async #post(post: Post, options: SendOptions): Promise<Undelivered | undefined> {
    const { message } = post
    const { signal } = post.request
    const { route } = this.#target
    const url = this.#endpoint
    if (url === undefined) return this.#givenUp(false)
    if (message.kind === 'request') this.#headless.set(message.idText, false)
    const outcome = await this.#options.http.post({
      ...options,
      route,
      url,
      body: message.text,
      signal,
    })
    if (signal.aborted || !outcome.ok) {
      if (outcome.ok) outcome.answer.body.destroy()
      this.#posts.delete(post.number)
      if (signal.aborted) return this.#givenUp(true)
      return outcome.ok ? undefined : { error: outcome.error, mayHaveRun: outcome.mayHaveRun }
    }
    const { answer } = outcome
    if (isSuccess(answer.status)) {
      this.#accepted = true
      if (this.#turned) this.#remember()
      this.#readOn(post, answer)
      return undefined
    }
    const refusal = await this.#refused(message, answer, options)
    const again = this.#alternativeFor(url, answer.status, refusal)
    if (again && !signal.aborted) return this.#post(post, options)
    this.#posts.delete(post.number)
    return signal.aborted ? this.#givenUp(true) : refusal.end()
  }

  /** Turns to the other form of an endpoint that is not there: a mount prefix was lost, or is not lost any longer. */
  #alternativeFor(tried: URL, status: number, refusal: Refusal): boolean {
    if (this.#accepted || refusal.lost || (status !== 404 && status !== 405)) return false
    if (this.#endpoint !== tried) return false
    const other = this.#alternative
    if (other === undefined) return false
    this.#endpoint = other
    this.#alternative = undefined
    this.#turned = true
    this.#listener.endpoint?.(other.href)
    return true
  }

  #remember(): void {
    this.#turned = false
    const { route } = this.#target
    if (!this.#common.prefixed.delete(route)) this.#common.prefixed.add(route)
  }

  /** The answer of a POST that was taken: mostly `Accepted`, sometimes the response itself, sometimes without an end. */
  #readOn({ number, message }: Post, answer: HttpAnswer): void {
    const { status, headers, body } = answer
    if (status === 204 || headers['content-length'] === '0') {
      this.#posts.delete(number)
      return answer.discard()
    }
    const reading = this.#read(answer, message)
    if (!(reading instanceof Promise)) return this.#readToEnd(number, message, reading)
    const { clock } = this.#options
    const wait = (ms: number): (() => void) => clock.after(ms, () => body.destroy())
    const key = message.kind === 'request' ? message.idText : undefined
    let stop = key === undefined ? wait(bodyTime) : (): void => {}
    // Some backends cancel a tool whose POST closes, so a request's body is left open until the response has come.
    if (key !== undefined && this.#headless.get(key) === true) stop = wait(lingerTime)
    else if (key !== undefined) {
      this.#bodies.set(key, () => {
        stop()
        stop = wait(lingerTime)
      })
    }
    void reading.then((got) => {
      stop()
      if (key !== undefined) this.#bodies.delete(key)
      this.#readToEnd(number, message, got)
    })
  }

  #readToEnd(number: number, message: Message, got: Answer): void {
    this.#posts.delete(number)
    if (got.form === 'json') this.#deliver(got.messages, message)
  }

  async #refused(message: Message, answer: HttpAnswer, { headers }: SendOptions): Promise<Refusal> {
    const { route } = this.#target
    const { status } = answer
    const denied = unauthorized(this.#target, answer, headers, this.#options.rephrase)
    if (denied !== undefined) {
      answer.discard()
      return { lost: false, end: () => denied }
    }
    const stop = this.#options.clock.after(bodyTime, () => answer.body.destroy())
    const got = await this.#read(answer, message)
    stop()
    const text = 'text' in got ? got.text : ''
    const messages = got.form === 'json' ? got.messages : []
    const answered = messages.some((each) => answers(each, message))
    const bare404 = status === 404 && this.#accepted && messages.length === 0
    // What names the request is its answer, whatever words it holds.
    if (!answered && (bare404 || saysSessionUnknown(status, text))) {
      return { lost: true, end: () => sessionLost(route, status) }
    }
    return {
      lost: false,
      end: () => {
        const error = refused(route, status, got.form === 'html' ? got.title : '')
        if (message.kind !== 'request') {
          // Some backends refuse every notification and work well otherwise.
          this.#listener.trouble?.(`${error.message}, to a ${message.kind}: ${text}`)
          return undefined
        }
        if (messages.length === 0) return { error, mayHaveRun: mayHaveRun(status) }
        this.#deliver(messages, message)
        return undefined
      },
    }
  }

  #deliver(messages: readonly Message[], inAnswerTo: Message): void {
    if (this.#closed || this.#gone !== undefined) return
    for (const message of messages) this.#listener.message(message, inAnswerTo)
  }

  #read(answer: HttpAnswer, sent: Message): Answer | Promise<Answer> {
    const { route } = this.#target
    const { rules, maxEventBytes } = this.#options
    const repaired = this.#options.onRepair.bind(this.#options, route)
    // `{"code":0,"message":"success"}` is what frameworks say when they accept: an error only under a bad status.
    const strict = isSuccess(answer.status) ? { ...rules, 'framework-envelope': false } : rules
    return readAnswer(
      answer,
      { route, maxEventBytes, rules: strict, repaired },
      { message: (message) => this.#deliver([message], sent) },
    )
  }
}

interface Refusal {
  /** The backend does not know the session. */
  readonly lost: boolean
  /** Acts on the refusal where nothing else helped. */
  end(): Undelivered | undefined
}
