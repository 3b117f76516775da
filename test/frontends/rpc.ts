import t from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { serveRpc } from '../../src/frontends/rpc.ts'
import { notification, result } from '../../src/protocol/jsonrpc.ts'
import { front } from '../fixtures/front.ts'
import { fetchRaw, postJson } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const call = (id: number | string, method = 'tools/list') => ({ jsonrpc: '2.0', id, method })
const note = { jsonrpc: '2.0', method: 'notifications/initialized' }

t.test('a request is answered in JSON, whatever the client says that it takes', async (t) => {
  for (const accept of ['application/json', 'text/event-stream', '*/*']) {
    const { url, asked } = await front(t, serveRpc)
    const answer = postJson(url, call('a'), { headers: { accept } })
    const { message, reply } = await asked()
    t.equal(message.method, 'tools/list')
    t.equal(reply.carries, false)
    t.equal(reply.send(notification('notifications/message')), true, 'which goes nowhere')
    reply.finish(result('"a"', { tools: [] }))
    const { status, headers, body } = await answer
    t.equal(status, 200)
    t.equal(headers['content-type'], 'application/json')
    t.equal(body, '{"jsonrpc":"2.0","id":"a","result":{"tools":[]}}', accept)
  }
})

t.test('notifications are taken with 202 and an empty body', async (t) => {
  const { url, relay } = await front(t, serveRpc)
  const answer = await postJson(url, note)
  t.equal(answer.status, 202)
  t.equal(answer.body, '')
  t.match(relay.posted, [{ method: 'notifications/initialized' }])
  t.equal((await postJson(url, [note, { id: 1, result: {} }])).status, 202)
  const kinds = relay.posted.slice(1).map(({ kind }) => kind)
  t.same(kinds, ['notification'], 'nobody without a session has been asked anything')
})

t.test('a batch is answered together, and its notifications go along', async (t) => {
  const { url, relay, asked } = await front(t, serveRpc)
  const answer = postJson(url, [call(1), note, call(2)])
  const first = await asked(0)
  const second = await asked(1)
  t.match(relay.posted, [{ method: 'notifications/initialized' }])
  second.reply.finish(result('2', {}))
  first.reply.finish(result('1', {}))
  const ids = (JSON.parse((await answer).body) as { id: number }[]).map(({ id }) => id)
  t.same(ids.sort(), [1, 2])
})

t.test('a failure has the status that tells of it', async (t) => {
  const { url, asked } = await front(t, serveRpc)
  const answer = postJson(url, call(1))
  const { reply } = await asked()
  reply.fail(new ProxyError('BACKEND_UNREACHABLE', 'nobody there', { retryAfter: 3 }))
  const { status, headers, body } = await answer
  t.equal(status, 502)
  t.equal(headers['retry-after'], '3')
  t.match(JSON.parse(body), { id: 1, error: { code: -32000, message: 'nobody there' } })
})

t.test('a client that goes before its answer has called its request off', async (t) => {
  const { url, relay, asked } = await front(t, serveRpc)
  const going = new AbortController()
  const gone = postJson(url, call(1), { signal: going.signal })
  gone.catch(() => undefined)
  const { reply } = await asked()
  going.abort()
  await waitFor(() => relay.abandoned.length === 1, { what: 'the relay to hear of it' })
  t.equal(relay.abandoned[0], reply)
  t.doesNotThrow(() => reply.finish(result('1', {})))
})

t.test('a client that stays has not', async (t) => {
  const { url, relay, asked } = await front(t, serveRpc)
  const answer = postJson(url, call(1))
  const { reply } = await asked()
  reply.finish(result('1', {}))
  await answer
  await new Promise(setImmediate)
  t.same(relay.abandoned, [])
})

t.test('a POST without a body is refused', async (t) => {
  const { url } = await front(t, serveRpc)
  const { status, body } = await fetchRaw(url, { method: 'POST' })
  t.equal(status, 400)
  t.match(JSON.parse(body), { id: null, error: { code: -32700 } })
  t.equal((await fetchRaw(url, { method: 'GET' })).status, 400)
})
