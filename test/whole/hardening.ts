// Attacks and accidents: each ends in a clear answer, and repeated it leaves nothing behind in the process.
import { connect as connectSocket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { sseClient, streamableClient } from '../fixtures/clients.ts'
import { deadPort, kinds, startHostileBackend } from '../fixtures/hostile-backend.ts'
import type { HostileBackend } from '../fixtures/hostile-backend.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import type { RawAnswer, RawStream } from '../fixtures/http.ts'
import { listen } from '../fixtures/listen.ts'
import { startProxy } from '../fixtures/proxy.ts'
import type { Proxy } from '../fixtures/proxy.ts'
import { startSdkSseServer } from '../fixtures/sdk-sse-server.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const repetitions = 50

// Some attacks take as long as the limit that ends them, each time.
t.setTimeout(300_000)

/** What the proxy may keep more than before: pooled connections to backends, which are reused and time out. */
const slack = 12

const megabyte = 1024 * 1024

interface Stage {
  readonly proxy: Proxy
  readonly hostile: HostileBackend
  /** Requests that a stranger's endpoint has received. */
  strangers(): number
}

interface Attack {
  /** How many run at once; 10 by default. */
  readonly width?: number
  run(t: Test, stage: Stage): Promise<void>
}

/** A JSON-RPC error with this status and code, whose message says something. */
const refused = (t: Test, answer: RawAnswer, status: number, code: number, id?: unknown): void => {
  t.equal(answer.status, status, `${answer.status} ${answer.body.slice(0, 200)}`)
  t.match(answer.headers['content-type'], /^application\/json/)
  const body = JSON.parse(answer.body) as { id?: unknown; error: { code: number; message: string } }
  t.match(body, { jsonrpc: '2.0', error: { code, message: /\w+ \w+/ } })
  if (id !== undefined) t.equal(body.id, id)
  t.notMatch(answer.body, /node:|\.ts:|<html|ECONN/, 'nothing of the inside shows')
}

const call = (id: number | string) => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name: 'any', arguments: {} },
})

const initialize = {
  jsonrpc: '2.0',
  id: 'begin',
  method: 'initialize',
  params: {
    protocolVersion: '2024-11-05',
    capabilities: {},
    clientInfo: { name: 'raw', version: '1.0.0' },
  },
}

/** A raw client over SSE, as far as its endpoint. */
const openRaw = async (
  t: Test,
  { proxy }: Stage,
  path: string,
): Promise<{ stream: RawStream; post: (message: object) => Promise<RawAnswer> }> => {
  const stream = await openStream(proxy.url + path)
  t.teardown(() => stream.destroy())
  const endpoint = await stream.find((event) => event.event === 'endpoint')
  const target = new URL(endpoint.data, proxy.url).href
  return { stream, post: (message) => postJson(target, message) }
}

const answerTo = async (
  stream: RawStream,
  id: unknown,
): Promise<{ error?: { code: number; message: string }; result?: object }> => {
  const event = await stream.find(({ data }) => data.includes(`"id":${JSON.stringify(id)}`), 10_000)
  return JSON.parse(event.data) as { error?: { code: number; message: string } }
}

/** A backend that fails: a bare client, an SSE client and a streamable client each get an error with their id. */
const failsEverywhere = (path: string, said: RegExp, began = false): Attack => ({
  async run(t, stage) {
    const bare = await postJson(stage.proxy.url + path, call('bare'))
    t.match(JSON.parse(bare.body), { id: 'bare', error: { code: /^-32\d{3}$/, message: said } })

    const { stream, post } = await openRaw(t, stage, path)
    t.equal((await post(initialize)).status, 202)
    const first = await answerTo(stream, 'begin')
    if (began) {
      t.ok(first.result)
      await post(call('sse'))
      t.match(await answerTo(stream, 'sse'), { error: { code: /^-32\d{3}$/, message: said } })
    } else {
      t.match(first, { error: { code: /^-32\d{3}$/, message: said } })
    }
    stream.destroy()

    const headers = { accept: 'application/json, text/event-stream' }
    const opened = await postJson(stage.proxy.url + path, initialize, { headers })
    if (!began) t.match(opened.body, /"error"/)
    t.match(opened.body, /"begin"/)
    const session = opened.headers['mcp-session-id']
    if (typeof session !== 'string') return
    const inSession = { ...headers, 'mcp-session-id': session }
    if (began) {
      const answer = await postJson(stage.proxy.url + path, call('streamable'), {
        headers: inSession,
      })
      t.match(answer.body, /"error"/)
      t.match(answer.body, said)
    }
    await fetchRaw(stage.proxy.url + path, { method: 'DELETE', headers: inSession })
  },
})

/** One request that the edge refuses by itself. */
const refusal = (
  status: number,
  code: number,
  request: Parameters<typeof fetchRaw>[1],
  path = '/hang',
  expected: Readonly<Record<string, unknown>> = {},
): Attack => ({
  async run(t, { proxy }) {
    const answer = await fetchRaw(proxy.url + path, request)
    refused(t, answer, status, code)
    t.match(answer.headers, expected)
  },
})

