// Every way Causeway can fail: one class, one table. A row says whose fault it is, which HTTP status and which
// JSON-RPC code the client gets. Rendering lives in frontends/reply.ts; nothing here knows of sockets.

import type { JsonObject } from './protocol/jsonrpc.ts'

export type Fault = 'client' | 'backend' | 'proxy'

interface Row {
  readonly fault: Fault
  readonly status: number
  readonly rpc: number
}

// JSON-RPC codes: -32700 to -32603 by JSON-RPC 2.0, section 5.1; -32001 "session not found" and -32000 are what both official SDKs use.
const table = {
  BODY_INVALID: { fault: 'client', status: 400, rpc: -32700 },
  MESSAGE_INVALID: { fault: 'client', status: 400, rpc: -32600 },
  REVISION_UNSUPPORTED: { fault: 'client', status: 400, rpc: -32600 },
  // -32020 to -32022 are the specification's own (2026-07-28, Basic, "Error Codes").
  HEADER_MISMATCH: { fault: 'client', status: 400, rpc: -32020 },
  CAPABILITY_MISSING: { fault: 'client', status: 400, rpc: -32021 },
  VERSION_UNSUPPORTED: { fault: 'client', status: 400, rpc: -32022 },
  PARAMS_INVALID: { fault: 'client', status: 400, rpc: -32602 },
  SESSION_REQUIRED: { fault: 'client', status: 400, rpc: -32600 },
  EVENTS_GONE: { fault: 'client', status: 400, rpc: -32600 },
  SESSION_UNKNOWN: { fault: 'client', status: 404, rpc: -32001 },
  ROUTE_UNKNOWN: { fault: 'client', status: 404, rpc: -32601 },
  METHOD_NOT_ALLOWED: { fault: 'client', status: 405, rpc: -32601 },
  NOT_ACCEPTABLE: { fault: 'client', status: 406, rpc: -32600 },
  BODY_TOO_LARGE: { fault: 'client', status: 413, rpc: -32600 },
  BODY_TIMEOUT: { fault: 'client', status: 408, rpc: -32600 },
  ORIGIN_FORBIDDEN: { fault: 'client', status: 403, rpc: -32600 },
  HOST_FORBIDDEN: { fault: 'client', status: 403, rpc: -32600 },
  // What an unauthenticated request gets (RFC 6750, section 3.1; 2025-11-25, Authorization, "Token Handling").
  TOKEN_MISSING: { fault: 'client', status: 401, rpc: -32000 },
  TOKEN_INVALID: { fault: 'client', status: 401, rpc: -32000 },
  SCOPE_INSUFFICIENT: { fault: 'client', status: 403, rpc: -32000 },
  // Never 401: clients throw their tokens away on it.
  AUTH_UNAVAILABLE: { fault: 'proxy', status: 503, rpc: -32000 },
  RATE_LIMITED: { fault: 'client', status: 429, rpc: -32000 },
  CANNOT_CROSS: { fault: 'client', status: 200, rpc: -32601 },
  CANCELLED: { fault: 'client', status: 200, rpc: -32000 },
  LIMIT_REACHED: { fault: 'proxy', status: 503, rpc: -32000 },
  BACKEND_UNREACHABLE: { fault: 'backend', status: 502, rpc: -32000 },
  BACKEND_REFUSED: { fault: 'backend', status: 502, rpc: -32000 },
  BACKEND_UNAUTHORIZED: { fault: 'client', status: 401, rpc: -32000 },
  BACKEND_NO_ENDPOINT: { fault: 'backend', status: 502, rpc: -32000 },
  BACKEND_ANSWER_INVALID: { fault: 'backend', status: 502, rpc: -32603 },
  BACKEND_SESSION_LOST: { fault: 'backend', status: 502, rpc: -32000 },
  BACKEND_STREAM_ENDED: { fault: 'backend', status: 502, rpc: -32000 },
  BACKEND_TIMEOUT: { fault: 'backend', status: 504, rpc: -32000 },
  EVENT_TOO_LARGE: { fault: 'backend', status: 502, rpc: -32000 },
  STORE_UNAVAILABLE: { fault: 'proxy', status: 503, rpc: -32000 },
  REPLICA_LOST: { fault: 'proxy', status: 502, rpc: -32000 },
  SHUTTING_DOWN: { fault: 'proxy', status: 503, rpc: -32000 },
  CONFIG_INVALID: { fault: 'proxy', status: 500, rpc: -32603 },
  INTERNAL: { fault: 'proxy', status: 500, rpc: -32603 },
} as const satisfies Record<string, Row>

export type ErrorCode = keyof typeof table

export interface ProxyErrorOptions {
  /** What led here. It goes to the log, never to a client. */
  readonly cause?: unknown
  /** Seconds for a `Retry-After` header. */
  readonly retryAfter?: number
  /** Further response headers, such as `Allow` or a backend's `WWW-Authenticate`. */
  readonly headers?: Readonly<Record<string, string>>
  /** The `data` of the JSON-RPC error. */
  readonly data?: JsonObject
  /** The status of the backend's answer where it is passed on instead of the table's. */
  readonly status?: number
}

/** The only error that crosses a module border. Its message names the route or backend and the limit that was met. */
export class ProxyError extends Error {
  readonly code: ErrorCode
  readonly fault: Fault
  readonly status: number
  readonly rpc: number
  readonly retryAfter: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly data: JsonObject | undefined

  constructor(code: ErrorCode, message: string, options: ProxyErrorOptions = {}) {
    // What happened and where stands in the message. A stack would cost more than all else that an error takes.
    const { stackTraceLimit } = Error
    if (code !== 'INTERNAL') Error.stackTraceLimit = 0
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    Error.stackTraceLimit = stackTraceLimit
    const row: Row = table[code]
    this.name = 'ProxyError'
    this.code = code
    this.fault = row.fault
    this.status = options.status ?? row.status
    this.rpc = row.rpc
    this.retryAfter = options.retryAfter
    this.headers = options.headers ?? {}
    this.data = options.data
  }

  /** The one door in for whatever was thrown: a ProxyError stays itself, all else becomes INTERNAL with the cause kept. */
  static from(reason: unknown): ProxyError {
    if (reason instanceof ProxyError) return reason
    return new ProxyError('INTERNAL', 'internal error', { cause: reason })
  }
}
