// What once went wrong and must not again, first part: input that ended the process, messages that ran twice, numbers and
// memory without bounds.
import { connect } from 'node:net'
import t from 'tap'
import { listen, readText } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { startScriptedSse } from '../fixtures/scripted-sse-backend.ts'
import type { Posted } from '../fixtures/scripted-sse-backend.ts'
import { answerIn, ask, call, opening, serve, tell, turning } from '../fixtures/serving.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** JSON that a reader takes and a recursive writer does not. */
const deep = '['.repeat(200_000) + ']'.repeat(200_000)

t.test('a reset of an upgraded socket does not end the process', async (t) => {
  const backend = await startScriptedSse(t)
  const { url, post } = await serve(t, backend.url)
  const { hostname, port } = new URL(url)
  const reset = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => undefined).on('close', () => resolve())
      socket.on('connect', () => {
        const head = 'GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n'
        // The reset comes with the request or a turn later, when the answer is being written.
        socket.write(`${head}Upgrade: websocket\r\n\r\n`, () => socket.resetAndDestroy())
      })
    })
  for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 20 }, reset))
  t.equal((await post(ask(1))).status, 200, 'it still serves')
})

t.test('an error of a backend that is too deep to be written ends one request only', async (t) => {
  const backend = await listen((request, response) => {
    void readText(request).then((body) => {
      const { id, method } = JSON.parse(body) as { id?: number; method: string }
      const member = method === 'tools/call' ? `"error":${deep}` : '"result":{}'
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(`{"jsonrpc":"2.0","id":${String(id)},${member}}`)
    })
  })
  t.teardown(() => backend.close())
  const { post } = await serve(t, backend.url, { backend: { dialect: 'rpc' } })
  const answer = await post(call(1, 'any'))
  t.match(JSON.parse(answer.body), { id: 1, error: {} })
  t.match(answerIn(await post(ask(2))), { result: {} })
})

t.test('deeply nested parameters of a client do not end the process', async (t) => {
  const backend = await startScriptedSse(t)
  const { post } = await serve(t, backend.url)
  const text = JSON.stringify(opening({ experimental: { x: 'DEEP' } })).replace('"DEEP"', deep)
  const opened = await post(text)
  const headers = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  // The session is restored from the parameters.
  backend.dropStreams()
  await waitFor(() => backend.streams.size === 0)
  t.match(JSON.parse((await post(ask(2), headers)).body), { id: 2 })
  t.match(answerIn(await post(ask(3))), { result: { tools: [] } }, 'it still serves')
})

t.test('a call that ran is not sent again because its error speaks of a session', async (t) => {
  let long: Posted | undefined
  const error = { code: -32602, message: 'charged the card, then: browser session 42 not found' }
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      const { id, params } = posted.message
      if (params?.['name'] === 'long') {
        posted.accept()
        long = posted
      } else if (params?.['name'] === 'pay') {
        posted.refuse(400, JSON.stringify({ jsonrpc: '2.0', id, error }))
      } else return false
      return true
    },
  })
  const { openSession } = await serve(t, backend.url)
  const client = await openSession()
  const other = client.post(call(3, 'long'))
  const { answer } = await waitFor(() => long)
  t.match(answerIn(await client.post(call(2, 'pay'))), { id: 2, error })
  t.equal(backend.of('tools/call').length, 2, 'each call has been sent once')
  t.equal(backend.of('initialize').length, 1, 'and no session was restored')
  answer({ done: true })
  t.match(answerIn(await other), { result: { done: true } }, 'the other call goes on')
})

t.test('request ids fit in 31 bits, and a backend that keeps no more is understood', async (t) => {
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      posted.accept()
      const { id } = posted.message
      if (typeof id !== 'number') return true
      posted.say({ id: id | 0, result: { protocolVersion: '2025-06-18', tools: [] } })
      return true
    },
  })
  const { openSession, post } = await serve(t, backend.url)
  const client = await openSession()
  t.match(answerIn(await client.post(ask('text'))), { id: 'text', result: {} })
  t.match(answerIn(await post(ask(1))), { id: 1, result: {} })
  const ids = backend.posted.flatMap(({ message: { id } }) => (id === undefined ? [] : [id]))
  t.equal(ids.length, 4)
  for (const id of ids)
    t.ok(Number.isInteger(id) && Number(id) > 0 && Number(id) < 2 ** 31, `${id}`)
})

t.test('backend sessions of callers without a session are bounded', async (t) => {
  const backend = await startScriptedSse(t)
  const { post } = await serve(t, backend.url, { limits: { sessions: 5 } })
  for (let caller = 0; caller < 20; caller++) {
    const answer = await post(ask(caller), { 'x-any': String(caller) })
    t.match(answerIn(answer), { id: caller, result: {} }, `caller ${caller} is served`)
  }
  await waitFor(() => backend.streams.size <= 5, { what: 'the streams past the limit to close' })
  t.match(answerIn(await post(ask(0), { 'x-any': '0' })), { result: {} }, 'the first comes back')
})

