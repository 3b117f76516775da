import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { serveSse } from '../../src/frontends/sse.ts'
import { serveStreamable } from '../../src/frontends/streamable.ts'
import { notification, result } from '../../src/protocol/jsonrpc.ts'
import { front } from '../fixtures/front.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const call = (id: number | string, method = 'tools/list') => ({ jsonrpc: '2.0', id, method })
const note = { jsonrpc: '2.0', method: 'notifications/initialized' }

/** A client past its endpoint event; `target` is where it is told to POST. */
async function opened(t: Test) {
  const it = await front(t, serveSse)
  const stream = await openStream(it.url)
  t.teardown(() => stream.destroy())
  const endpoint = await stream.find(({ event }) => event === 'endpoint')
  return { ...it, stream, endpoint, target: new URL(endpoint.data, it.url).href }
}

t.test('a stream opens with our endpoint, and there is exactly one', async (t) => {
  const { stream, endpoint, relay, clock } = await opened(t)
  const { session } = relay
  t.equal(session.dialect, 'sse')
  t.equal(stream.headers['content-type'], 'text/event-stream')
  t.equal(endpoint.data, `/mcp?sessionId=${session.id}`, 'a path of ours, of no origin')
  t.same(stream.events[0], endpoint, 'nothing comes before it')
  session.outlets[0]?.send(notification('notifications/message'))
  session.outlets[0]?.send(result('1', {}))
  clock.advance(15_000)
  await waitFor(() => stream.events.length === 4)
  t.equal(stream.events.filter(({ event }) => event === 'endpoint').length, 1)
  t.match(stream.events.slice(1), [
    { lines: ['event: message', /^data: .*notifications\/message/] },
    { lines: ['event: message', /^data: .*"result"/] },
    { lines: [': keep-alive'] },
  ])
})

t.test('POSTs are taken with 202; answers come on the stream', async (t) => {
  const { stream, target, relay } = await opened(t)
  for (const message of [call(1, 'initialize'), note, { jsonrpc: '2.0', id: 9, result: {} }]) {
    const answer = await postJson(target, message)
    t.equal(answer.status, 202)
    t.equal(answer.body, '')
  }
  t.match(relay.session.asked, [{ message: { method: 'initialize' }, reply: undefined }])
  t.match(relay.session.posted, [{ kind: 'notification' }, { kind: 'response' }])
  relay.session.outlets[0]?.send(result('1', {}))
  await stream.find(({ data }) => data.includes('"id":1'))
})

t.test('a batch is taken apart', async (t) => {
  const { target, relay } = await opened(t)
  t.equal((await postJson(target, [call(1), note, call(2)])).status, 202)
  t.match(relay.session.asked, [{ message: { idText: '1' } }, { message: { idText: '2' } }])
  t.equal(relay.session.posted.length, 1)
})

t.test('the session ends with its stream', async (t) => {
  const { stream, relay } = await opened(t)
  t.equal(relay.session.outlets.length, 1)
  t.equal(relay.session.ended, false)
  stream.destroy()
  await waitFor(() => relay.session.ended, { what: 'the end of the session' })
  t.equal(relay.session.outlets.length, 0)
})

t.test('a session that closes its stream tells the client when to come back', async (t) => {
  const { stream, relay } = await opened(t)
  relay.session.outlets[0]?.close(1000)
  await waitFor(() => stream.ended === 'end')
  t.same(stream.events.at(-1)?.lines, ['retry: 1000'])
  await waitFor(() => relay.session.ended)
})

t.test('a client that goes while its session begins leaves none behind', async (t) => {
  const it = await front(t, serveSse)
  const { begin } = it.relay
  let goOn: (() => void) | undefined
  it.relay.begin = async (...given) => {
    await new Promise<void>((resolve) => (goOn = resolve))
    return begin.apply(it.relay, given)
  }
  const going = new AbortController()
  openStream(it.url, { signal: going.signal }).catch(() => undefined)
  const proceed = await waitFor(() => goOn)
  going.abort()
  await waitFor(() => it.connections() === 0)
  proceed()
  await waitFor(() => it.relay.sessions.size === 1)
  await waitFor(() => it.relay.session.ended, { what: 'the end of the session' })
  t.equal(it.relay.session.outlets.length, 0)
})

t.test('where no session is to be had, the stream does not open', async (t) => {
  const it = await front(t, serveSse)
  it.relay.refusal = new ProxyError('LIMIT_REACHED', 'too many sessions', { retryAfter: 5 })
  const answer = await fetchRaw(it.url)
  t.equal(answer.status, 503)
  t.equal(answer.headers['retry-after'], '5')
  t.match(JSON.parse(answer.body), { error: { code: -32000, message: 'too many sessions' } })
})

t.test('a POST that names no session of this dialect is refused', async (t) => {
  const { url, relay } = await opened(t)
  const other = await front(t, serveStreamable)
  const foreign = await other.relay.begin(
    { route: 'shop', parameters: {}, headers: {}, principal: '', address: '' },
    'streamable',
  )
  relay.sessions.set('foreign', other.relay.session)
  const cases: [string, number, number][] = [
    [url, 400, -32600],
    [`${url}?sessionId=nobody`, 404, -32001],
    [`${url}?sessionId=foreign`, 404, -32001],
  ]
  for (const [target, status, code] of cases) {
    const answer = await postJson(target, call(1))
    t.equal(answer.status, status, target)
    t.match(JSON.parse(answer.body), { error: { code } })
  }
  t.equal(foreign.dialect, 'streamable')
  t.same(other.relay.session.asked, [])
})
