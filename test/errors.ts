import t from 'tap'
import { ProxyError } from '../src/errors.ts'
import type { ErrorCode, Fault } from '../src/errors.ts'

const rows: Record<ErrorCode, [Fault, number, number]> = {
  BODY_INVALID: ['client', 400, -32700],
  MESSAGE_INVALID: ['client', 400, -32600],
  REVISION_UNSUPPORTED: ['client', 400, -32600],
  HEADER_MISMATCH: ['client', 400, -32020],
  CAPABILITY_MISSING: ['client', 400, -32021],
  VERSION_UNSUPPORTED: ['client', 400, -32022],
  PARAMS_INVALID: ['client', 400, -32602],
  SESSION_REQUIRED: ['client', 400, -32600],
  EVENTS_GONE: ['client', 400, -32600],
  SESSION_UNKNOWN: ['client', 404, -32001],
  ROUTE_UNKNOWN: ['client', 404, -32601],
  METHOD_NOT_ALLOWED: ['client', 405, -32601],
  NOT_ACCEPTABLE: ['client', 406, -32600],
  BODY_TOO_LARGE: ['client', 413, -32600],
  BODY_TIMEOUT: ['client', 408, -32600],
  ORIGIN_FORBIDDEN: ['client', 403, -32600],
  HOST_FORBIDDEN: ['client', 403, -32600],
  TOKEN_MISSING: ['client', 401, -32000],
  TOKEN_INVALID: ['client', 401, -32000],
  SCOPE_INSUFFICIENT: ['client', 403, -32000],
  AUTH_UNAVAILABLE: ['proxy', 503, -32000],
  RATE_LIMITED: ['client', 429, -32000],
  CANNOT_CROSS: ['client', 200, -32601],
  CANCELLED: ['client', 200, -32000],
  LIMIT_REACHED: ['proxy', 503, -32000],
  BACKEND_UNREACHABLE: ['backend', 502, -32000],
  BACKEND_REFUSED: ['backend', 502, -32000],
  BACKEND_UNAUTHORIZED: ['client', 401, -32000],
  BACKEND_NO_ENDPOINT: ['backend', 502, -32000],
  BACKEND_ANSWER_INVALID: ['backend', 502, -32603],
  BACKEND_SESSION_LOST: ['backend', 502, -32000],
  BACKEND_STREAM_ENDED: ['backend', 502, -32000],
  BACKEND_TIMEOUT: ['backend', 504, -32000],
  EVENT_TOO_LARGE: ['backend', 502, -32000],
  STORE_UNAVAILABLE: ['proxy', 503, -32000],
  REPLICA_LOST: ['proxy', 502, -32000],
  SHUTTING_DOWN: ['proxy', 503, -32000],
  CONFIG_INVALID: ['proxy', 500, -32603],
  INTERNAL: ['proxy', 500, -32603],
}

t.test('every code says whose fault it is, and has a status and a JSON-RPC code', async (t) => {
  for (const [code, [fault, status, rpc]] of Object.entries(rows)) {
    const error = new ProxyError(code as ErrorCode, 'what happened')
    t.match(error, { name: 'ProxyError', code, fault, status, rpc, message: 'what happened' }, code)
    t.ok(error instanceof Error)
  }
})

t.test('an error carries no more than it was given', async (t) => {
  const plain = new ProxyError('INTERNAL', 'x')
  t.notOk('cause' in plain)
  t.equal(plain.retryAfter, undefined)
  t.same(plain.headers, {})
  const cause = new Error('inside')
  const full = new ProxyError('BACKEND_REFUSED', 'x', {
    cause,
    retryAfter: 3,
    headers: { allow: 'GET' },
    status: 418,
  })
  t.match(full, { cause, retryAfter: 3, headers: { allow: 'GET' }, status: 418, rpc: -32000 })
})

t.test('whatever is thrown becomes one of ours, and tells nobody what it was', async (t) => {
  const ours = new ProxyError('BACKEND_TIMEOUT', 'too slow')
  t.equal(ProxyError.from(ours), ours)
  for (const thrown of [new TypeError('secret'), 'secret', undefined, null, { a: 1 }]) {
    const error = ProxyError.from(thrown)
    t.match(error, { code: 'INTERNAL', status: 500, message: 'internal error' })
    t.equal(error.cause, thrown, 'but the cause is kept for the log')
  }
})
