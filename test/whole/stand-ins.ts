// The stand-in backends against what is known of the backends they stand for, read raw from the wire. What the proxy
// makes of them is tested elsewhere.
import t from 'tap'
import type { Test } from 'tap'
import { startConnectedBackend } from '../fixtures/connected-backend.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import type { RawEvent, RawStream } from '../fixtures/http.ts'
import { startMemoryBackend } from '../fixtures/memory-backend.ts'
import type { MemoryBackend, MemoryBackendOptions } from '../fixtures/memory-backend.ts'
import { startNullIdBackend } from '../fixtures/null-id-backend.ts'
import { echoed } from '../fixtures/tools.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const who = { user: 'ann', client: 'claude' }
const headers = { 'x-user-id': who.user, 'x-client-name': who.client }

const memoryBackend = async (t: Test, options?: MemoryBackendOptions): Promise<MemoryBackend> => {
  const backend = await startMemoryBackend(options)
  t.teardown(() => backend.close())
  return backend
}

const open = async (t: Test, url: string): Promise<RawStream> => {
  const stream = await openStream(url)
  t.teardown(() => stream.destroy())
  return stream
}

const echo = (id: number, message: string): object => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name: 'echo', arguments: { message } },
})

const answers = (stream: RawStream): readonly RawEvent[] =>
  stream.events.filter((event) => event.event === 'message')

const paths = (client: string, user = who.user) => ({
  stream: `/mcp/${client}/sse/${user}`,
  messages: `/mcp/${client}/messages/${user}`,
})

t.test(
  'the memory backend opens with an endpoint that carries no token, then a heartbeat',
  async (t) => {
    const backend = await memoryBackend(t, { heartbeat: 20 })
    const stream = await open(t, backend.url + paths('claude').stream)
    await stream.find((event) => event.event === 'heartbeat')
    t.equal(stream.status, 200)
    t.match(stream.headers['content-type'], /^text\/event-stream/)
    const [first, second] = stream.events
    t.strictSame(first?.lines, ['event: endpoint', 'data: /mcp/claude/messages/ann'])
    t.equal(second?.lines[0], 'event: heartbeat')
    t.match(second?.lines[1], /^data: \{"timestamp": "[\d-]+T[\d:.]+\+00:00"\}$/)
    await waitFor(() => stream.events.length > 4, { what: 'further heartbeats' })
    t.ok(stream.events.slice(1).every((event) => event.event === 'heartbeat'))
  },
)

t.test('the memory backend refuses what its paths do not know', async (t) => {
  const backend = await memoryBackend(t)
  const { stream, messages } = paths('claude')
  const cases = [
    { method: 'POST', path: stream, status: 405, allow: 'GET', detail: 'Method Not Allowed' },
    { method: 'HEAD', path: stream, status: 405, allow: 'GET', detail: undefined },
    { method: 'DELETE', path: stream, status: 405, allow: 'GET', detail: 'Method Not Allowed' },
    { method: 'GET', path: messages, status: 405, allow: 'POST', detail: 'Method Not Allowed' },
    { method: 'GET', path: '/elsewhere', status: 404, allow: undefined, detail: 'Not Found' },
  ]
  for (const { method, path, status, allow, detail } of cases) {
    const answer = await fetchRaw(backend.url + path, { method, headers })
    t.equal(answer.status, status, `${method} ${path}`)
    t.equal(answer.headers.allow, allow)
    t.equal(answer.body, detail === undefined ? '' : JSON.stringify({ detail }))
  }
})

t.test('the memory backend answers on the stream and the POST with 204', async (t) => {
  const backend = await memoryBackend(t)
  const stream = await open(t, backend.url + paths('claude').stream)
  const post = await postJson(backend.url + paths('claude').messages, echo(7, 'grüße'), { headers })
  t.equal(post.status, 204)
  t.equal(post.body, '')
  await waitFor(() => answers(stream).length === 2)
  const [answer, beat] = answers(stream)
  const text = echoed('gr\\u00fc\\u00dfe', who)
  t.strictSame(answer?.lines, [
    `data: {"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": "${text}"}]}, "id": 7}`,
  ])
  t.match(beat?.lines[0], /^data: \{"event": "heartbeat", "data": \{"timestamp": ".*"\}\}$/)
})