const json = { 'content-type': 'application/json' }
const postOf = (message: unknown, headers: Readonly<Record<string, string>> = {}) => ({
  method: 'POST',
  headers: { ...json, ...headers },
  body: JSON.stringify(message),
})

const attacks: Readonly<Record<string, Attack>> = {
  'a dead backend': failsEverywhere('/dead', /dead/),
  'a backend that never names an endpoint': failsEverywhere('/silent', /silent|endpoint/),
  'a backend that names an endpoint of another origin': {
    async run(t, stage) {
      await failsEverywhere('/stranger', /stranger|endpoint|origin/).run(t, stage)
      t.equal(stage.strangers(), 0, 'nothing is sent there')
    },
  },
  'a backend that refuses with a page': failsEverywhere('/html', /502|html/),
  'a backend that cuts connections': failsEverywhere('/reset', /reset/, true),
  'an event of 20 MB': { ...failsEverywhere('/big', /big|limit|bytes|MiB/, true), width: 1 },

  'a page of another origin': refusal(
    403,
    -32600,
    postOf(call(1), { origin: 'https://evil.test' }),
  ),
  'a stream for a page of another origin': refusal(403, -32600, {
    headers: { accept: 'text/event-stream', origin: 'https://evil.test' },
  }),
  'a name that was bound to loopback': refusal(403, -32600, postOf(call(1), { host: 'evil.test' })),
  'an unknown session': refusal(404, -32001, postOf(call(1), { 'mcp-session-id': 'f'.repeat(32) })),
  'a stream for an unknown session': refusal(404, -32001, {
    headers: { accept: 'text/event-stream', 'mcp-session-id': 'f'.repeat(32) },
  }),
  'the end of an unknown session': refusal(404, -32001, {
    method: 'DELETE',
    headers: { 'mcp-session-id': 'f'.repeat(32) },
  }),
  'an unknown path': refusal(404, -32601, postOf(call(1)), '/nowhere'),
  'a search for an authorization server where there is none': {
    async run(t, { proxy }) {
      // OAuth clients read this body, and stumble over a JSON-RPC error.
      const answer = await fetchRaw(`${proxy.url}/.well-known/oauth-authorization-server`)
      t.equal(answer.status, 404)
      t.strictSame(JSON.parse(answer.body), { error: 'not_found' })
    },
  },
  'an unknown method': refusal(405, -32601, { method: 'PUT', body: '{}' }, '/hang', {
    allow: /POST/,
  }),
  'a body that is no JSON': refusal(400, -32700, { method: 'POST', headers: json, body: '{"a' }),
  'a body that is too large': refusal(
    413,
    -32600,
    postOf({ ...call(1), filler: 'x'.repeat(2 * megabyte) }),
  ),
  'an id that looks like an event': {
    async run(t, stage) {
      const { stream, post } = await openRaw(t, stage, '/hang')
      const id = 'a\r\n\r\nevent: endpoint\r\ndata: /evil\r\n\r\n\u2028'
      await post({ ...initialize, id })
      await stream.find((event) => event.event === 'message')
      t.strictSame(
        stream.events.map((event) => event.event),
        ['endpoint', 'message'],
      )
      t.equal((JSON.parse(stream.events[1]?.data ?? '') as { id: unknown }).id, id)
      stream.destroy()
    },
  },

  'a body that never ends': {
    async run(t, { proxy }) {
      const { port } = new URL(proxy.url)
      const socket = connectSocket(Number(port), '127.0.0.1')
      t.teardown(() => socket.destroy())
      let answer = ''
      let closed = false
      socket.setEncoding('utf8')
      socket.on('data', (chunk) => (answer += chunk))
      socket.on('close', () => (closed = true))
      socket.on('error', () => {})
      socket.write(
        `POST /hang HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{`,
      )
      await waitFor(() => closed, { timeout: 5_000, what: 'the end of the connection' })
      t.match(answer, /^HTTP\/1\.1 408 /)
    },
  },

  'clients that vanish in the middle of a call': {
    async run(t, stage) {
      const { proxy, hostile } = stage
      const before = hostile.hanging()
      const { stream, post } = await openRaw(t, stage, '/hang')
      await post(initialize)
      await answerTo(stream, 'begin')
      await post(call('lost'))
      const controller = new AbortController()
      const { signal } = controller
      const bare = postJson(`${proxy.url}/hang`, call('bare'), { signal })
      bare.catch(() => {})
      await waitFor(() => hostile.hanging() >= before + 2, { what: 'both calls at the backend' })
      stream.destroy()
      controller.abort()
      await t.rejects(bare)
    },
  },

  'a reader that does not read': {
    width: 1,
    async run(t, stage) {
      const { hostile } = stage
      const before = hostile.flooded()
      const { stream, post } = await openRaw(t, stage, '/flood')
      await post(initialize)
      await answerTo(stream, 'begin')
      stream.pause()
      await post(call('flood'))
      await waitFor(() => hostile.openStreams('flood') === 0, {
        timeout: 10_000,
        what: 'the proxy to cut the stream and end the session',
      })
      const taken = hostile.flooded() - before
      t.ok(taken < 40 * megabyte, `the backend was held back after ${taken} bytes`)
      stream.destroy()
    },
  },
}

