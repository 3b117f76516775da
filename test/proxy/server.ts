import type { ServerResponse } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { startProxy } from '../../src/proxy/server.ts'
import { configured, loggedServices } from '../fixtures/configured.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import { listen } from '../fixtures/listen.ts'
import { answer, scripted } from '../fixtures/scripted.ts'
import type { Scripted } from '../fixtures/scripted.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const both = { accept: 'application/json, text/event-stream' }
const call = (id: unknown, method = 'tools/list') => ({ jsonrpc: '2.0', id, method })
const initialize = {
  ...call('i', 'initialize'),
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'c', version: '1' },
  },
}

/** A backend of plain JSON-RPC; answers to `slow/*` are left to the test. */
interface Backend extends Scripted {
  readonly held: (() => void)[]
}

async function startBackend(t: Test): Promise<Backend> {
  const held: (() => void)[] = []
  const backend = await scripted(t, ({ body }, response: ServerResponse) => {
    if (body === '') return answer(response, 'plain', { type: 'text/plain' })
    const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
    if (id === undefined) return answer(response, '', { status: 202 })
    const result = method === 'initialize' ? { protocolVersion: '2025-06-18' } : { method }
    const text = JSON.stringify({ jsonrpc: '2.0', id, result })
    const give = () => answer(response, text, { type: 'application/json' })
    if (method.startsWith('slow/')) held.push(give)
    else give()
  })
  return { ...backend, held }
}

interface Setting {
  readonly config?: Record<string, unknown>
  readonly route?: Record<string, unknown>
}

/** A proxy with the route `/mcp` before a backend of plain JSON-RPC. */
async function setUp(t: Test, { config = {}, route = {} }: Setting = {}) {
  const backend = await startBackend(t)
  const services = loggedServices(systemClock)
  const mcp = {
    name: 'shop',
    path: '/mcp',
    backend: { url: backend.url, dialect: 'rpc' },
    ...route,
  }
  const other = { name: 'rest', path: '/rest/*', passthrough: backend.url }
  const proxy = await startProxy(configured({ routes: [mcp, other], ...config }), services)
  let stopped: Promise<void> | undefined
  const stop = () => (stopped ??= proxy.stop())
  t.teardown(stop)
  return { backend, services, proxy, url: `${proxy.url}/mcp`, stop }
}

/** A connection on which a test speaks for itself. */
function dialogue(t: Test, url: string) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let heard = ''
  let over = false
  socket.setEncoding('utf8').on('data', (text: string) => (heard += text))
  socket.on('error', () => undefined).on('close', () => (over = true))
  t.teardown(() => socket.destroy())
  return {
    write: (text: string) => void socket.write(text),
    hear: (wanted: RegExp) =>
      waitFor(() => (wanted.test(heard) ? heard : undefined), { what: String(wanted) }),
    closed: () => waitFor(() => over, { what: 'the end of the connection' }),
    heard: () => heard,
  }
}

const rawPost = (message: unknown): string => {
  const body = JSON.stringify(message)
  const length = Buffer.byteLength(body)
  return `POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${length}\r\n\r\n${body}`
}

t.test('a request is served by its dialect, at one path for all of them', async (t) => {
  const { url } = await setUp(t)
  const bare = await postJson(url, call('a'))
  t.match(JSON.parse(bare.body), { id: 'a', result: { method: 'tools/list' } })

  const opened = await postJson(url, initialize, { headers: both })
  const session = String(opened.headers['mcp-session-id'])
  const within = await postJson(url, call(2), { headers: { ...both, 'mcp-session-id': session } })
  t.match(JSON.parse(within.body), { id: 2, result: {} })

  const stream = await openStream(url)
  t.teardown(() => stream.destroy())
  const { data } = await stream.find(({ event }) => event === 'endpoint')
  t.equal((await postJson(new URL(data, url).href, initialize)).status, 202)
  await stream.find(({ event, data: text }) => event === 'message' && text.includes('"i"'))
})

t.test('only loopback names and those of the configuration are served', async (t) => {
  const { url, backend } = await setUp(t, { config: { hosts: ['mcp.test'] } })
  for (const [host, status] of [
    ['localhost:1', 200],
    ['mcp.test', 200],
    ['evil.test', 403],
    ['127.0.0.1.evil.test', 403],
  ] as const) {
    const answered = await postJson(url, call(1), { headers: { host } })
    t.equal(answered.status, status, host)
    if (status === 403) t.match(JSON.parse(answered.body), { error: { code: -32600 } })
  }
  t.equal(backend.seen.length, 2)
})

