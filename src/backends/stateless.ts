// The `stateless` dialect towards a backend (2026-07-28, Streamable HTTP): each message is a POST of its own under headers
// that repeat what it says. There is no session to open, to lose or to end, so the listener's `gone` is never called.
import { modernRevision } from '../protocol/dialects.ts'
import { isObject, withId } from '../protocol/jsonrpc.ts'
import type { Message, Request, Response } from '../protocol/jsonrpc.ts'
import { mirrored } from '../protocol/metadata.ts'
import type {
  BackendDialect,
  BackendListener,
  BackendSession,
  SendOptions,
  Target,
  Undelivered,
} from './backend.ts'
import { FreshAnswers } from './fresh-answers.ts'
import type { BackendOptions } from './options.ts'
import { Posts } from './posts.ts'
import { ToolTable } from './tool-table.ts'

export function createStatelessBackend(options: BackendOptions): BackendDialect {
  const fresh = new FreshAnswers(options)
  return {
    open: (target, _headers, listener) => new StatelessSession(target, listener, options, fresh),
  }
}

class StatelessSession implements BackendSession {
  readonly #target: Target
  readonly #listener: BackendListener
  readonly #posts: Posts
  readonly #tools: ToolTable
  readonly #fresh: FreshAnswers
  /** Calls whose headers we made, and what the backend thinks of them. */
  readonly #calls = new WeakMap<Message, { refused: boolean }>()
  /** Calls that were given up, perhaps before they were sent. */
  readonly #aborted = new WeakSet<Message>()
  /** Questions whose answers are worth keeping, and for whom. */
  readonly #asked = new WeakMap<Message, SendOptions['headers']>()

  constructor(
    target: Target,
    listener: BackendListener,
    options: BackendOptions,
    fresh: FreshAnswers,
  ) {
    this.#target = target
    this.#listener = listener
    this.#fresh = fresh
    this.#tools = new ToolTable(target, options, fresh)
    const hearing: BackendListener = {
      ...listener,
      message: (message, inAnswerTo) => this.#hear(message, inAnswerTo),
    }
    this.#posts = new Posts(target, hearing, options, {
      headers: (message) => (message.kind === 'response' ? {} : mirrored(message, modernRevision)),
    })
  }

  send(message: Message, options: SendOptions): Promise<Undelivered | undefined> {
    if (options.translated === true && message.kind === 'request') {
      if (message.method === 'server/discover') return this.#discover(message, options)
      if (message.method === 'tools/call') return this.#call(message, options)
      if (message.method === 'tools/list') this.#asked.set(message, options.headers)
    }
    return this.#posts.send(message, options)
  }

  abort(message: Message): void {
    this.#aborted.add(message)
    this.#posts.abort(message)
  }

  pause(only?: Message): void {
    this.#posts.pause(only)
  }

  resume(only?: Message): void {
    this.#posts.resume(only)
  }

  close(): void {
    this.#posts.close()
  }

  #hear(message: Message, inAnswerTo: Message | undefined): void {
    if (message.kind === 'notification' && message.method === 'notifications/tools/list_changed') {
      this.#tools.forget()
    }
    if (message.kind === 'response' && inAnswerTo?.kind === 'request') {
      const call = this.#calls.get(inAnswerTo)
      if (call?.refused === false && isMismatch(message)) {
        call.refused = true
        return
      }
      const headers = this.#asked.get(inAnswerTo)
      if (headers !== undefined) this.#keep(inAnswerTo, message, headers)
    }
    this.#listener.message(message, inAnswerTo)
  }

  #keep(request: Request, response: Response, headers: SendOptions['headers']): void {
    if (request.method === 'tools/list') this.#tools.learn(response)
    else this.#fresh.keep(this.#target, headers, request.method, response)
  }

  /** What the backend says of itself may still be fresh from another time (2026-07-28, Caching). */
  #discover(message: Request, options: SendOptions): Promise<Undelivered | undefined> {
    const { headers } = options
    const fresh = this.#fresh.find(this.#target, headers, message.method)
    if (fresh === undefined) {
      this.#asked.set(message, headers)
      return this.#posts.send(message, options)
    }
    this.#listener.message(withId(fresh, message.idText), message)
    return Promise.resolve(undefined)
  }

  /**
   * Some arguments are to be repeated in headers. Where the backend finds them wrong, its tools have changed: the call is
   * tried once more (2026-07-28, Streamable HTTP, "Client Behavior").
   */
  async #call(message: Request, options: SendOptions): Promise<Undelivered | undefined> {
    const call = { refused: false }
    this.#calls.set(message, call)
    const failed = await this.#repeating(message, options)
    if (!call.refused) return failed
    this.#tools.forget()
    return this.#repeating(message, options)
  }

  async #repeating(message: Request, options: SendOptions): Promise<Undelivered | undefined> {
    const repeated = await this.#tools.headersOf(message, options.headers)
    if (this.#aborted.has(message)) return undefined
    return this.#posts.send(message, {
      ...options,
      headers: { ...options.headers, ...repeated },
    })
  }
}

const headerMismatch = -32020

function isMismatch({ value }: Response): boolean {
  const error = value['error']
  return isObject(error) && error['code'] === headerMismatch
}
