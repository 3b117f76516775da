import t from 'tap'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { askOnce } from '../../src/backends/ask-once.ts'
import { answer, begin, call, kit, reply, scripted, target, until } from '../fixtures/scripted.ts'

const json = { type: 'application/json' } as const
const events = { type: 'text/event-stream' } as const

async function asking(t: Test, script: (response: ServerResponse, count: number) => void) {
  const backend = await scripted(t, (_seen, response, count) => script(response, count))
  const options = kit(t)
  const headers = { 'x-user-id': 'ann' }
  const ask = (time?: number) =>
    askOnce(target(`${backend.url}/mcp`), headers, call(1), options, time)
  return { backend, options, ask }
}

t.test('the response is what comes back, in whatever form', async (t) => {
  const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
  const failed = '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}'
  const cases: [string, string, Parameters<typeof answer>[2]][] = [
    ['JSON', reply(1), json],
    ['an event stream', `data: ${note}\n\ndata: ${reply(1)}\n\n`, events],
    ['an error', failed, { ...json, status: 404 }],
  ]
  for (const [name, body, how] of cases) {
    const { backend, options, ask } = await asking(t, (response) => answer(response, body, how))
    const got = await ask()
    t.equal(got?.text, name === 'an error' ? failed : reply(1), name)
    t.match(backend.seen, [{ method: 'POST', path: '/mcp', headers: { 'x-user-id': 'ann' } }])
    t.equal(backend.seen[0]?.body, call(1).text)
    t.equal(options.clock.waiting, 0, 'no timer is left')
    t.same(options.repairs, [])
  }
})

t.test('a stream is left at its response, though it goes on', async (t) => {
  const { backend, ask } = await asking(t, (response) =>
    begin(response, `data: ${reply(1)}\n\ndata: ${reply(2)}\n\n`, events),
  )
  t.equal((await ask())?.text, reply(1), 'and the first one counts')
  await until(() => backend.seen[0]?.closed, 'the stream to be left')
})

t.test('what is no response is none', async (t) => {
  const cases: [string, string, Parameters<typeof answer>[2]][] = [
    ['nothing', '', { status: 202 }],
    ['a page', '<html>', { type: 'text/html', status: 404 }],
    ['a request', '{"jsonrpc":"2.0","id":1,"method":"ping"}', json],
    ['broken JSON', '{"jsonrpc":', json],
    ['a stream without it', ': nothing\n\n', events],
    ['more than may be held', `{"a":"${'x'.repeat(70_000)}"}`, json],
  ]
  for (const [name, body, how] of cases) {
    const { options, ask } = await asking(t, (response) => answer(response, body, how))
    t.equal(await ask(), undefined, name)
    t.equal(options.clock.waiting, 0)
  }
})

t.test('a backend that does not answer in time is not waited for', async (t) => {
  const { backend, options, ask } = await asking(t, (response, count) => {
    if (count > 1) begin(response, ': silence\n\n', events)
  })
  for (const time of [undefined, 300]) {
    const asked = ask(time)
    await until(() => backend.seen.length === (time === undefined ? 1 : 2), 'the question')
    if (time !== undefined) await until(() => options.clock.waiting > 0, 'the answer to begin')
    options.clock.advance(time ?? 9999)
    if (time === undefined) options.clock.advance(1)
    t.equal(await asked, undefined)
    await until(() => backend.seen.at(-1)?.closed, 'the request to be given up')
  }
})

t.test('a backend that cannot be reached is asked once, without patience', async (t) => {
  const options = kit(t)
  const ask = askOnce(target('http://127.0.0.1:1/mcp'), {}, call(1), options)
  t.equal(await ask, undefined)
  t.same(options.retries, [])
  t.equal(options.clock.waiting, 0)
  const sleeping = await asking(t, (response) => answer(response, '', { status: 503 }))
  t.equal(await sleeping.ask(), undefined)
  t.equal(sleeping.backend.seen.length, 1)
})

t.test('what has to be mended in an answer is nobody’s defect', async (t) => {
  const detail = '{"detail":"Method Not Allowed"}'
  const { options, ask } = await asking(t, (response) =>
    answer(response, detail, { ...json, status: 405 }),
  )
  t.match(await ask(), { failed: true })
  t.same(options.repairs, [])
})