t.test(
  'the memory backend answers in the body without a stream, and always to cursor',
  async (t) => {
    const backend = await memoryBackend(t)
    const cursor = await open(t, backend.url + paths('cursor').stream)
    for (const client of ['claude', 'cursor']) {
      const post = await postJson(backend.url + paths(client).messages, echo(1, 'x'), { headers })
      t.equal(post.status, 200, client)
      t.equal(
        post.body,
        `{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"${echoed('x', who)}"}]},"id":1}`,
      )
    }
    t.strictSame(answers(cursor), [])
  },
)

t.test('all streams of one user and client compete for the answers', async (t) => {
  const backend = await memoryBackend(t)
  const { stream, messages } = paths('claude')
  const first = await open(t, backend.url + stream)
  const second = await open(t, backend.url + stream)
  const other = await open(t, backend.url + paths('claude', 'bob').stream)
  for (const id of [1, 2]) await postJson(backend.url + messages, echo(id, 'x'), { headers })
  await waitFor(() => answers(first).length + answers(second).length === 4)
  // The one waits longest for the answer, the other for the heartbeat that follows it: so they alternate.
  t.ok(answers(first).every((event) => /"id": \d/.test(event.data)))
  t.ok(answers(second).every((event) => event.data.includes('"heartbeat"')))
  t.strictSame(answers(other), [])
})

t.test('a stream that closes takes the queue of the others with it', async (t) => {
  const backend = await memoryBackend(t, { heartbeat: 50 })
  const { stream, messages } = paths('claude')
  const first = await open(t, backend.url + stream)
  const second = await open(t, backend.url + stream)
  first.destroy()
  await waitFor(() => second.ended !== 'no', { timeout: 1_000, what: 'the other stream to break' })
  t.equal(second.ended, 'broken')
  await waitFor(() => backend.openStreams() === 0)
  const post = await postJson(backend.url + messages, echo(1, 'x'), { headers })
  t.equal(post.status, 200, 'and answers come in the body')
})

t.test('a stream goes on with the queue that a newer stream has made', async (t) => {
  const backend = await memoryBackend(t, { heartbeat: 100 })
  const { stream, messages } = paths('claude')
  const first = await open(t, backend.url + stream)
  const second = await open(t, backend.url + stream)
  first.destroy()
  await waitFor(() => backend.openStreams() === 1)
  const third = await open(t, backend.url + stream)
  const beats = (): number => second.events.filter((event) => event.event === 'heartbeat').length
  const before = beats()
  await waitFor(() => beats() > before)
  await postJson(backend.url + messages, echo(1, 'x'), { headers })
  await waitFor(() => answers(second).length === 1 && answers(third).length === 1)
  t.equal(second.ended, 'no')
})

t.test('dropping the streams breaks them all', async (t) => {
  const backend = await memoryBackend(t)
  const stream = await open(t, backend.url + paths('claude').stream)
  backend.dropStreams()
  await waitFor(() => stream.ended === 'broken')
  t.equal(backend.openStreams(), 0)
})

