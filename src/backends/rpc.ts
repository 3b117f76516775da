// The `rpc` dialect towards a backend: every message is a POST of its own and the answer is in that POST's answer.
// There is no conversation to end, so the listener's `gone` is never called.
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { readAnswer } from './answer.ts'
import type { Answer } from './answer.ts'
import type {
  BackendDialect,
  BackendListener,
  BackendSession,
  SendOptions,
  Target,
  Undelivered,
} from './backend.ts'
import type { HttpAnswer } from './http-client.ts'
import type { BackendOptions } from './options.ts'
import { isSuccess, mayHaveRun, refused, unauthorized } from './refusal.ts'

export function createRpcBackend(options: BackendOptions): BackendDialect {
  return { open: (target, _headers, listener) => new RpcSession(target, listener, options) }
}

/** A message on its way. */
interface Call {
  readonly request: AbortController
  /** The body of its answer, once there is one. */
  body: HttpAnswer['body'] | undefined
}

/** ms that an event stream may go on once it has brought the response, and the body of what expects no answer. */
const lingerTime = 1000

class RpcSession implements BackendSession {
  readonly #target: Target
  readonly #listener: BackendListener
  readonly #options: BackendOptions
  readonly #calls = new Map<Message, Call>()
  #paused = false
  #closed = false

  constructor(target: Target, listener: BackendListener, options: BackendOptions) {
    this.#target = target
    this.#listener = listener
    this.#options = options
  }

  async send(message: Message, options: SendOptions): Promise<Undelivered | undefined> {
    if (this.#closed) return undefined
    const call: Call = { request: new AbortController(), body: undefined }
    this.#calls.set(message, call)
    try {
      return await this.#exchange(message, options, call)
    } finally {
      this.#calls.delete(message)
    }
  }

  abort(message: Message): void {
    this.#calls.get(message)?.request.abort()
  }

  pause(): void {
    this.#paused = true
    for (const { body } of this.#calls.values()) body?.pause()
  }

  resume(): void {
    this.#paused = false
    for (const { body } of this.#calls.values()) body?.resume()
  }

  close(): void {
    this.#closed = true
    for (const { request } of this.#calls.values()) request.abort()
  }

  async #exchange(
    message: Message,
    options: SendOptions,
    call: Call,
  ): Promise<Undelivered | undefined> {
    const { route, url } = this.#target
    const { signal } = call.request
    const outcome = await this.#options.http.post({
      ...options,
      route,
      url,
      body: message.text,
      signal,
    })
    if (signal.aborted) {
      if (outcome.ok) outcome.answer.body.destroy()
      return undefined
    }
    if (!outcome.ok) return { error: outcome.error, mayHaveRun: outcome.mayHaveRun }
    const { answer } = outcome
    const denied = unauthorized(route, answer)
    if (denied !== undefined) {
      answer.discard()
      return denied
    }
    if (message.kind !== 'request') return this.#unawaited(message, answer)
    let answered = false
    const got = await this.#read(answer, call, (received) => {
      if (signal.aborted) return
      this.#listener.message(received, message)
      if (received.kind !== 'response' || answered) return
      answered = true
      // Nothing that belongs to the request comes after its response, though some streams stay open.
      const stop = this.#options.clock.after(lingerTime, () => answer.body.destroy())
      answer.body.once('close', stop)
    })
    return answered || signal.aborted ? undefined : this.#unanswered(answer.status, got)
  }

  /** What the backend says to a message that expects no answer is read, told to the log and dropped. */
  async #unawaited(message: Message, answer: HttpAnswer): Promise<undefined> {
    const { status } = answer
    answer.discard()
    if (isSuccess(status)) return undefined
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
    }[got.form]
    const text = `the backend of route "${route}" answered a request ${what} (status ${status})`
    return { error: new ProxyError('BACKEND_ANSWER_INVALID', text), mayHaveRun: true }
  }

  async #read(
    answer: HttpAnswer,
    call: Call,
    message: (message: Message) => void,
  ): Promise<Answer> {
    const { route } = this.#target
    const repaired = this.#options.onRepair.bind(this.#options, route)
    const reading = readAnswer(
      answer,
      { ...this.#options, route, repaired },
      {
        message,
        stray: (text) => this.#listener.stray?.(text),
        trouble: (text) => this.#listener.trouble?.(text),
      },
    )
    call.body = answer.body
    if (this.#paused) answer.body.pause()
    const got = await reading
    if (got.form === 'json') for (const each of got.messages) message(each)
    return got
  }
}
