import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import type { HttpClient, HttpOutcome } from '../../src/backends/http-client.ts'
import { freePort } from '../fixtures/free-port.ts'
import { answer, begin, kit, scripted, until } from '../fixtures/scripted.ts'
import type { Seen } from '../fixtures/scripted.ts'

const post = (
  http: HttpClient,
  url: string,
  options: { repeatable?: boolean; signal?: AbortSignal } = {},
): Promise<HttpOutcome> =>
  http.post({
    route: 'shop',
    url: new URL(url),
    headers: { 'x-user-id': 'ann', accept: 'text/nonsense' },
    signal: new AbortController().signal,
    body: '{"a":"é"}',
    repeatable: false,
    ...options,
  })

const stream = (
  http: HttpClient,
  url: string,
  signal = new AbortController().signal,
): Promise<HttpOutcome> => http.stream({ route: 'shop', url: new URL(url), headers: {}, signal })

const textOf = async (outcome: HttpOutcome): Promise<string> => {
  if (!outcome.ok) return `failed: ${outcome.error.message}`
  const { body } = outcome.answer
  return new Promise((resolve, reject) => {
    let text = ''
    body.on('data', (chunk) => (text += Buffer.from(chunk).toString()))
    body.on('end', () => resolve(text))
    body.on('error', reject)
    body.on('close', () => reject(new Error('closed before its end')))
  })
}

t.test('a POST carries exactly the headers that strict backends ask for', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (_seen, response) => answer(response, 'ok'))
  t.equal(await textOf(await post(http, `${backend.url}/mcp?`)), 'ok')
  t.match(backend.seen[0], {
    method: 'POST',
    path: '/mcp?',
    body: '{"a":"é"}',
    headers: {
      host: backend.url.slice('http://'.length),
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'accept-encoding': 'identity',
      'content-length': '10',
      'x-user-id': 'ann',
    },
  })
  t.equal(backend.seen[0]?.headers['transfer-encoding'], undefined)
})

t.test('POSTs reuse their connections, an event stream has one of its own', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (seen, response) =>
    seen.method === 'GET' ? begin(response, ': hi\n\n') : answer(response, 'ok'),
  )
  for (let n = 0; n < 5; n++) await textOf(await post(http, backend.url))
  const pooled = backend.connections()
  t.ok(pooled <= 2, 'the one that just ended may not be free yet')
  const opened = await stream(http, backend.url)
  t.equal(backend.connections(), pooled + 1)
  t.equal(backend.seen.at(-1)?.headers['accept'], 'text/event-stream')
  if (opened.ok) opened.answer.body.destroy()
  await until(() => backend.connections() === pooled, 'the connection of the stream to close')
  const again = await stream(http, backend.url)
  t.equal(again.ok, true)
  await http.close()
  await until(() => backend.connections() === 0, 'every connection to close')
})

t.test('a body that comes compressed though nobody asked is decoded', async (t) => {
  const { http } = kit(t)
  const codings = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }
  for (const [coding, compress] of Object.entries(codings)) {
    const backend = await scripted(t, (_seen, response) =>
      answer(response, compress('{"n":1}'), { headers: { 'content-encoding': coding } }),
    )
    t.equal(await textOf(await post(http, backend.url)), '{"n":1}', coding)
  }
})

t.test('a redirect within the origin is followed with the same POST and remembered', async (t) => {
  const { http } = kit(t)
  for (const status of [301, 302, 307, 308]) {
    const backend = await scripted(t, (seen, response) =>
      seen.path === '/mcp'
        ? answer(response, '', { status, headers: { location: '/mcp/' } })
        : answer(response, `${seen.method} ${seen.body}`),
    )
    const url = `${backend.url}/mcp`
    t.equal(await textOf(await post(http, url)), 'POST {"a":"é"}', String(status))
    await textOf(await post(http, url))
    t.same(
      backend.seen.map((one) => one.path),
      ['/mcp', '/mcp/', '/mcp/'],
    )
  }
})