t.test('browsers of allowed origins are let in and told what they may read', async (t) => {
  const { url } = await setUp(t, { config: { origins: ['https://app.test'] } })
  const headers = { origin: 'https://app.test' }
  const cors = {
    'access-control-allow-origin': 'https://app.test',
    'access-control-expose-headers':
      'Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After',
    vary: 'Origin',
  }
  const preflight = await fetchRaw(url, {
    method: 'OPTIONS',
    headers: {
      ...headers,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'mcp-session-id, x-own',
    },
  })
  t.equal(preflight.status, 204)
  t.match(preflight.headers, {
    ...cors,
    'access-control-allow-methods': 'GET, HEAD, POST, DELETE, OPTIONS',
    'access-control-allow-headers': 'mcp-session-id, x-own',
    'access-control-max-age': /\d+/,
  })
  const missing = url.replace('/mcp', '/nowhere')
  const stream = await openStream(url, { headers })
  t.teardown(() => stream.destroy())
  const answers = [
    await postJson(url, call(1), { headers }),
    await postJson(url, 'no message', { headers }),
    await fetchRaw(missing, { headers }),
    stream,
  ]
  t.same(
    answers.map(({ status }) => status),
    [200, 400, 404, 200],
  )
  for (const each of answers) t.match(each.headers, cors, `status ${each.status}`)
  t.equal((await fetchRaw(missing, { method: 'OPTIONS', headers })).status, 204)
  const plain = await postJson(url, call(1))
  t.notOk('access-control-allow-origin' in plain.headers)
})

t.test('browsers of other origins are not', async (t) => {
  const { url, backend } = await setUp(t)
  for (const method of ['POST', 'GET', 'OPTIONS', 'DELETE']) {
    const refused = await fetchRaw(url, { method, headers: { origin: 'https://evil.test' } })
    t.equal(refused.status, 403, method)
    t.notOk('access-control-allow-origin' in refused.headers)
  }
  t.equal(backend.seen.length, 0)
})

t.test('what a route does not take is 405 with what it does', async (t) => {
  const everything = 'GET, HEAD, POST, DELETE, OPTIONS'
  const cases: [string[] | undefined, string, Record<string, string>, string][] = [
    [undefined, 'PUT', {}, everything],
    [undefined, 'PATCH', {}, everything],
    [undefined, 'GET', { accept: 'text/html' }, everything],
    [['rpc'], 'GET', { accept: 'text/event-stream' }, 'POST, OPTIONS'],
    [['rpc'], 'DELETE', { 'mcp-session-id': 'x' }, 'POST, OPTIONS'],
    [['sse'], 'DELETE', {}, 'GET, HEAD, POST, OPTIONS'],
    [['streamable'], 'GET', { accept: 'text/event-stream' }, everything],
  ]
  for (const [clients, method, headers, allow] of cases) {
    const { url } = await setUp(t, { route: { ...(clients && { clients }) } })
    const refused = await fetchRaw(url, { method, headers })
    t.equal(refused.status, 405, `${method} where ${clients?.join() ?? 'all'} are served`)
    t.equal(refused.headers['allow'], allow)
    t.match(JSON.parse(refused.body), { error: { code: -32601, message: /"shop"/ } })
  }
})

t.test('a route may narrow what POSTs it takes', async (t) => {
  const cases: [string[], unknown, number][] = [
    [['rpc'], call(1), 200],
    [['rpc'], initialize, 200],
    [['streamable'], initialize, 200],
    [['streamable'], call(1), 405],
    [['sse'], call(1), 405],
    [['sse'], initialize, 405],
  ]
  for (const [clients, message, status] of cases) {
    const { url } = await setUp(t, { route: { clients } })
    const answered = await postJson(url, message, { headers: both })
    const { method, id } = message as { method: string; id: unknown }
    t.equal(answered.status, status, `${method} where ${clients.join()} is served`)
    t.equal('mcp-session-id' in answered.headers, clients[0] === 'streamable' && status === 200)
    t.match(JSON.parse(answered.body), { id }, 'an answer to the request that it was')
  }
})

t.test('HEAD is answered without a body', async (t) => {
  const { url, backend } = await setUp(t)
  const { status, headers, body } = await fetchRaw(url, { method: 'HEAD' })
  t.same([status, body], [200, ''])
  t.equal(headers['allow'], 'GET, HEAD, POST, DELETE, OPTIONS')
  t.equal(backend.seen.length, 0)
})

t.test('a path without a route is 404, in the words of whoever asks', async (t) => {
  const { proxy } = await setUp(t)
  const unknown = await postJson(`${proxy.url}/other`, call(1))
  t.equal(unknown.status, 404)
  t.match(JSON.parse(unknown.body), { error: { code: -32601, message: /"\/other"/ } })
  for (const path of ['/.well-known/oauth-protected-resource/mcp', '/register', '/token']) {
    const { status, body } = await fetchRaw(proxy.url + path)
    t.same([status, body], [404, '{"error":"not_found"}'], path)
  }
})

