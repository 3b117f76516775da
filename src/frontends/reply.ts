// Whole answers to a client: JSON, 202, and refusals with their headers.
import type { ProxyError } from '../errors.ts'
import { failure } from '../protocol/jsonrpc.ts'
import type { Response } from '../protocol/jsonrpc.ts'
import type { StreamLimits } from './event-stream.ts'
import type { Answerable } from './exchange.ts'
import type { Keeper } from './keeper.ts'

/** What every frontend needs to answer. */
export interface Tools {
  readonly keeper: Keeper
  readonly limits: StreamLimits
  /** A client was cut off because it did not read. */
  readonly onCut: (route: string, reason: string) => void
}

export const failureOf = (idText: string | undefined, error: ProxyError): Response =>
  failure(idText, error.rpc, error.message, error.data)

export const jsonHeaders = {
  'content-type': 'application/json',
  'cache-control': 'no-store',
} as const

/** Sends JSON text as a whole answer. */
export function sendJson(
  response: Answerable,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return
  const length = Buffer.byteLength(text)
  response.writeHead(status, { ...headers, ...jsonHeaders, 'content-length': length })
  // As a string it goes out in one write with its headers; plain ASCII need not be encoded.
  response.end(text, length === text.length ? 'latin1' : 'utf8')
}

/** 202 with an empty body: what notifications and answers get (2025-11-25, Transports, "Sending Messages to the Server"). */
export function sendAccepted(response: Answerable): void {
  response.writeHead(202, { 'content-length': 0 })
  response.end()
}

/** Headers that belong to an error, whatever form its body takes. */
export function errorHeaders(error: ProxyError): Record<string, string> {
  const headers: Record<string, string> = { ...error.headers }
  if (error.retryAfter !== undefined) headers['retry-after'] = String(error.retryAfter)
  return headers
}

/** Refuses an HTTP request as a whole: a JSON-RPC error, with the id of its only request where that is known. */
export function sendError(response: Answerable, error: ProxyError, idText?: string): void {
  sendJson(response, error.status, failureOf(idText, error).text, errorHeaders(error))
}