t.test('a remembered redirect is forgotten when its target is gone', async (t) => {
  const { http } = kit(t)
  let moved = true
  const backend = await scripted(t, (seen, response) => {
    if (seen.path === '/mcp' && moved)
      answer(response, '', { status: 308, headers: { location: '/v1' } })
    else answer(response, '', { status: seen.path === '/mcp' || moved ? 200 : 404 })
  })
  await textOf(await post(http, `${backend.url}/mcp`))
  moved = false
  await textOf(await post(http, `${backend.url}/mcp`))
  const last = await post(http, `${backend.url}/mcp`)
  t.equal(last.ok && last.answer.status, 200)
  t.equal(backend.seen.at(-1)?.path, '/mcp')
})

t.test('a redirect to another origin is refused by name and never followed', async (t) => {
  const { http } = kit(t)
  const other = await scripted(t, (_seen, response) => answer(response, 'secret'))
  const backend = await scripted(t, (_seen, response) =>
    answer(response, '', { status: 307, headers: { location: `${other.url}/mcp?token=1` } }),
  )
  for (const outcome of [await post(http, backend.url), await stream(http, backend.url)]) {
    t.match(outcome, { ok: false, mayHaveRun: false, error: { code: 'BACKEND_REFUSED' } })
    t.match(outcome, { error: { message: new RegExp(`route "shop".*${other.url}$`) } })
  }
  t.equal(other.seen.length, 0)
})

t.test('three redirects are followed, a fourth is refused', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (seen, response) => {
    const n = Number(seen.path.slice(1))
    if (n === 0) answer(response, 'there')
    else answer(response, '', { status: 307, headers: { location: `/${n - 1}` } })
  })
  t.equal(await textOf(await post(http, `${backend.url}/3`)), 'there')
  t.match(await post(http, `${backend.url}/4`), {
    ok: false,
    error: { message: /more than 3 times/ },
  })
})

t.test(
  'a backend that is waking up gets a repeatable POST again, with growing pauses',
  async (t) => {
    const { http, clock, retries } = kit(t)
    const statuses = [502, 503, 504, 502, 502, 502, 200]
    const backend = await scripted(t, (_seen, response, count) =>
      answer(response, '<html>', { status: statuses[count - 1] ?? 200 }),
    )
    const outcome = post(http, backend.url, { repeatable: true })
    for (const [index, delay] of [250, 500, 1000, 2000].entries()) {
      await until(() => retries.length > index && clock.due.includes(delay), `pause ${delay}`)
      clock.advance(delay)
    }
    await until(() => clock.due.includes(4000), 'the longest pause')
    clock.advance(4000)
    const last = await outcome
    t.equal(last.ok && last.answer.status, 502, 'the next pause would end after the wake time')
    t.equal(backend.seen.length, 6)
  },
)

t.test('a POST that may have run is not sent again after a 502', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (_seen, response) => answer(response, '', { status: 502 }))
  const outcome = await post(http, backend.url)
  t.equal(outcome.ok && outcome.answer.status, 502)
  t.equal(backend.seen.length, 1)
})

t.test(
  'a POST that found nobody listening is sent again whatever it is, and delivered once',
  async (t) => {
    const { http, clock, retries } = kit(t)
    const port = await freePort()
    const outcome = post(http, `http://127.0.0.1:${port}/`)
    await until(() => retries.length === 1, 'a first try')
    let received = 0
    const server = createServer((socket) => {
      socket.once('data', () => {
        received++
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nup')
      })
    }).listen(port, '127.0.0.1')
    t.teardown(() => server.close())
    await once(server, 'listening')
    clock.advance(250)
    t.equal(await textOf(await outcome), 'up')
    t.equal(received, 1)
  },
)

