// Messages that are POSTed to the backend's one URL, each answered in its POST's own answer: what the `rpc` and `streamable`
// dialects have in common.
import { ProxyError } from '../errors.ts'
import type { RuleName } from '../event-stream/rules.ts'
import { answers } from '../protocol/jsonrpc.ts'
import type { Message, Request } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { Table } from '../table.ts'
import { readAnswer } from './answer.ts'
import type { Answer, AnswerListener } from './answer.ts'
import type { BackendListener, Headers, SendOptions, Target, Undelivered } from './backend.ts'
import type { HttpAnswer, HttpOutcome } from './http-client.ts'
import { passLarge } from './large.ts'
import { limited } from './limited.ts'
import type { BackendOptions } from './options.ts'
import { isSuccess, mayHaveRun, refused, unauthorized } from './refusal.ts'

/** Where a dialect differs. */
export interface PostHooks {
  /** Headers besides those of the message. */
  headers?(message: Message): Headers
  /** An answer has begun, of whatever status but 401 and 403. */
  begun?(message: Message, answer: HttpAnswer): void
  /** The backend refused a message with this status and these words: says so if they mean something to the dialect. */
  refused?(message: Message, status: number, text: string): Undelivered | undefined
  /** The answer to a request ended without its response; resolves to whether it was brought in another way. */
  continued?(
    message: Message,
    got: Answer,
    deliver: (message: Message) => void,
    signal: AbortSignal,
  ): Promise<boolean>
}

/** A message on its way. */
interface Call {
  readonly number: number
  readonly message: Message
  readonly request: AbortController
  /** The body of its answer, once there is one. */
  body: HttpAnswer['body'] | undefined
}

/** ms that an event stream may go on once it has brought the response. */
const lingerTime = 1000

export class Posts {
  readonly #target: Target
  readonly #listener: BackendListener
  readonly #options: BackendOptions
  readonly #hooks: PostHooks
  readonly #calls = new Table<number, Call>(Number)
  #last = 0
  #paused = false
  #closed = false
  #afterwards: (() => void) | undefined
  /** It has answered under the very id, and nothing has been mended yet. */
  #answered = false
  #mended = false

  constructor(
    target: Target,
    listener: BackendListener,
    options: BackendOptions,
    hooks: PostHooks = {},
  ) {
    this.#target = target
    this.#listener = listener
    this.#options = options
    this.#hooks = hooks
  }

