import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { serveStreamable } from '../../src/frontends/streamable.ts'
import { failure, notification, result } from '../../src/protocol/jsonrpc.ts'
import { caller, front } from '../fixtures/front.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const both = { accept: 'application/json, text/event-stream' }
const call = (id: number | string, method = 'tools/list') => ({ jsonrpc: '2.0', id, method })
const initialize = call('i', 'initialize')
const note = { jsonrpc: '2.0', method: 'notifications/initialized' }

/** A client whose session stands; `headers` name it. */
async function opened(t: Test) {
  const it = await front(t, serveStreamable)
  const session = await it.relay.begin(caller, 'streamable')
  const headers = { ...both, 'mcp-session-id': session.id }
  const post = (message: unknown, over: Record<string, string> = {}) =>
    postJson(it.url, message, { headers: { ...headers, ...over } })
  return { ...it, session: it.relay.session, headers, post }
}

t.test('initialize opens a session, whose id goes out with its answer', async (t) => {
  const { url, relay, asked } = await front(t, serveStreamable)
  const answer = postJson(url, initialize, { headers: both })
  const { message, reply } = await asked()
  t.equal(message.method, 'initialize')
  reply.finish(result('"i"', { protocolVersion: '2025-06-18' }))
  const { status, headers, body } = await answer
  t.equal(status, 200)
  t.equal(headers['mcp-session-id'], relay.session.id)
  t.equal(headers['content-type'], 'application/json')
  t.match(JSON.parse(body), { id: 'i', result: {} })
  t.equal(relay.session.ended, false)
  t.equal(relay.session.dialect, 'streamable')
})

t.test('a session that could not be initialized is none', async (t) => {
  const refusals: [string, (it: Awaited<ReturnType<typeof ask>>) => void, number][] = [
    ['by an error of the backend', ({ reply }) => reply.finish(failure('"i"', -32602, 'no')), 200],
    [
      'by a failure of ours',
      ({ reply }) => reply.fail(new ProxyError('BACKEND_UNREACHABLE', 'nobody there')),
      200,
    ],
    [
      'by a failure that the status tells of',
      ({ reply }) => reply.fail(new ProxyError('BACKEND_UNAUTHORIZED', 'who are you')),
      401,
    ],
  ]
  const ask = async (t: Test) => {
    const it = await front(t, serveStreamable)
    const answer = postJson(it.url, initialize, { headers: both })
    return { ...it, answer, ...(await it.asked()) }
  }
  for (const [name, refuse, expected] of refusals) {
    const it = await ask(t)
    refuse(it)
    const { status, headers, body } = await it.answer
    t.equal(status, expected, name)
    t.notOk('mcp-session-id' in headers, 'the id is taken back')
    t.match(JSON.parse(body), { id: 'i', error: {} })
    t.equal(it.relay.session.ended, true)
  }
})

t.test('where no session is to be had, the refusal says when to come back', async (t) => {
  const { url, relay } = await front(t, serveStreamable)
  relay.refusal = new ProxyError('SHUTTING_DOWN', 'going', { retryAfter: 1 })
  const { status, headers } = await postJson(url, initialize, { headers: both })
  t.equal(status, 503)
  t.equal(headers['retry-after'], '1')
})

t.test('a lost session may be initialized anew under its old name', async (t) => {
  const { url, relay, asked } = await front(t, serveStreamable)
  const headers = { ...both, 'mcp-session-id': 'lost' }
  const answer = postJson(url, initialize, { headers })
  const { reply } = await asked()
  reply.finish(result('"i"', {}))
  t.equal((await answer).headers['mcp-session-id'], relay.session.id)
})

t.test('initialize in a session that stands opens no other', async (t) => {
  const { post, relay, asked } = await opened(t)
  const answer = post(initialize)
  const { reply } = await asked()
  reply.finish(failure('"i"', -32600, 'already initialized'))
  t.notOk('mcp-session-id' in (await answer).headers)
  t.equal(relay.sessions.size, 1)
  t.equal(relay.session.ended, false, 'and its failure ends nothing')
})

t.test('what the client takes decides the form of an answer', async (t) => {
  const cases: [string, string][] = [
    ['application/json, text/event-stream', 'application/json'],
    ['*/*', 'application/json'],
    ['application/json', 'application/json'],
    ['text/event-stream', 'text/event-stream'],
    ['text/html', 'application/json'],
  ]
  for (const [accept, expected] of cases) {
    const { post, asked } = await opened(t)
    const answer = post(call(1), { accept })
    const { reply } = await asked()
    reply.finish(result('1', {}))
    t.equal((await answer).headers['content-type'], expected, accept)
  }
})

