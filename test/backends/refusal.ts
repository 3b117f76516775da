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

t.test(
  'a refusal is put as the route has it, by what was sent and what was answered',
  async (t) => {
    const asked: unknown[] = []
    const put = (status: number, sent: Record<string, string>) =>
      unauthorized(shop, answerOf(status, { 'www-authenticate': 'Basic' }), sent, (...of) => {
        asked.push(of)
        return { status: 401, challenge: 'Bearer ours' }
      })
    t.match(put(405, {}), {
      mayHaveRun: false,
      error: {
        code: 'BACKEND_UNAUTHORIZED',
        status: 401,
        message: /shop.* with 405$/,
        headers: { 'www-authenticate': 'Bearer ours' },
      },
    })
    put(403, { authorization: 'Bearer a' })
    t.same(asked, [
      [shop, { status: 405, challenge: 'Basic' }, false],
      [shop, { status: 403, challenge: 'Basic' }, true],
    ])
  },
)

t.test('what is not put otherwise passes as it is', async (t) => {
  const same = (status: number) =>
    unauthorized(shop, answerOf(status, { 'www-authenticate': 'Basic' }), {}, () => undefined)
  t.match(same(403)?.error, { status: 403, headers: { 'www-authenticate': 'Basic' } })
  t.equal(same(405), undefined)
  t.equal(same(200), undefined)
})
