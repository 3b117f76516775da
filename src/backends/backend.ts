// The contract of a backend dialect: how the relay speaks to a server, whatever that server speaks.
import type { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'

/** A configured backend with a request's path parameters filled in. */
export interface Target {
  /** The route's name, for messages and metrics. */
  readonly route: string
  readonly url: URL
  /** The URL that clients mean by it, where that matters. */
  readonly resource?: string | undefined
  /** Where to POST when an `sse` backend announces no endpoint. */
  readonly messages: URL | undefined
}

/** Lower-case header names and their values, ready to send: hygiene has been applied. */
export type Headers = Readonly<Record<string, string>>

export interface SendOptions {
  readonly headers: Headers
  /** The message may be sent again after an answer like 502: it has no effect, or none that counts twice. */
  readonly repeatable: boolean
  /** The client is none of the backend's revision: what that asks of clients besides the message is to be done for it. */
  readonly translated?: boolean
}

/** Why a message did not get through. */
export interface Undelivered {
  readonly error: ProxyError
  /** False only when the backend cannot have acted on the message, so that sending it again is safe. */
  readonly mayHaveRun: boolean
}

export interface BackendListener {
  /**
   * One message from the backend, in the order of its sending. `inAnswerTo` is the message in whose own HTTP answer
   * it travelled, where there is one.
   */
  message(message: Message, inAnswerTo?: Message): void
  /**
   * The response to `inAnswerTo`, a result under its very id, is too large to be held, and has `length` bytes where that
   * is known. Answers where its text is to go, or undefined to have it as a message. A response that breaks off on the
   * way is told by the `send` of its request.
   */
  pass?(inAnswerTo: Message, length: number | undefined): Sink | undefined
  /** Where an `sse` backend wants its POSTs: called each time it says so, with the absolute URL. */
  endpoint?(url: string): void
  /** JSON that is no JSON-RPC message, such as `{"status":"acknowledged"}`: perhaps the answer to a notification. */
  stray?(text: string): void
  /** Something unreadable, an `event: error`, or a refused notification: its text is for the log. */
  trouble?(text: string): void
  /** The backend session is over and nothing more will come. Called at most once, never after `close`. */
  gone(error: ProxyError): void
}

/** One conversation with a backend. It opens whatever it needs at the first `send`. */
export interface BackendSession {
  /**
   * Sends one message; never throws. Resolves to undefined once the backend has taken it (for a dialect that answers
   * in the POST itself: once that answer has been read whole and passed to the listener), else to why it did not get through.
   */
  send(message: Message, options: SendOptions): Promise<Undelivered | undefined>
  /** Gives up the HTTP request that carries `message`, if it still runs. Its `send` then resolves to undefined. */
  abort(message: Message): void
  /**
   * A client listens for what belongs to no exchange: opens the stream that brings it, where that is one of its own.
   * `first`: requests wait until it stands, or is known not to come.
   */
  listen?(first?: boolean): void
  /**
   * Stops reading from the backend until `resume`, so that a slow client is not buffered for. `only`: where each message has
   * an HTTP answer of its own, just that one.
   */
  pause(only?: Message): void
  resume(only?: Message): void
  /** Ends the session towards the backend. Pending sends resolve; the listener hears nothing more. Idempotent. */
  close(): void
}

export interface BackendDialect {
  /** Makes a session. `headers` serve for requests that belong to no client request, such as opening the stream. */
  open(target: Target, headers: Headers, listener: BackendListener): BackendSession
}
