// The contract between the frontends and the relay: what a client dialect hands over, and how it gets its answers.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ProxyError } from '../errors.ts'
import type { Dialect } from '../protocol/dialects.ts'
import type { Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import type { ResumableStream } from './resumable.ts'

/** Who sent an HTTP request and where it is bound: what the edge has established before a frontend sees it. */
export interface Caller {
  /** The route's name. */
  readonly route: string
  /** The parameters of the route's path, decoded. */
  readonly parameters: Readonly<Record<string, string>>
  /** Headers for the backend, hygiene applied, lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Tells callers apart whose requests must not share a backend session. */
  readonly principal: string
  /** The client's address, for the log. */
  readonly address: string
}

/** What frontends look at in an HTTP request: it may have come in on another replica. */
export type Asked = Pick<IncomingMessage, 'method' | 'headers'>

/** What frontends do with the answer to it. */
export type Answerable = Pick<
  ServerResponse,
  | 'headersSent'
  | 'destroyed'
  | 'writableEnded'
  | 'writableLength'
  | 'writeHead'
  | 'flushHeaders'
  | 'write'
  | 'end'
  | 'destroy'
  | 'on'
  | 'once'
>

/** One HTTP request past the edge: the route is known, the body has been read. */
export interface Visit {
  readonly request: Asked
  readonly response: Answerable
  readonly caller: Caller
  /** The session that the client names, by header or by our own query parameter. */
  readonly sessionId: string | undefined
  /** The messages of a POST. */
  readonly body: Body | undefined
  /** Where clients of the `sse` dialect are told to POST: a path of ours, as clients see it. */
  readonly messagesPath: string
}

export interface Body {
  readonly batch: boolean
  readonly messages: readonly Message[]
}

/** The way back for one request. */
export interface Reply {
  /** The client can take messages besides the response. */
  readonly carries: boolean
  /** Its stream has opened, and the client can come back to it when it loses its connection. */
  readonly resumable: boolean
  /** A message that belongs to the exchange and is not its response. False: the client is slow, see `Outlet`. */
  send(message: Message): boolean
  /**
   * The response is large: where its text is to go, of `length` bytes if that is known, or undefined where it must be
   * held. The sink's end ends the reply.
   */
  pass(length: number | undefined): Sink | undefined
  /** The response: ends the reply. */
  finish(response: Response): void
  /** Ends the reply with an error; the frontend gives it the form that its dialect expects. */
  fail(error: ProxyError): void
  /** Calls `task` once when a slow client has caught up or gone. */
  onceDrained(task: () => void): void
}

/** A client's standing stream. */
export interface Outlet {
  /** False: the client reads more slowly than messages come; the message is taken all the same. */
  send(message: Message): boolean
  onceDrained(task: () => void): void
  /** Ends the stream; `retry` in ms tells the client when to come back. */
  close(retry?: number): void
}

/** Keeps the events of a session's streams for clients that come back. */
export interface EventLog {
  /** `text` is the whole event as it was written. Never waits, never fails. */
  append(stream: string, sequence: number, text: string): void
  /** What is kept of a stream after this sequence number, in order. */
  read(stream: string, after: number): Promise<readonly LoggedEvent[]>
}

export interface LoggedEvent {
  readonly sequence: number
  readonly text: string
}

/** What a session client opens and comes back to. */
export interface ClientSession {
  readonly id: string
  readonly dialect: Dialect
  /** The revision that `initialize` settled on, once it has. */
  readonly revision: string | undefined
  /** Nothing in a request need be changed on its way: one that is too large to be held can go as `Request.bytes`. */
  readonly takesBytes: boolean
  /** A new stream that the client can resume. */
  openStream(standing: boolean): ResumableStream
  /** The stream that an event id of ours names. */
  findStream(id: string): ResumableStream | undefined
  /**
   * Sends a request on its way. The answer comes through `reply`, exactly one `finish` or `fail`; without a reply it
   * comes on the standing stream, as the `sse` dialect has it.
   */
  request(caller: Caller, message: Request, reply?: Reply): void
  /** Sends on what expects no answer: a notification, or the response to a server's request. */
  post(caller: Caller, message: Notification | Response): void
  /** The HTTP request behind `reply` has closed before its answer. */
  abandon(reply: Reply): void
  /** Makes `outlet` a standing stream of the session. Returns what takes it away again. */
  attach(outlet: Outlet): () => void
  /** Ends the session and everything that belongs to it. */
  end(): Promise<void>
}

/** What the frontends ask of the middle of the house; `proxy/relay.ts` answers. */
export interface Relay {
  /** Opens a session. Rejects with LIMIT_REACHED or SHUTTING_DOWN. */
  begin(caller: Caller, dialect: Dialect): Promise<ClientSession>
  /** Finds a session of this caller. Throws SESSION_UNKNOWN, also when it is somebody else's. */
  find(caller: Caller, id: string): ClientSession
  /** A request outside any session. */
  single(caller: Caller, message: Request, reply: Reply): void
  /** The revisions that clients may speak here, as far as is known. */
  revisions(caller: Caller): readonly string[]
  /** The client of a `single` request has gone. */
  abandonSingle(reply: Reply): void
  /** A notification outside any session. */
  singlePost(caller: Caller, message: Notification | Response): void
}