t.test('a backend that never wakes is unreachable, by route and origin', async (t) => {
  const { http, clock } = kit(t, { client: { wakeTime: 100 } })
  const port = await freePort()
  t.match(await post(http, `http://127.0.0.1:${port}/`), {
    ok: false,
    mayHaveRun: false,
    error: {
      code: 'BACKEND_UNREACHABLE',
      message: `the backend of route "shop" at http://127.0.0.1:${port} cannot be reached (ECONNREFUSED)`,
      cause: { code: 'ECONNREFUSED' },
    },
  })
  t.same(clock.due, [])
})

t.test('a connection that breaks under a POST leaves open whether it ran', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (_seen, response) => response.destroy())
  t.match(await post(http, backend.url), {
    ok: false,
    mayHaveRun: true,
    error: { code: 'BACKEND_UNREACHABLE', message: /broke the connection off/ },
  })
  t.equal(backend.seen.length, 1)
})

t.test('a connection that breaks under a repeatable POST is worth another try', async (t) => {
  const { http, clock, retries } = kit(t)
  const backend = await scripted(t, (_seen, response, count) =>
    count === 1 ? void response.destroy() : answer(response, 'ok'),
  )
  const outcome = post(http, backend.url, { repeatable: true })
  await until(() => retries.length === 1 && clock.due.length === 1, 'the pause')
  clock.advance(250)
  t.equal(await textOf(await outcome), 'ok')
})

t.test('a TLS failure is named and not tried again', async (t) => {
  const { http, retries } = kit(t)
  // A server that speaks TLS but has no certificate to show.
  const server = createTlsServer({}).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const outcome = await post(http, `https://127.0.0.1:${port}/`, { repeatable: true })
  t.match(outcome, {
    ok: false,
    mayHaveRun: false,
    error: { code: 'BACKEND_UNREACHABLE', message: /TLS/ },
  })
  t.same(retries, [])
})

t.test('an aborted POST ends its request, also while it waits for the next try', async (t) => {
  const { http, clock, retries } = kit(t)
  const backend = await scripted(t, (seen, response) => {
    if (seen.path === '/waking') answer(response, '', { status: 503 })
  })
  const running = new AbortController()
  const outcome = post(http, `${backend.url}/hangs`, { signal: running.signal })
  await until(() => backend.seen.length === 1, 'the POST')
  running.abort()
  t.equal((await outcome).ok, false)
  await until(() => backend.seen[0]?.closed, 'the request to close')

  const waiting = new AbortController()
  const second = post(http, `${backend.url}/waking`, { signal: waiting.signal, repeatable: true })
  await until(() => retries.length === 1 && clock.due.includes(250), 'the pause')
  waiting.abort()
  t.equal((await second).ok, false)
  t.notOk(clock.due.includes(250))
})

t.test('a stream whose head never comes is given up', async (t) => {
  const { http, clock } = kit(t)
  const backend = await scripted(t, () => {})
  const opening = stream(http, backend.url)
  await until(() => backend.seen.length === 1, 'the GET')
  clock.advance(15_000)
  t.match(await opening, { ok: false, error: { code: 'BACKEND_TIMEOUT', message: /15000 ms/ } })
  await until(() => backend.connections() === 0, 'the connection to close')
})

t.test('the unwanted rest of a body does not hold its connection', async (t) => {
  const { http, clock } = kit(t)
  const endless: Seen[] = []
  const backend = await scripted(t, (seen, response) => {
    if (seen.path === '/endless') {
      endless.push(seen)
      begin(response, 'more to come')
    } else answer(response, 'short')
  })
  const short = await post(http, backend.url)
  if (short.ok) short.answer.discard()
  await until(() => clock.due.length === 0, 'the short body to be read')
  // A connection serves again with the next turn.
  await new Promise(setImmediate)
  const long = await post(http, `${backend.url}/endless`)
  t.equal(backend.connections(), 1)
  if (long.ok) long.answer.discard()
  clock.advance(1000)
  await until(() => backend.connections() === 0, 'the endless body to be cut')
})

