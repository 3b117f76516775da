// The backends of the first users, as stand-ins, and every client in front of them: what none of these clients could do
// directly works through the proxy, and no answer is lost, swapped or doubled.
import t from 'tap'
import type { Test } from 'tap'
import { drivers, sseClient, streamableClient } from '../fixtures/clients.ts'
import { startConnectedBackend } from '../fixtures/connected-backend.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import type { RawAnswer } from '../fixtures/http.ts'
import { startMemoryBackend } from '../fixtures/memory-backend.ts'
import type { MemoryBackend } from '../fixtures/memory-backend.ts'
import { startNullIdBackend } from '../fixtures/null-id-backend.ts'
import { startProxy } from '../fixtures/proxy.ts'
import type { Proxy, RouteOptions } from '../fixtures/proxy.ts'
import { echoed } from '../fixtures/tools.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const who = { user: 'ann', client: 'claude' }
const path = '/mcp/claude/sse/ann'

interface Backend {
  readonly calls: ReadonlyMap<string, number>
  readonly url: string
  close(): Promise<void>
}

interface Case {
  /** Starts the stand-in. */
  readonly start: () => Promise<Backend>
  /** Where its route stands and what is behind it. */
  readonly path: string
  readonly backend: (url: string) => Readonly<Record<string, unknown>>
  readonly messages?: string
  /** Where clients go; the route's path by default. */
  readonly at?: string
  readonly as?: { readonly user: string; readonly client: string }
}

const memoryHeaders = { 'x-user-id': '{user}', 'x-client-name': '{client}' }
const memoryPath = '/mcp/{client}/sse/{user}'
const memory = (url: string) => ({ url: url + memoryPath, headers: memoryHeaders })
const fixedHeaders = { 'x-user-id': who.user, 'x-client-name': who.client }

const cases: Readonly<Record<string, Case>> = {
  'the memory backend': {
    start: () => startMemoryBackend(),
    path: memoryPath,
    at: path,
    backend: memory,
  },
  'the memory backend, all named in the route': {
    start: () => startMemoryBackend(),
    path: memoryPath,
    at: path,
    messages: '/mcp/{client}/messages/{user}',
    backend: (url) => ({
      ...memory(url),
      dialect: 'sse',
      stream: 'shared',
      messages: '/mcp/{client}/messages/{user}',
    }),
  },
  'the memory backend, for a client that it answers in the body': {
    start: () => startMemoryBackend(),
    path: memoryPath,
    at: '/mcp/cursor/sse/ann',
    as: { user: 'ann', client: 'cursor' },
    backend: memory,
  },
  'the memory backend, indented': {
    start: () => startMemoryBackend({ indented: true }),
    path: memoryPath,
    at: path,
    backend: memory,
  },
  'the memory backend, its plain JSON-RPC path': {
    start: () => startMemoryBackend(),
    path: memoryPath,
    at: path,
    backend: (url) => ({ url: `${url}/mcp/messages/`, headers: memoryHeaders }),
  },
  'the connected backend, its plain JSON-RPC path': {
    start: () => startConnectedBackend({ heartbeat: 50 }),
    path: '/sse',
    backend: (url) => ({ url: `${url}/mcp`, headers: fixedHeaders }),
  },
  'the connected backend, its stream': {
    start: () => startConnectedBackend({ heartbeat: 50 }),
    path: '/sse',
    backend: (url) => ({
      url: `${url}/sse`,
      dialect: 'sse',
      messages: '/mcp',
      endpointTime: '500ms',
      headers: fixedHeaders,
    }),
  },
  'the null id backend': {
    start: () => startNullIdBackend(),
    path: '/api/mcp',
    backend: (url) => ({ url: `${url}/api/mcp`, headers: fixedHeaders }),
  },
}

const proxyFor = async (t: Test, routes: readonly RouteOptions[]): Promise<Proxy> => {
  const proxy = await startProxy({ routes, config: { keepAlive: '1s' } })
  t.teardown(() => proxy.stop())
  return proxy
}

/** A memory backend and the proxy in front of it. */
const memoryStage = async (
  t: Test,
  options?: Parameters<typeof startMemoryBackend>[0],
): Promise<{ backend: MemoryBackend; proxy: Proxy }> => {
  const backend = await startMemoryBackend(options)
  t.teardown(() => backend.close())
  const route = { name: 'memory', path: memoryPath, backend: memory(backend.url) }
  return { backend, proxy: await proxyFor(t, [route]) }
}