t.test('the memory backend speaks JSON-RPC in its own way', async (t) => {
  const backend = await memoryBackend(t)
  const error = { code: -32603, message: "Tool 'x' not found" }
  const initialized = (version: string, capabilities: object) => ({
    jsonrpc: '2.0',
    result: {
      protocolVersion: version,
      capabilities,
      serverInfo: { name: 'Stand-in Memory', version: '1.0.0' },
    },
    id: 1,
  })
  const initialize = (protocolVersion: string) => ({
    method: 'initialize',
    params: { protocolVersion },
  })
  const more = { logging: {}, sampling: {} }
  const cases: readonly [object, number, object][] = [
    [
      initialize('2025-03-26'),
      200,
      initialized('2025-03-26', { tools: { listChanged: false }, ...more }),
    ],
    [
      initialize('2025-06-18'),
      200,
      initialized('2025-06-18', { tools: { listChanged: true }, ...more }),
    ],
    [initialize('2025-11-25'), 200, initialized('2024-11-05', { tools: {} })],
    [{ method: 'resources/list' }, 200, { jsonrpc: '2.0', result: { resources: [] }, id: 1 }],
    [{ method: 'prompts/list' }, 200, { jsonrpc: '2.0', result: { prompts: [] }, id: 1 }],
    [{ method: 'ping' }, 404, { error: "Method 'ping' not found" }],
    [{ method: 'notifications/initialized' }, 200, { status: 'acknowledged' }],
    [{ method: 'notifications/cancelled' }, 200, { status: 'acknowledged' }],
    [{ method: 'tools/call', params: { name: 'x' } }, 500, { jsonrpc: '2.0', error, id: 1 }],
  ]
  for (const [message, status, body] of cases) {
    const whole = { jsonrpc: '2.0', id: 1, ...message }
    const answer = await postJson(`${backend.url}/mcp/messages/`, whole, { headers })
    t.equal(answer.status, status, JSON.stringify(message))
    t.strictSame(JSON.parse(answer.body), body)
  }
})

t.test('what is no answer lands on the stream of the memory backend too', async (t) => {
  const backend = await memoryBackend(t)
  const stream = await open(t, backend.url + paths('claude').stream)
  const messages = backend.url + paths('claude').messages
  const cases = [
    [{ method: 'notifications/initialized' }, headers, '{"status": "acknowledged"}'],
    [{ method: 'ping', id: 3 }, headers, '{"error": "Method \'ping\' not found"}'],
    [{ method: 'tools/list', id: 4 }, {}, '{"error": "Missing user authentication details"}'],
  ] as const
  for (const [message, sent, expected] of cases) {
    const post = await postJson(messages, { jsonrpc: '2.0', ...message }, { headers: sent })
    t.equal(post.status, 204)
    await stream.find((event) => event.data === expected)
  }
  const post = await fetchRaw(messages, { method: 'POST', body: '', headers })
  t.equal(post.status, 204)
  const broken = await stream.find((event) => event.data.includes('"id": null'))
  t.match(broken.data, /"code": -32603, "message": "Internal error: Expecting value/)
})

t.test('the indented variant starts every data line with ten spaces', async (t) => {
  const backend = await memoryBackend(t, { indented: true })
  const stream = await open(t, backend.url + paths('claude').stream)
  await postJson(backend.url + paths('claude').messages, echo(1, 'x'), { headers })
  await waitFor(() => answers(stream).length === 2)
  const lines = stream.events.flatMap((event) => event.lines)
  t.equal(lines[1], '          data: /mcp/claude/messages/ann')
  t.ok(lines.filter((line) => line.includes('data:')).every((line) => /^ {10}data: /.test(line)))
  t.ok(lines.filter((line) => line.includes('event:')).every((line) => line.startsWith('event: ')))
})

t.test('the connected backend never names an endpoint', async (t) => {
  const backend = await startConnectedBackend({ heartbeat: 10 })
  t.teardown(() => backend.close())
  const stream = await open(t, `${backend.url}/sse`)
  await waitFor(() => stream.events.length >= 4)
  t.strictSame([...new Set(stream.events.map((event) => event.event))], ['connected', 'heartbeat'])
  const answer = await postJson(`${backend.url}/mcp`, echo(1, 'x'), { headers })
  t.match(JSON.parse(answer.body), { id: 1, result: { content: [{ text: echoed('x', who) }] } })
  t.equal(backend.calls.get('echo'), 1)
})

t.test('the null id backend greets with an answer to nothing', async (t) => {
  const backend = await startNullIdBackend()
  t.teardown(() => backend.close())
  const stream = await open(t, `${backend.url}/api/mcp`)
  await waitFor(() => stream.events.length >= 2)
  t.strictSame(stream.events[0]?.lines, [': connected'])
  t.match(JSON.parse(stream.events[1]?.data ?? ''), { jsonrpc: '2.0', id: null, result: {} })
  const answer = await postJson(`${backend.url}/api/mcp`, echo(1, 'x'), { headers })
  t.match(JSON.parse(answer.body), { id: 1, result: { content: [{ text: echoed('x', who) }] } })
})
