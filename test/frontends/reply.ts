import t from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { failureOf, sendAccepted, sendError, sendJson } from '../../src/frontends/reply.ts'
import { failure, notification } from '../../src/protocol/jsonrpc.ts'
import { front } from '../fixtures/front.ts'
import { postJson } from '../fixtures/http.ts'

const note = notification('notifications/message', { level: 'info' })

t.test(
  'a refusal is a JSON-RPC error with the id that is known, and nothing of the cause',
  async (t) => {
    const error = new ProxyError('SESSION_UNKNOWN', 'no such session', {
      cause: new Error('secret'),
      retryAfter: 2,
      headers: { allow: 'GET' },
    })
    for (const [idText, id] of [
      [undefined, null],
      ['"a"', 'a'],
      ['1.0', 1],
    ] as const) {
      const { url } = await front(t, async ({ response }) => sendError(response, error, idText))
      const whole = await postJson(url, note.value)
      t.equal(whole.status, 404)
      t.match(whole.headers, { 'retry-after': '2', allow: 'GET' })
      t.same(JSON.parse(whole.body), {
        jsonrpc: '2.0',
        id,
        error: { code: -32001, message: 'no such session' },
      })
    }
    t.equal(failureOf('1', error).text, failure('1', -32001, 'no such session').text)
  },
)

t.test('an answer is given once', async (t) => {
  const { url } = await front(t, async ({ response }) => {
    sendJson(response, 200, '"é"')
    sendJson(response, 500, '"again"')
  })
  const whole = await postJson(url, note.value)
  t.equal(whole.body, '"é"')
  t.equal(whole.headers['content-length'], '4', 'bytes, not characters')
})

t.test('what needs no answer is accepted with an empty one', async (t) => {
  const { url } = await front(t, async ({ response }) => sendAccepted(response))
  const whole = await postJson(url, note.value)
  t.equal(whole.status, 202)
  t.equal(whole.headers['content-length'], '0')
})