t.test('a refusal carries the id of the request', async (t) => {
  const { url, services } = await setUp(t)
  const headers = { ...both, 'mcp-session-id': 'lost' }
  const { status, body } = await postJson(url, call('mine'), { headers })
  t.equal(status, 404)
  t.match(JSON.parse(body), { id: 'mine', error: { code: -32001 } })
  const batch = await postJson(url, [call(1), call(2)], { headers })
  t.match(JSON.parse(batch.body), { id: null })
  t.match(
    services.lines().filter(({ msg }) => msg === 'request refused'),
    [{ level: 'info', route: 'shop', code: 'SESSION_UNKNOWN' }, {}],
  )
})

t.test('a body that is too large or too slow ends its connection', async (t) => {
  const { url } = await setUp(t, { config: { limits: { body: '100B', bodyTime: '50ms' } } })
  const large = dialogue(t, url)
  large.write('POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n')
  t.match(await large.hear(/"error"/), /^HTTP\/1\.1 413 .*limits\.body, 100 bytes/s)
  await large.closed()
  const slow = dialogue(t, url)
  slow.write('POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{')
  t.match(await slow.hear(/"error"/), /^HTTP\/1\.1 408 .*limits\.bodyTime, 50 ms/s)
  await slow.closed()
})

t.test('a body in another charset is read by it', async (t) => {
  const { url, backend } = await setUp(t)
  const body = Buffer.from(JSON.stringify({ ...call(1), params: { name: 'é' } }), 'latin1')
  const headers = { 'content-type': 'application/json; charset=latin1' }
  t.equal((await fetchRaw(url, { method: 'POST', headers, body })).status, 200)
  t.match(backend.seen[0]?.body, /"é"/)
})

t.test('open streams are limited, and counted down when they close', async (t) => {
  const { url } = await setUp(t, { config: { limits: { streams: 2 } } })
  const streams = [await openStream(url), await openStream(url)]
  const refused = await fetchRaw(url, { headers: { accept: 'text/event-stream' } })
  t.equal(refused.status, 503)
  t.equal(refused.headers['retry-after'], '5')
  t.match(JSON.parse(refused.body), { error: { message: /limits\.streams is 2/ } })
  t.equal((await postJson(url, call(1))).status, 200, 'other requests are served')
  streams[0]?.destroy()
  const next = await waitFor(async () => {
    const stream = await openStream(url)
    return stream.status === 200 ? stream : undefined
  })
  for (const stream of [...streams, next]) stream.destroy()
})

t.test('clients are told to POST where they can reach us', async (t) => {
  const cases: [Setting, string, string][] = [
    [{}, '/mcp', '/mcp?'],
    [{ config: { publicUrl: 'https://public.test/base/' } }, '/mcp', '/base/mcp?'],
    [{ route: { path: '/mcp/{user}' } }, '/mcp/a%20b?x=1', '/mcp/a%20b?'],
    [
      { route: { path: '/mcp/{user}', messages: '/messages/{user}' } },
      '/mcp/a%20b',
      '/messages/a%20b?',
    ],
  ]
  for (const [setting, path, expected] of cases) {
    const { proxy } = await setUp(t, setting)
    const stream = await openStream(proxy.url + path)
    const { data } = await stream.find(({ event }) => event === 'endpoint')
    t.ok(data.startsWith(`${expected}sessionId=`), data)
    stream.destroy()
  }
})

t.test('what a route sets reaches the backend, what a client poses as does not', async (t) => {
  const { proxy, backend } = await setUp(t, { route: { path: '/mcp/{user}' } })
  const headers = { 'x-user-id': 'somebody', authorization: 'Bearer x' }
  await postJson(`${proxy.url}/mcp/ann`, call(1), { headers })
  const [seen] = backend.posts()
  t.equal(seen?.headers['authorization'], 'Bearer x')
  t.notOk('x-user-id' in (seen?.headers ?? {}))
  t.equal(seen?.headers['x-forwarded-for'], '127.0.0.1')
})