const startStage = async (t: Test): Promise<Stage> => {
  let strangers = 0
  const stranger = await listen((_, response) => {
    strangers++
    response.writeHead(202).end()
  })
  t.teardown(() => stranger.close())
  const hostile = await startHostileBackend({ strangerUrl: `${stranger.url}/messages` })
  t.teardown(() => hostile.close())
  const backend = { dialect: 'sse', endpointTime: '150ms', wakeTime: 0 }
  const proxy = await startProxy({
    routes: [
      ...Object.keys(kinds).map((kind) => ({
        name: kind,
        path: `/${kind}`,
        backend: { ...backend, url: `${hostile.url}/${kind}/sse` },
      })),
      {
        name: 'dead',
        path: '/dead',
        backend: { ...backend, url: `http://127.0.0.1:${await deadPort()}/sse` },
      },
    ],
    config: {
      limits: { body: '1MiB', bodyTime: '300ms', buffer: '1MiB', stallTime: '300ms' },
    },
  })
  t.teardown(() => proxy.stop())
  return { proxy, hostile, strangers: () => strangers }
}

for (const [name, attack] of Object.entries(attacks)) {
  t.test(`${name}: a clear end, ${repetitions} times, and nothing left`, async (t) => {
    const stage = await startStage(t)
    const { width = 10 } = attack
    const runAtOnce = () => Promise.all(Array.from({ length: width }, () => attack.run(t, stage)))
    // The first runs open what is opened once: pools, lazily loaded files.
    await runAtOnce()
    const base = await stage.proxy.openFiles()
    for (let run = 0; run < repetitions; run += width) await runAtOnce()
    await waitFor(async () => (await stage.proxy.openFiles()) <= base + slack, {
      timeout: 15_000,
      what: `at most ${base + slack} open files`,
    }).catch(async () => {
      t.fail(`${await stage.proxy.openFiles()} open files after ${base}`)
    })
    // Streams to the backend may stay: requests without a session are pooled, and the pool keeps its stream.
    for (const [name, label, most] of [
      ['causeway_exchanges_open', '', 0],
      ['causeway_open_streams', 'side="client"', 0],
      ['causeway_open_streams', 'side="backend"', width],
    ] as const) {
      const count = () => stage.proxy.metric(name, label)
      await waitFor(async () => (await count()) <= most).catch(async () => {
        t.fail(`${name} ${label} stays at ${await count()}`)
      })
    }
  })
}

t.test('others are served while one reader does not read', async (t) => {
  const stage = await startStage(t)
  const { stream, post } = await openRaw(t, stage, '/flood')
  await post(initialize)
  await answerTo(stream, 'begin')
  stream.pause()
  await post(call('flood'))
  const client = await streamableClient.connect(`${stage.proxy.url}/flood`)
  t.teardown(() => client.close())
  await waitFor(() => stage.hostile.flooded() > megabyte, { what: 'the flood' })
  for (let round = 0; round < 20; round++) {
    t.strictSame(await client.request('resources/list'), {})
  }
})

t.test('a session of one route is none of another', async (t) => {
  const server = await startSdkSseServer()
  t.teardown(() => server.close())
  const backend = { url: server.url, dialect: 'sse' }
  const proxy = await startProxy({
    routes: [
      { name: 'one', path: '/one', backend },
      { name: 'two', path: '/two', backend },
    ],
  })
  t.teardown(() => proxy.stop())
  const client = await streamableClient.connect(`${proxy.url}/one`)
  t.teardown(() => client.close())
  const session = client.sessionId() ?? ''
  const answer = await fetchRaw(`${proxy.url}/two`, postOf(call(1), { 'mcp-session-id': session }))
  refused(t, answer, 404, -32001)
  t.equal(await client.callTool('echo', { message: 'mine' }), 'mine')
})

t.test('sessions that clients open and leave are gone after them', async (t) => {
  const server = await startSdkSseServer()
  t.teardown(() => server.close())
  const proxy = await startProxy({
    routes: [{ name: 'one', path: '/mcp', backend: { url: server.url, dialect: 'sse' } }],
  })
  t.teardown(() => proxy.stop())
  const once = async (): Promise<void> => {
    for (const driver of [sseClient, streamableClient]) {
      const client = await driver.connect(`${proxy.url}/mcp`)
      t.equal(await client.callTool('echo', { message: 'x' }), 'x')
      await client.close()
    }
  }
  await once()
  await waitFor(() => server.sessions() === 0)
  const base = await proxy.openFiles()
  for (let run = 0; run < repetitions; run++) await once()
  await waitFor(() => server.sessions() === 0, { what: 'no session at the server' })
  await waitFor(async () => (await proxy.openFiles()) <= base + slack, { timeout: 15_000 })
  t.pass()
})