  /** As `BackendSession.send`. */
  send(message: Message, options: SendOptions): Promise<Undelivered | undefined> {
    if (this.#closed) return Promise.resolve(undefined)
    const call: Call = {
      number: ++this.#last,
      message,
      request: new AbortController(),
      body: undefined,
    }
    this.#calls.set(call.number, call)
    return limited(message, call.request, this.#options.clock, () => this.#exchange(call, options))
  }

  abort(message: Message): void {
    for (const call of this.#calls.values()) if (call.message === message) call.request.abort()
  }

  pause(only?: Message): void {
    this.#paused ||= only === undefined
    for (const { message, body } of this.#calls.values()) {
      if (only === undefined || message === only) body?.pause()
    }
  }

  resume(only?: Message): void {
    if (only === undefined) this.#paused = false
    for (const { message, body } of this.#calls.values()) {
      if (only === undefined || message === only) body?.resume()
    }
  }

  /**
   * Gives up what waits for an answer. Notifications under way still arrive, or their connections would break;
   * `afterwards` is called when they have, at once where there are none.
   */
  close(afterwards?: () => void): void {
    this.#closed = true
    let arriving = false
    for (const { message, request } of this.#calls.values()) {
      if (message.kind === 'request') request.abort()
      else arriving = true
    }
    if (arriving) this.#afterwards = afterwards
    else afterwards?.()
  }

  async #exchange(call: Call, options: SendOptions): Promise<Undelivered | undefined> {
    try {
      const { route, url } = this.#target
      const { message } = call
      const { signal } = call.request
      const outcome = await this.#options.http.post({
        route,
        url,
        headers: { ...options.headers, ...this.#hooks.headers?.(message) },
        repeatable: options.repeatable,
        body: message.kind === 'request' ? (message.bytes ?? message.text) : message.text,
        signal,
      })
      if (signal.aborted) {
        if (outcome.ok) outcome.answer.body.destroy()
        return undefined
      }
      if (!outcome.ok) return this.#unsent(message, outcome)
      const { answer } = outcome
      const { rephrase } = this.#options
      const denied = unauthorized(this.#target, answer, options.headers, rephrase)
      if (denied !== undefined) {
        answer.discard()
        return denied
      }
      this.#hooks.begun?.(message, answer)
      if (message.kind !== 'request') return await this.#unawaited(message, answer, call)
      return await this.#awaited(message, answer, call)
    } finally {
      this.#calls.delete(call.number)
      if (this.#closed && this.#calls.size === 0) this.#afterwards?.()
    }
  }

  /** A body that passed by and turned out to be wrong has not come to its end. */
  #unsent(message: Message, outcome: HttpOutcome & { ok: false }): Undelivered {
    const wrong = message.kind === 'request' ? message.bytes?.stream.errored : undefined
    if (wrong instanceof ProxyError) return { error: wrong, mayHaveRun: false }
    return { error: outcome.error, mayHaveRun: outcome.mayHaveRun }
  }

  async #awaited(
    message: Request,
    answer: HttpAnswer,
    call: Call,
  ): Promise<Undelivered | undefined> {
    const { signal } = call.request
    const { status } = answer
    let answered = false
    let passing = false
    const deliver = (received: Message): void => {
      if (signal.aborted || passing) return
      this.#listener.message(received, message)
      if (received.kind !== 'response') return
      const whole = answers(received, message) && received.value['jsonrpc'] === '2.0'
      if (whole) this.#answered = true
      else this.#mended = true
      answered = true
    }
    const linger = (): void => {
      // Nothing that belongs to the request comes after its response, though some streams stay open.
      const stop = this.#options.clock.after(lingerTime, () => answer.body.destroy())
      answer.body.once('close', stop)
    }
    const pass = (head: readonly Uint8Array[], length?: number): Sink | undefined => {
      if (signal.aborted || answered) return undefined
      const sink = passLarge(message, head, {
        route: this.#target.route,
        record: this.#mended ? 'bad' : this.#answered ? 'good' : 'none',
        open: () => this.#listener.pass?.(message, length),
      })
      if (sink === undefined) return undefined
      passing = true
      return {
        ...sink,
        end() {
          sink.end()
          answered = true
          linger()
        },
      }
    }
    const reading = this.#read(answer, call, {
      message: (received) => {
        deliver(received)
        if (answered) linger()
      },
      ...(isSuccess(status) && { large: pass }),
    })
    // Each wait costs, and a small answer is there already.
    const got = reading instanceof Promise ? await reading : reading
    if (!isSuccess(status)) {
      const text = 'text' in got ? got.text : ''
      // What names the request is its answer, whatever words it holds.
      const named = got.form === 'json' && got.messages.some((each) => answers(each, message))
      const meant = named ? undefined : this.#hooks.refused?.(message, status, text)
      if (meant !== undefined && !answered) return meant
    }
    if (got.form === 'json') for (const each of got.messages) deliver(each)
    if (answered || signal.aborted) return undefined
    if (passing) return { error: brokenOff(this.#target.route, got), mayHaveRun: true }
    if (await this.#hooks.continued?.(message, got, deliver, signal)) return undefined
    return signal.aborted ? undefined : this.#unanswered(status, got)
  }

  /** What the backend says to a message that expects no answer is read, told to the log and dropped. */
  async #unawaited(
    message: Message,
    answer: HttpAnswer,
    call: Call,
  ): Promise<Undelivered | undefined> {
    const { status } = answer
    if (isSuccess(status)) {
      answer.discard()
      return undefined
    }
    const { refused: meaning } = this.#hooks
    if (meaning === undefined) answer.discard()
    else {
      const got = await this.#read(answer, call, { message() {} })
      const meant = meaning(message, status, 'text' in got ? got.text : '')
      if (meant !== undefined) return meant
    }
    this.#listener.trouble?.(`${refused(this.#target.route, status).message}, to a ${message.kind}`)
    return undefined
  }

  #unanswered(status: number, got: Answer): Undelivered {
    const { route } = this.#target
    if (got.form === 'broken') return { error: got.error, mayHaveRun: true }
    if (!isSuccess(status) || got.form === 'html') {
      const detail = got.form === 'html' ? got.title : ''
      return { error: refused(route, status, detail), mayHaveRun: mayHaveRun(status) }
    }
    const what = {
      empty: 'with nothing',
      stream: 'with an event stream that brought no response',
      json: 'with JSON that is no JSON-RPC response',
      text: 'with text that is no JSON',
      passed: 'with JSON that was not its response',
    }[got.form]
    const text = `the backend of route "${route}" answered a request ${what} (status ${status})`
    return { error: new ProxyError('BACKEND_ANSWER_INVALID', text), mayHaveRun: true }
  }

  #read(
    answer: HttpAnswer,
    call: Call,
    on: Pick<AnswerListener, 'message' | 'large'>,
  ): Answer | Promise<Answer> {
    const { route } = this.#target
    const repaired = (rule: RuleName, line: string): void => {
      this.#mended = true
      this.#options.onRepair(route, rule, line)
    }
    const reading = readAnswer(
      answer,
      { ...this.#options, route, repaired },
      {
        ...on,
        stray: (text) => this.#listener.stray?.(text),
        trouble: (text) => this.#listener.trouble?.(text),
      },
    )
    call.body = answer.body
    if (this.#paused) answer.body.pause()
    return reading
  }
}

/** Why a response that passed in bytes did not come to its end. */
const brokenOff = (route: string, got: Answer): ProxyError =>
  got.form === 'broken'
    ? got.error
    : new ProxyError(
        'BACKEND_STREAM_ENDED',
        `the backend of route "${route}" broke a large answer off`,
      )
