// The hostile backend itself, read raw: each kind misbehaves as it says and in no other way, so that the hardening
// tests attack what they mean to attack.
import t from 'tap'
import type { Test } from 'tap'
import { deadPort, startHostileBackend } from '../fixtures/hostile-backend.ts'
import type { HostileBackend, HostileOptions, Kind } from '../fixtures/hostile-backend.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import type { RawAnswer, RawStream } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Opened {
  readonly backend: HostileBackend
  readonly stream: RawStream
  post(method: string, id?: number): Promise<RawAnswer>
}

const open = async (t: Test, kind: Kind, options: HostileOptions = {}): Promise<Opened> => {
  const backend = await startHostileBackend(options)
  t.teardown(() => backend.close())
  const stream = await openStream(`${backend.url}/${kind}/sse`)
  t.teardown(() => stream.destroy())
  const first = await stream.find(() => true)
  return {
    backend,
    stream,
    post: (method, id = 1) =>
      postJson(new URL(first.data, backend.url).href, { jsonrpc: '2.0', id, method }),
  }
}

t.test('each kind that speaks at all answers initialize', async (t) => {
  for (const kind of ['hang', 'big', 'flood', 'reset'] as const) {
    const { stream, post } = await open(t, kind)
    t.equal((await post('initialize')).status, 202, kind)
    const { data } = await stream.find((event) => event.event === 'message')
    t.match(JSON.parse(data), { id: 1, result: { protocolVersion: '2024-11-05' } })
  }
})

t.test('silent never names an endpoint', async (t) => {
  const { backend, stream } = await open(t, 'silent')
  t.strictSame(
    stream.events.map((event) => event.lines),
    [[': nothing']],
  )
  t.equal(backend.openStreams('silent'), 1)
})

t.test('stranger names the endpoint it was given', async (t) => {
  const { stream } = await open(t, 'stranger', { strangerUrl: 'http://127.0.0.2:1/messages' })
  t.equal(stream.events[0]?.data, 'http://127.0.0.2:1/messages')
})

t.test('hang takes a call and says nothing', async (t) => {
  const { backend, stream, post } = await open(t, 'hang')
  t.equal((await post('tools/call', 1)).status, 202)
  await post('tools/list', 2)
  await stream.find((event) => event.data.includes('"id":2'))
  t.equal(backend.hanging(), 1)
  t.notOk(stream.events.some((event) => event.data.includes('"id":1')))
})

t.test('big answers a call with one event of the given size', async (t) => {
  const { stream, post } = await open(t, 'big', { bigEvent: 100_000 })
  await post('tools/call')
  const { data } = await stream.find((event) => event.event === 'message')
  t.ok(data.length > 100_000 && data.length < 100_200)
})

t.test('flood waits for its reader', async (t) => {
  const { backend, stream, post } = await open(t, 'flood')
  stream.pause()
  await post('tools/call')
  let last = -1
  await waitFor(async () => {
    const before = last
    last = backend.flooded()
    await fetchRaw(`${backend.url}/none/sse`)
    return before === last && last > 0
  })
  t.ok(last < 64 * 1024 * 1024, `${last} bytes were taken`)
})

t.test('html and reset refuse a call in their ways', async (t) => {
  const page = await open(t, 'html')
  const refused = await page.post('tools/call')
  t.equal(refused.status, 502)
  t.match(refused.body, /^<html>/)
  const cut = await open(t, 'reset')
  await t.rejects(cut.post('tools/call'), { code: 'ECONNRESET' })
})

t.test('nobody listens on a dead port', async (t) => {
  await t.rejects(fetchRaw(`http://127.0.0.1:${await deadPort()}/`), { code: 'ECONNREFUSED' })
})