t.test('a message before the response opens a stream, where the client takes one', async (t) => {
  const progress = notification('notifications/progress', { progressToken: 1, progress: 1 })
  for (const [accept, expected] of [
    [both.accept, 2],
    ['application/json', 1],
  ] as const) {
    const { post, asked } = await opened(t)
    const answer = post(call(1), { accept })
    const { reply } = await asked()
    t.equal(reply.carries, expected === 2)
    reply.send(progress)
    reply.finish(result('1', {}))
    t.equal([...(await answer).body.matchAll(/"jsonrpc"/g)].length, expected, accept)
  }
})

t.test('notifications and answers are taken with 202 and an empty body', async (t) => {
  const { post, session } = await opened(t)
  for (const message of [note, { jsonrpc: '2.0', id: 4, result: {} }]) {
    const { status, body } = await post(message)
    t.equal(status, 202)
    t.equal(body, '')
  }
  t.match(session.posted, [{ kind: 'notification' }, { kind: 'response', idText: '4' }])
})

t.test('a batch is answered together, and its notifications go along', async (t) => {
  const { post, session, asked } = await opened(t)
  session.revision = '2025-03-26'
  const answer = post([call(1), note, call('b')])
  const [one, two] = [await asked(0), await asked(1)]
  t.match(session.posted, [{ method: 'notifications/initialized' }])
  two.reply.finish(result('"b"', {}))
  one.reply.finish(result('1', {}))
  t.match(JSON.parse((await answer).body), [{ id: 'b' }, { id: 1 }])
})

t.test('batches are refused where the revision has none', async (t) => {
  const cases: [string | undefined, number][] = [
    ['2025-03-26', 202],
    [undefined, 202],
    ['2025-06-18', 400],
    ['2025-11-25', 400],
  ]
  for (const [revision, status] of cases) {
    const { post, session } = await opened(t)
    session.revision = revision
    t.equal((await post([note])).status, status, String(revision))
    t.equal(session.posted.length, status === 202 ? 1 : 0)
  }
})

t.test('initialize in a batch is refused', async (t) => {
  const { url, relay } = await front(t, serveStreamable)
  const { status, body } = await postJson(url, [initialize, note], { headers: both })
  t.equal(status, 400)
  t.match(JSON.parse(body), { error: { code: -32600, message: /initialize/ } })
  t.equal(relay.sessions.size, 0)
})

t.test('a session that is not there is 404 for every method', async (t) => {
  const { url, relay } = await opened(t)
  const sse = await relay.begin(caller, 'sse')
  for (const id of ['nobody', sse.id]) {
    const headers = { ...both, 'mcp-session-id': id }
    for (const answer of [
      await postJson(url, call(1), { headers }),
      await fetchRaw(url, { headers }),
      await fetchRaw(url, { method: 'DELETE', headers }),
    ]) {
      t.equal(answer.status, 404)
      t.match(JSON.parse(answer.body), { error: { code: -32001 } })
    }
  }
})

t.test('a request that names no session and opens none is refused', async (t) => {
  const { url } = await front(t, serveStreamable)
  for (const method of ['GET', 'DELETE']) {
    const { status, body } = await fetchRaw(url, { method, headers: both })
    t.equal(status, 400, method)
    t.match(JSON.parse(body), { error: { code: -32600, message: /Mcp-Session-Id/ } })
  }
})

t.test('the revision header must look like a revision', async (t) => {
  const { post, session } = await opened(t)
  for (const revision of ['2025-06-18', '2099-01-01']) {
    t.equal((await post(note, { 'mcp-protocol-version': revision })).status, 202, revision)
  }
  for (const revision of ['1.0', '2025-06', 'latest', '2025-06-18, 2025-06-18', '']) {
    const { status, body } = await post(note, { 'mcp-protocol-version': revision })
    t.equal(status, 400, JSON.stringify(revision))
    t.match(JSON.parse(body), { error: { code: -32600, message: /revision/ } })
  }
  t.equal(session.posted.length, 2)
})

t.test('a standing stream lasts until one of both ends it', async (t) => {
  const { url, headers, session } = await opened(t)
  const stream = await openStream(url, { headers })
  t.equal(stream.status, 200)
  await waitFor(() => session.outlets.length === 1)
  session.outlets[0]?.send(notification('notifications/tools/list_changed'))
  await stream.find(({ data }) => data.includes('list_changed'))
  t.equal(stream.events.length, 1, 'with nothing before it')
  stream.destroy()
  await waitFor(() => session.outlets.length === 0, { what: 'the outlet to be taken away' })
  t.equal(session.ended, false, 'the session goes on')

  const again = await openStream(url, { headers })
  const outlet = await waitFor(() => session.outlets[0])
  outlet.close(2000)
  await waitFor(() => again.ended === 'end')
  t.same(again.events.at(-1)?.lines, ['retry: 2000'])
})