t.test('closing ends what waits and what runs, and later calls fail', async (t) => {
  const { http, clock, retries } = kit(t)
  const backend = await scripted(t, (seen, response) => {
    if (seen.path === '/waking') answer(response, '', { status: 503 })
    else if (seen.method === 'GET') begin(response, ': hi\n\n')
  })
  const hanging = post(http, `${backend.url}/hangs`)
  const waiting = post(http, `${backend.url}/waking`, { repeatable: true })
  const opened = await stream(http, `${backend.url}/sse`)
  await until(() => retries.length === 1 && backend.seen.length === 3, 'all to be under way')
  await http.close()
  t.equal((await hanging).ok, false)
  t.match(await waiting, { ok: false, error: { code: 'SHUTTING_DOWN' } })
  await until(() => opened.ok && opened.answer.body.destroyed, 'the stream to end')
  t.match(await post(http, backend.url), { ok: false, error: { code: 'SHUTTING_DOWN' } })
  t.match(await stream(http, backend.url), { ok: false, error: { code: 'SHUTTING_DOWN' } })
  await until(() => backend.connections() === 0, 'every connection to close')
  t.notOk(clock.due.some((ms) => ms < 1000))
})

t.test('who has been verified is said to no backend', async (t) => {
  const { http } = kit(t)
  const backend = await scripted(t, (_seen, response) => answer(response, 'ok'))
  const headers = { 'x-causeway-principal': 'ann', 'x-user-id': 'ann' }
  const { signal } = new AbortController()
  const call = { route: 'shop', url: new URL(backend.url), headers, signal }
  await textOf(await http.post({ ...call, body: '{}', repeatable: false }))
  const passing = { stream: Readable.from([Buffer.from('{}')]), length: 2 }
  await textOf(await http.post({ ...call, body: passing, repeatable: false }))
  await textOf(await http.stream(call))
  await http.remove(call)
  t.same(
    backend.seen.map(({ method }) => method),
    ['POST', 'POST', 'GET', 'DELETE'],
  )
  for (const seen of backend.seen) {
    t.equal(seen.headers['x-causeway-principal'], undefined, seen.method)
    t.equal(seen.headers['x-user-id'], 'ann', seen.method)
  }
  t.equal(headers['x-causeway-principal'], 'ann', 'and the caller keeps it')
})

t.test('each answer is told with the headers of its request, once it is the last', async (t) => {
  const told: [unknown, number][] = []
  const { http, clock } = kit(t, {
    client: { onAnswer: (headers, status) => void told.push([headers['authorization'], status]) },
  })
  const backend = await scripted(t, (seen, response, count) => {
    if (seen.path === '/moved')
      return answer(response, '', { status: 307, headers: { location: '/' } })
    answer(response, 'ok', { status: seen.path === '/wakes' && count === 1 ? 503 : 401 })
  })
  const { signal } = new AbortController()
  const ask = (path: string, token: string, repeatable = true): Promise<HttpOutcome> =>
    http.post({
      route: 'shop',
      url: new URL(path, backend.url),
      headers: { authorization: token, 'x-causeway-principal': 'ann' },
      signal,
      body: '{}',
      repeatable,
    })
  const waking = ask('/wakes', 'a')
  await until(() => clock.waiting > 0 && backend.seen.length === 1, 'a pause')
  clock.advance(250)
  t.match(await waking, { ok: true })
  t.same(told, [['a', 401]], 'not those that are tried again')
  await ask('/moved', 'b')
  t.same(told.at(-1), ['b', 401], 'nor redirects')
  const streamed = await http.stream({
    route: 'shop',
    url: new URL(backend.url),
    headers: { authorization: 'c' },
    signal,
  })
  t.equal(streamed.ok && streamed.answer.status, 401)
  t.same(told.at(-1), ['c', 401])
  const before = told.length
  await http.post({
    route: 'shop',
    url: new URL(`http://127.0.0.1:${await freePort()}`),
    headers: {},
    signal,
    body: '{}',
    repeatable: false,
    patience: 0,
  })
  t.equal(told.length, before, 'where there is no answer, nothing is told')
})