for (const [name, { start, path, backend, messages, at = path, as = who }] of Object.entries(
  cases,
)) {
  t.test(name, async (t) => {
    const standIn = await start()
    t.teardown(() => standIn.close())
    const route = {
      name: 'first',
      path,
      backend: backend(standIn.url),
      ...(messages && { messages }),
    }
    const proxy = await proxyFor(t, [route])
    let expected = 0
    for (const driver of drivers) {
      t.test(`serves ${driver.name}`, async (t) => {
        const client = await driver.connect(proxy.url + at)
        t.teardown(() => client.close())
        t.strictSame(await client.listTools(), ['add_memories', 'search_memory', 'echo', 'fail'])
        const message = `grüße \u2028 ${driver.name}`
        t.equal(await client.callTool('echo', { message }), echoed(message, as))
        t.equal(standIn.calls.get('echo'), ++expected)
        t.strictSame(await client.request('ping'), {})
        await t.rejects(client.callTool('fail', { reason: 'no luck' }), { message: /no luck/ })
        await t.rejects(client.request('no/such/method'), { code: /^-32/ })
        t.equal(await client.callTool('echo', { message: 'last' }), echoed('last', as))
        expected++
      })
    }
  })
}

/** Runs 1,000 calls of 24 clients at once: two users, three client names, four kinds of client. */
const storm = async (t: Test, backend: MemoryBackend, proxy: Proxy): Promise<void> => {
  const parties = ['ann', 'bob'].flatMap((user) =>
    ['claude', 'chatgpt', 'cursor'].flatMap((client) =>
      drivers.map((driver) => ({ user, client, driver })),
    ),
  )
  const connected = await Promise.all(
    parties.map(async ({ user, client, driver }) => ({
      who: { user, client },
      client: await driver.connect(`${proxy.url}/mcp/${client}/sse/${user}`),
    })),
  )
  t.teardown(() => Promise.all(connected.map(({ client }) => client.close())))
  const wrong: string[] = []
  await Promise.all(
    Array.from({ length: 1000 }, async (_, call) => {
      const party = connected[call % connected.length]
      if (party === undefined) return
      const message = `call ${call} of ${party.client.name}`
      const answer = await party.client
        .callTool('echo', { message })
        .catch((error: unknown) => `${error as Error}`)
      if (answer !== echoed(message, party.who)) wrong.push(`${message} got ${answer}`)
    }),
  )
  t.strictSame(wrong, [], 'each call has its own answer')
  t.equal(backend.calls.get('echo'), 1000)
  const posted = backend.posts.map((post) => /call \d+ of/.exec(post.body)?.[0]).filter(Boolean)
  t.equal(new Set(posted).size, 1000)
  t.equal(posted.length, 1000, 'each call was sent once')
  const doubled = connected.flatMap(({ client }) =>
    client.errors.filter((error) => /unknown message id/i.test(error.message)),
  )
  t.strictSame(doubled, [], 'no client got an answer it had not asked for')
}

for (const indented of [false, true]) {
  t.test(`1,000 calls at once, ${indented ? 'indented' : 'plain'}`, async (t) => {
    const { backend, proxy } = await memoryStage(t, { indented })
    await storm(t, backend, proxy)
  })
}

t.test('the stream that tells the dialect serves the first session too', async (t) => {
  // Closing it would make this backend break the session's own stream a heartbeat later.
  const { backend, proxy } = await memoryStage(t, { heartbeat: 20 })
  const client = await streamableClient.connect(proxy.url + path)
  t.teardown(() => client.close())
  for (let call = 0; call < 20; call++) {
    t.equal(await client.callTool('echo', { message: `${call}` }), echoed(`${call}`, who))
  }
  t.equal(backend.openedStreams(), 1)
})

t.test('streams that break leave no call without an answer and send none twice', async (t) => {
  const { backend, proxy } = await memoryStage(t)
  const clients = await Promise.all(
    [sseClient, streamableClient].map((driver) => driver.connect(proxy.url + path)),
  )
  t.teardown(() => Promise.all(clients.map((client) => client.close())))
  for (let round = 0; round < 5; round++) {
    const calls = clients.flatMap((client, index) =>
      Array.from({ length: 20 }, (_, call) =>
        client.callTool('echo', { message: `round ${round} client ${index} call ${call}` }),
      ),
    )
    const settled = Promise.allSettled(calls)
    const before = backend.posts.length
    await waitFor(() => backend.posts.length > before + 5)
    backend.dropStreams()
    for (const [index, outcome] of (await settled).entries()) {
      if (outcome.status === 'fulfilled') {
        const message = `round ${round} client ${Math.floor(index / 20)} call ${index % 20}`
        if (outcome.value !== echoed(message, who)) t.fail(`${message} got ${outcome.value}`)
      } else if (!/^-32\d{3}$/.test(String(outcome.reason.code))) {
        t.fail(`no JSON-RPC error: ${outcome.reason}`)
      }
    }
    for (const client of clients) {
      // A call that is sent before the proxy has seen the stream break is one of those that end with an error.
      const echo = (): Promise<string> => client.callTool('echo', { message: 'whole' })
      t.equal(await waitFor(echo, { what: 'the stream to be back' }), echoed('whole', who))
    }
  }
  const posted = backend.posts
    .map((post) => /round \d+ client \d+ call \d+/.exec(post.body)?.[0])
    .filter(Boolean)
  t.equal(new Set(posted).size, posted.length)
})