t.test('DELETE ends the session', async (t) => {
  const { url, headers, session } = await opened(t)
  const { status, body } = await fetchRaw(url, { method: 'DELETE', headers })
  t.equal(status, 204)
  t.equal(body, '')
  t.equal(session.ended, true)
})

t.test('a client that goes before its answer is told of, and cancels nothing', async (t) => {
  const { url, headers, session, asked } = await opened(t)
  const going = new AbortController()
  postJson(url, call(1), { headers, signal: going.signal }).catch(() => undefined)
  const { reply } = await asked()
  going.abort()
  await waitFor(() => session.abandoned.length === 1, { what: 'the session to hear of it' })
  t.equal(session.abandoned[0], reply, 'by the reply that it was given')
  t.same(session.posted, [])
  t.equal(session.ended, false)
})

t.test('a client that gets its answer is not', async (t) => {
  const { post, session, asked } = await opened(t)
  const answer = post(call(1))
  const { reply } = await asked()
  reply.finish(result('1', {}))
  await answer
  await new Promise(setImmediate)
  t.same(session.abandoned, [])
})

t.test('a client that goes while its session begins leaves none behind', async (t) => {
  const it = await front(t, serveStreamable)
  const { begin } = it.relay
  let goOn: (() => void) | undefined
  it.relay.begin = async (...given) => {
    await new Promise<void>((resolve) => (goOn = resolve))
    return begin.apply(it.relay, given)
  }
  const going = new AbortController()
  postJson(it.url, initialize, { headers: both, signal: going.signal }).catch(() => undefined)
  const proceed = await waitFor(() => goOn)
  going.abort()
  await waitFor(() => it.connections() === 0)
  proceed()
  await waitFor(() => it.relay.sessions.size === 1)
  await waitFor(() => it.relay.session.ended, { what: 'the end of the session' })
  t.same(it.relay.session.asked, [])
})

t.test('a POST without a body is refused', async (t) => {
  const { url, headers } = await opened(t)
  const { status, body } = await fetchRaw(url, { method: 'POST', headers })
  t.equal(status, 400)
  t.match(JSON.parse(body), { error: { code: -32700 } })
})

t.test('a client that comes back is given the stream that it names', async (t) => {
  const { url, headers, session } = await opened(t)
  session.revision = '2025-11-25'
  const first = await openStream(url, { headers })
  await first.find(({ lines }) => lines.includes('id: t1-0'))
  const outlet = await waitFor(() => session.outlets[0])
  for (const name of ['one', 'two']) outlet.send(notification(`notifications/${name}`))
  await first.find(({ lines }) => lines.includes('id: t1-2'))
  const again = await openStream(url, { headers: { ...headers, 'last-event-id': 't1-1' } })
  t.teardown(() => again.destroy())
  await waitFor(() => first.ended === 'end', { what: 'the old connection to end' })
  outlet.send(notification('notifications/three'))
  await again.find(({ data }) => data.includes('three'))
  t.same(
    again.events.map(({ lines }) => lines.find((line) => line.startsWith('id: '))),
    ['id: t1-2', 'id: t1-3'],
    'what it missed and what follows, with no priming event',
  )
  await waitFor(() => session.outlets.length === 1, { what: 'one outlet to be left' })
  t.equal(session.outlets[0], outlet)
})

t.test('a stream that is not to be had again is refused', async (t) => {
  const { url, headers, session } = await opened(t)
  const standing = await openStream(url, { headers })
  await waitFor(() => session.outlets.length === 1)
  for (const id of ['t2-0', 't1-1', 'nonsense']) {
    const { status, body } = await fetchRaw(url, { headers: { ...headers, 'last-event-id': id } })
    t.equal(status, 400, id)
    t.match(JSON.parse(body), { error: { message: /kept|no stream/ } })
  }
  t.equal(standing.ended, 'no', 'and what stands is left alone')
  standing.destroy()
})

t.test('priming events go to clients that know them', async (t) => {
  for (const [revision, primed] of [
    [undefined, false],
    ['2025-06-18', false],
    ['2025-11-25', true],
  ] as const) {
    const { url, headers, session } = await opened(t)
    session.revision = revision
    const stream = await openStream(url, { headers })
    const outlet = await waitFor(() => session.outlets[0])
    outlet.send(notification('notifications/x'))
    await stream.find(({ data }) => data.includes('notifications/x'))
    t.equal(stream.events.length, primed ? 2 : 1, String(revision))
    stream.destroy()
  }
})