t.test('callers in need are refused, not others closed, where every pool is at work', async (t) => {
  const held: Posted[] = []
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (posted.message.method !== 'tools/call') return false
      posted.accept()
      held.push(posted)
      return true
    },
  })
  const { post } = await serve(t, backend.url, { limits: { sessions: 2 } })
  const running = ['a', 'b'].map((who) => post(call(who, 'long'), { 'x-any': who }))
  await waitFor(() => held.length === 2)
  const refused = await post(ask('c'), { 'x-any': 'c' })
  t.equal(refused.status, 503)
  t.match(JSON.parse(refused.body), { id: 'c', error: { message: /limits\.sessions is 2/ } })
  for (const each of held) each.answer()
  for (const answer of await Promise.all(running)) t.match(answerIn(answer), { result: {} })
  t.match(answerIn(await post(ask('c'), { 'x-any': 'c' })), { result: {} })
})

t.test('what is held for a client without a stream is bounded in size', async (t) => {
  const backend = await startScriptedSse(t)
  const { openSession, metrics } = await serve(t, backend.url)
  const client = await openSession()
  const data = 'x'.repeat(300 * 1024)
  const [stream] = backend.streams.values()
  for (let count = 1; count <= 6; count++) {
    const event = JSON.stringify(tell('notifications/message', { count, data }))
    stream?.write(`data: ${event}\n\n`)
  }
  // A request under way would take them along.
  const dropped = /dropped_messages_total\{[^}]*reason="no-stream"[^}]*\} 3/
  await waitFor(async () => dropped.test(await metrics()), {
    what: 'the oldest three to be dropped',
  })
  const standing = await client.listen()
  await standing.find(({ data: text }) => text.includes('"count":6'))
  const counts = standing.events.map(({ data: text }) => /"count":(\d)/.exec(text)?.[1])
  t.same(counts, ['4', '5', '6'], 'the newest three: the fourth would be past 1 MiB')
})

t.test('notifications that wait for a backend session are bounded in size', async (t) => {
  const backend = await startScriptedSse(t)
  const { post } = await serve(t, backend.url)
  const data = 'x'.repeat(300 * 1024)
  for (let count = 1; count <= 6; count++) {
    t.equal((await post(tell('notifications/any', { count, data }))).status, 202)
  }
  t.match(answerIn(await post(ask(1))), { result: {} })
  t.match(answerIn(await post(ask(2))), { result: {} })
  t.ok(backend.of('notifications/any').length <= 3, 'what is past 1 MiB is dropped')
})

t.test('POSTs whose answer never ends are closed once they have been answered', async (t) => {
  const clock = manualClock()
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (posted.message.method !== 'tools/list') return false
      // The answer comes on the stream first, and the head of the POST's own answer after it.
      posted.answer()
      setImmediate(() => posted.response.writeHead(202).write('Accepted'))
      return true
    },
  })
  const { openSession } = await serve(t, backend.url, { clock })
  const client = await openSession()
  await Promise.all(Array.from({ length: 20 }, (_, id) => client.post(ask(id))))
  const posts = backend.of('tools/list')
  t.equal(posts.length, 20)
  await turning(clock, () => posts.every(({ closed }) => closed), 'every POST to close')
  t.equal(backend.streams.size, 1, 'and nothing else was given up')
})

t.test('notifications that are never answered do not keep their connections', async (t) => {
  const clock = manualClock()
  const method = 'notifications/roots/list_changed'
  const backend = await startScriptedSse(t, {
    onPost: ({ message }) => message.method === method,
  })
  const { openSession } = await serve(t, backend.url, { clock })
  const client = await openSession()
  for (let count = 0; count < 3; count++) {
    t.equal((await client.post(tell(method))).status, 202)
    await waitFor(() => backend.of(method).length > count || void clock.advance(500))
  }
  t.same(
    backend.of(method).map(({ closed }) => closed),
    [false, false, false],
  )
  const before = clock.now()
  await turning(clock, () => backend.of(method).every(({ closed }) => closed), 'them', 1000)
  t.ok(clock.now() - before > 60_000, 'a backend that wakes slowly has had its time')
  t.match(answerIn(await client.post(ask(1))), { result: {} })
})

t.test('a hanging POST on a session that was lost is closed when its time is up', async (t) => {
  const clock = manualClock()
  let first: string | undefined
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      first ??= posted.session
      const { method, params } = posted.message
      if (method !== 'tools/call' || posted.session !== first) return false
      if (params?.['name'] === 'lost') posted.refuse(404, 'session not found')
      return true
    },
  })
  const { openSession } = await serve(t, backend.url, { clock, limits: { requestTime: '20s' } })
  const client = await openSession()
  const hanging = client.post(call(2, 'hang'))
  await waitFor(() => backend.of('tools/call').length === 1)
  let over = false
  const lost = client.post(call(3, 'lost')).finally(() => (over = true))
  await turning(clock, () => over, 'the call to be sent on another session')
  t.match(answerIn(await lost), { result: {} })
  const [post] = backend.of('tools/call')
  await turning(clock, () => post?.closed, 'the POST to close', 500)
  t.match(answerIn(await hanging), { error: {} })
  await waitFor(() => backend.streams.size === 1, {
    what: 'the stream of the lost session to close',
  })
})
