import { Readable } from 'node:stream'
import t from 'tap'
import type { HttpAnswer } from '../../src/backends/http-client.ts'
import {
  mayHaveRun,
  refused,
  saysSessionUnknown,
  unauthorized,
} from '../../src/backends/refusal.ts'

const answerOf = (status: number, headers: Record<string, string> = {}): HttpAnswer => ({
  status,
  headers,
  body: Readable.from([]),
  url: new URL('http://127.0.0.1/'),
  discard() {},
})

t.test('a lost session is known by the words of many servers, and by 410', async (t) => {
  for (const [status, text] of [
    [404, 'Could not find session'],
    [
      404,
      '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}',
    ],
    [400, 'Bad Request: No valid session ID provided'],
    [400, 'Unknown session'],
    [404, 'Session has expired'],
    [400, 'Missing sessionId parameter'],
    [410, ''],
  ] as const) {
    t.equal(saysSessionUnknown(status, text), true, text)
  }
  for (const [status, text] of [
    [404, '{"detail":"Not Found"}'],
    [404, "Method 'x' not found"],
    [400, 'Invalid request parameters'],
    [500, 'Session not found'],
    [400, 'session settings saved'],
  ] as const) {
    t.equal(saysSessionUnknown(status, text), false, text)
  }
})

const shop = { route: 'shop', url: new URL('http://backend.test/'), messages: undefined }

t.test('401 and 403 pass on the challenge of the backend and nothing else', async (t) => {
  const challenge = 'Bearer resource_metadata="https://a.example/x"'
  for (const status of [401, 403]) {
    const denied = unauthorized(
      shop,
      answerOf(status, { 'www-authenticate': challenge, 'set-cookie': 'a=b' }),
      {},
    )
    t.match(denied, { mayHaveRun: false, error: { code: 'BACKEND_UNAUTHORIZED', status } })
    t.same(denied?.error.headers, { 'www-authenticate': challenge })
  }
  t.same(unauthorized(shop, answerOf(401), {})?.error.headers, {})
  t.equal(unauthorized(shop, answerOf(404), {}), undefined)
})

t.test('only statuses from before any handler prove that nothing ran', async (t) => {
  for (const status of [404, 405, 501]) t.equal(mayHaveRun(status), false, String(status))
  for (const status of [400, 500, 502, 503, 504]) t.equal(mayHaveRun(status), true, String(status))
})

t.test('a refusal names the route, the status and what may be shown of the body', async (t) => {
  t.equal(
    refused('shop', 502, '502 Bad Gateway').message,
    'the backend of route "shop" answered with status 502: 502 Bad Gateway',
  )
})