t.test('requests are counted by route, dialect and status', async (t) => {
  const { url, services } = await setUp(t)
  await postJson(url, call(1))
  await fetchRaw(url.replace('/mcp', '/rest/a'))
  await fetchRaw(url.replace('/mcp', '/nowhere'))
  const going = new AbortController()
  postJson(url, call(2, 'slow/one'), { signal: going.signal }).catch(() => undefined)
  await waitFor(async () => (await services.metrics.text()).includes('exchanges_open 1'))
  going.abort()
  const count = (labels: string) =>
    waitFor(async () => (await services.metrics.text()).includes(`requests_total{${labels}} 1`), {
      what: labels,
    })
  await count('route="shop",dialect="rpc",method="POST",status="200"')
  await count('route="rest",dialect="passthrough",method="GET",status="200"')
  await count('route="none",dialect="none",method="GET",status="404"')
  await count('route="shop",dialect="rpc",method="POST",status="499"')
  t.pass()
})

t.test('WebSockets belong to passthrough routes, other upgrades are not needed', async (t) => {
  const { url, backend } = await setUp(t)
  const upgrade = (path: string, protocol: string, headers = '') =>
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: ${protocol}\r\n${headers}\r\n`
  const cases: [string, RegExp][] = [
    [upgrade('/mcp', 'websocket'), /^HTTP\/1\.1 404 /],
    [upgrade('/nowhere', 'websocket'), /^HTTP\/1\.1 404 /],
    [upgrade('/rest/x', 'websocket', 'Origin: https://evil.test\r\n'), /^HTTP\/1\.1 403 /],
    [upgrade('/mcp', 'h2c', 'Accept: text/event-stream\r\n'), /^HTTP\/1\.1 200 .*endpoint/s],
  ]
  for (const [request, expected] of cases) {
    const socket = dialogue(t, url)
    socket.write(request)
    t.match(await socket.hear(expected), expected, request)
  }
  t.equal(backend.seen.length, 0)
})

t.test('an address that is taken is a fault of the configuration', async (t) => {
  const taken = await listen((_request, response) => response.end())
  t.teardown(() => taken.close())
  const routes = [{ name: 'shop', path: '/mcp', backend: { url: 'http://backend.test/' } }]
  const { port } = taken
  for (const config of [
    { routes, listen: { host: '127.0.0.1', port } },
    { routes, admin: { host: '127.0.0.1', port } },
  ]) {
    await t.rejects(startProxy(configured(config), loggedServices(systemClock)), {
      code: 'CONFIG_INVALID',
      message: new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}`),
    })
  }
})

t.test('the admin listener tells whether the process is ready', async (t) => {
  const { proxy, backend, url, stop } = await setUp(t, {
    config: { admin: { host: '127.0.0.1', port: 0 } },
  })
  t.equal((await fetchRaw(`${proxy.adminUrl}/readyz`)).status, 200)
  const running = postJson(url, call(1, 'slow/one'))
  await waitFor(() => backend.held.length === 1)
  const stopping = stop()
  t.equal((await fetchRaw(`${proxy.adminUrl}/readyz`)).status, 503, 'not while it stops')
  backend.held[0]?.()
  t.equal((await running).status, 200)
  await stopping
  await t.rejects(fetchRaw(`${proxy.adminUrl}/readyz`))
})

t.test('stopping lets what runs finish, and takes nothing new', async (t) => {
  const { url, backend, stop } = await setUp(t)
  const socket = dialogue(t, url)
  socket.write(rawPost(call('old', 'slow/one')))
  await waitFor(() => backend.held.length === 1)
  const stream = await openStream(url)
  const stopping = stop()
  await t.rejects(postJson(url, call(2)), { code: 'ECONNREFUSED' })
  socket.write(rawPost(initialize))
  socket.write(rawPost(call('new')))
  t.equal(stream.ended, 'no', 'streams stand as long as something runs')
  backend.held[0]?.()
  await stopping
  const heard = await socket.hear(/"new"/)
  const [old, begun, single] = heard.split(/(?=HTTP\/1\.1 )/)
  t.match(old, /^HTTP\/1\.1 200 .*"id":"old".*"result"/s)
  t.match(begun, /^HTTP\/1\.1 503 .*retry-after: 1.*"id":"i".*-32000/is)
  t.match(single, /^HTTP\/1\.1 503 .*"id":"new".*-32000/s)
  await socket.closed()
  await waitFor(() => stream.ended !== 'no')
  t.equal(stream.ended, 'end', 'they end in good order')
  t.same(stream.events.at(-1)?.lines, ['retry: 1000'])
})

t.test('what does not finish in time is told so', async (t) => {
  const { url, backend, stop } = await setUp(t, { config: { drainTime: '50ms' } })
  const running = postJson(url, call('slow', 'slow/one'))
  await waitFor(() => backend.held.length === 1)
  await stop()
  const { body } = await running
  t.match(JSON.parse(body), { id: 'slow', error: { code: -32000 } })
  await waitFor(() => backend.seen[0]?.closed, { what: 'the backend to be let go' })
})