const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'raw', version: '1.0.0' },
  },
}

const both = { accept: 'application/json, text/event-stream' }

const readJson = (answer: RawAnswer): Record<string, unknown> => {
  // A client that takes both may be given either.
  const data = /^data: (.*)$/m.exec(answer.body)?.[1]
  return JSON.parse(data ?? answer.body) as Record<string, unknown>
}

t.test('initialize on the URL of the stream opens a session instead of a 405', async (t) => {
  const { backend, proxy } = await memoryStage(t)
  const direct = await postJson(backend.url + path, initialize)
  t.equal(direct.status, 405)

  const url = proxy.url + path
  const opened = await postJson(url, initialize, { headers: both })
  t.equal(opened.status, 200)
  t.match(readJson(opened), { id: 1, result: { protocolVersion: '2025-06-18' } })
  const session = String(opened.headers['mcp-session-id'])
  t.match(session, /^[\x21-\x7e]{16,}$/)
  const headers = { ...both, 'mcp-session-id': session, 'mcp-protocol-version': '2025-06-18' }

  const acknowledged = await postJson(
    url,
    { jsonrpc: '2.0', method: 'notifications/initialized' },
    { headers },
  )
  t.equal(acknowledged.status, 202)
  t.equal(acknowledged.body, '')
  const listed = await postJson(
    url,
    { jsonrpc: '2.0', id: 'two', method: 'tools/list' },
    { headers },
  )
  t.match(readJson(listed), { id: 'two', result: { tools: Array } })

  t.match((await fetchRaw(url, { method: 'DELETE', headers })).status, /^20[024]$/)
  const gone = await postJson(url, { jsonrpc: '2.0', id: 3, method: 'tools/list' }, { headers })
  t.equal(gone.status, 404)
  t.match(readJson(gone), { id: 3, error: { code: -32001 } })
})

t.test('a bare POST is answered in JSON with the id as it was', async (t) => {
  const { proxy } = await memoryStage(t)
  const url = proxy.url + path
  for (const id of ['1', '"one"', '9007199254740993', '-1', '"\\u0031"', '1.5']) {
    const body = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"message":"x"}}}`
    const headers = { 'content-type': 'application/json' }
    const answer = await fetchRaw(url, { method: 'POST', headers, body })
    t.equal(answer.status, 200)
    t.match(answer.headers['content-type'], /^application\/json/)
    t.match(readJson(answer), { result: { content: [{ text: echoed('x', who) }] } })
    t.match(answer.body, new RegExp(`"id": ?${id.replaceAll('\\', '\\\\')}\\s*[,}]`))
  }
})

t.test('a body that is no message is refused with a JSON-RPC error', async (t) => {
  const { backend, proxy } = await memoryStage(t)
  const headers = { 'content-type': 'application/json' }
  for (const [body, code] of [
    ['', -32700],
    ['{', -32700],
    ['[]', -32600],
    ['7', -32600],
    ['{"jsonrpc":"2.0","id":1}', -32600],
  ] as const) {
    const answer = await fetchRaw(proxy.url + path, { method: 'POST', headers, body })
    t.equal(answer.status, 400, body)
    t.match(readJson(answer), { jsonrpc: '2.0', error: { code, message: String } })
  }
  t.strictSame(backend.posts, [], 'and the backend hears nothing of it')
})

const idOf = (data: string): unknown => (JSON.parse(data) as { id: unknown }).id

t.test(
  'an SSE client sees one endpoint and its answers, whatever else the backend sends',
  async (t) => {
    const { backend, proxy } = await memoryStage(t, { heartbeat: 20 })
    const stream = await openStream(proxy.url + path)
    t.teardown(() => stream.destroy())
    t.equal(stream.headers['content-type'], 'text/event-stream')
    const endpoint = await stream.find(() => true)
    t.equal(endpoint.event, 'endpoint')
    const target = new URL(endpoint.data, proxy.url)
    t.equal(target.origin, proxy.url)
    t.equal(backend.openStreams(), 0, 'the backend is opened by the first message only')

    const messages = [
      initialize,
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', id: 2, method: 'tools/list' },
      { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 99 } },
      { jsonrpc: '2.0', id: 'three', method: 'ping' },
    ]
    for (const message of messages) {
      const answer = await postJson(target.href, message)
      t.equal(answer.status, 202)
      const { id } = message
      if (id === undefined) continue
      await stream.find(({ event, data }) => event === 'message' && idOf(data) === id)
    }
    await waitFor(() => stream.events.some((event) => event.lines[0]?.startsWith(':')), {
      what: 'a keep-alive comment',
    })
    const events = stream.events.filter((event) => !event.lines[0]?.startsWith(':'))
    t.strictSame(
      events.map((event) => event.event),
      ['endpoint', 'message', 'message', 'message'],
    )
    t.strictSame(
      events.slice(1).map((event) => idOf(event.data)),
      [1, 2, 'three'],
    )
  },
)
