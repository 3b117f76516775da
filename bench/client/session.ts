// A session of the load generator: the contract that both dialects keep, and the messages that they share.
import type { Connection } from '../http/connection.ts'

export type SessionDialect = 'sse' | 'streamable'

/** Where a contestant, or the backend itself, is reached. */
export interface Target {
  readonly dialect: SessionDialect
  readonly port: number
  readonly path: string
}

/** Takes a message that is no response; false where it has no place, which fails the session. */
export type Listener = (data: string) => boolean

/** One request at a time. Every promise rejects when something comes that the protocol does not allow. */
export interface Session {
  /** The connection for POSTs, which sessions may share. */
  readonly post: Connection
  /** Sends a request with this id and resolves to the JSON text of what should be its response. */
  request(id: number, method: string, params: string, listener?: Listener): Promise<string>
  /** Opens the standing stream, where the dialect has not opened it already. */
  listen(listener: Listener): Promise<void>
  close(): Promise<void>
}

export const requestText = (id: number, method: string, params: string): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`

export const initializedText = '{"jsonrpc":"2.0","method":"notifications/initialized"}'

export const initializeParams = (revision: string): string =>
  `{"protocolVersion":"${revision}","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`

/** mcp-proxy says this on each stream that it opens; a server may, but nobody has asked for it. */
export const isGreeting = (data: string): boolean => data.includes('"SSE Connection established"')

/** The response to a request, or an error that says what is wrong with it. */
export function resultIn(text: string, id: number): unknown {
  const response = JSON.parse(text) as { id?: unknown; result?: unknown; error?: unknown }
  if (response.id !== id) throw new Error(`the response to ${id} has the id ${String(response.id)}`)
  if (response.result === undefined) throw new Error(`request ${id} failed: ${text.slice(0, 200)}`)
  return response.result
}

/** Fails unless `initialize` was answered as it should be. */
export function checkInitialized(text: string, id: number): void {
  const { serverInfo } = resultIn(text, id) as { serverInfo?: { name?: unknown } }
  if (serverInfo?.name !== 'bench-backend') {
    throw new Error(`initialize was not answered by the backend: ${text.slice(0, 200)}`)
  }
}

/** The end of a head and the body; all bodies are ASCII. */
export const framed = (body: string): string => `Content-Length: ${body.length}\r\n\r\n${body}`
