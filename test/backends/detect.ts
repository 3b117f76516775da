import t from 'tap'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { detect } from '../../src/backends/detect.ts'
import type { Detected } from '../../src/backends/detect.ts'
import { answer, begin, kit, reply, scripted, target, until } from '../fixtures/scripted.ts'
import type { Kit, Scripted } from '../fixtures/scripted.ts'

type Script = (response: ServerResponse) => void

interface Probe {
  readonly backend: Scripted
  readonly options: Kit
  readonly found: Promise<Detected>
}

const probe = async (
  t: Test,
  onPost: Script,
  onGet: Script = (response) => answer(response, '', { status: 404 }),
): Promise<Probe> => {
  const backend = await scripted(t, (seen, response) =>
    seen.method === 'POST' ? onPost(response) : onGet(response),
  )
  const options = kit(t)
  return { backend, options, found: detect(target(`${backend.url}/mcp`), {}, options) }
}

const announce: Script = (response) =>
  begin(response, 'event: endpoint\ndata: /messages?token=1\n\n')

t.test('a backend that answers initialize in the POST speaks rpc', async (t) => {
  const { backend, found } = await probe(t, (response) => answer(response, reply(1)))
  t.match(await found, { dialect: 'rpc', evidence: /status 200 with a JSON-RPC response/ })
  t.match(JSON.parse(backend.seen[0]?.body ?? ''), {
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', clientInfo: { name: 'causeway' } },
  })
  t.equal(backend.seen.length, 1)
})

t.test(
  'an answer in an event stream, or an error that names the request, is rpc too',
  async (t) => {
    const { found } = await probe(t, (response) => answer(response, `data: ${reply(1)}\n\n`))
    t.match(await found, { dialect: 'rpc' })
    const refusing = await probe(t, (response) =>
      answer(
        response,
        '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no initialize"}}',
      ),
    )
    t.match(await refusing.found, { dialect: 'rpc' })
  },
)

t.test('a backend that refuses the POST and announces an endpoint speaks sse', async (t) => {
  for (const [status, body] of [
    [405, '{"detail":"Method Not Allowed"}'],
    [404, '<html>'],
    [200, '<html>'],
    [200, ''],
  ] as const) {
    const { backend, found } = await probe(
      t,
      (response) => answer(response, body, { status }),
      announce,
    )
    const detected = await found
    t.match(detected, { dialect: 'sse', evidence: /endpoint \/messages$/ }, `${status} ${body}`)
    t.equal(detected.spare?.stream.alive, true, 'its stream is left for the session')
    detected.spare?.stream.close()
    await until(() => backend.seen.every((one) => one.closed), 'nothing to stay open')
  }
})

t.test('a POST that is answered by an endless event stream is left', async (t) => {
  const { backend, options, found } = await probe(t, announce, announce)
  await until(() => options.clock.due.includes(5000), 'the answer to be read')
  options.clock.advance(5000)
  const detected = await found
  t.match(detected, { dialect: 'sse' })
  detected.spare?.stream.close()
  await until(() => backend.seen.every((one) => one.closed), 'nothing to stay open')
})

t.test('a POST that is never answered is left', async (t) => {
  const { backend, options, found } = await probe(t, () => {}, announce)
  await until(() => backend.seen.length === 1, 'the POST')
  options.clock.advance(60_000)
  const detected = await found
  t.match(detected, { dialect: 'sse' })
  detected.spare?.stream.close()
  await until(() => backend.seen.every((one) => one.closed), 'nothing to stay open')
})

t.test('refused credentials are no dialect', async (t) => {
  const refuse: Script = (response) =>
    answer(response, '', { status: 401, headers: { 'www-authenticate': 'Bearer' } })
  const denied = { code: 'BACKEND_UNAUTHORIZED', headers: { 'www-authenticate': 'Bearer' } }
  await t.rejects((await probe(t, refuse)).found, denied)
  await t.rejects(
    (await probe(t, (response) => answer(response, '', { status: 405 }), refuse)).found,
    denied,
  )
})

t.test('a backend that speaks neither is refused with what both attempts gave', async (t) => {
  const { found } = await probe(t, (response) => answer(response, '<html>', { status: 404 }))
  await t.rejects(found, {
    code: 'BACKEND_REFUSED',
    message: /POST initialize gave status 404 with html; GET gave .*status 404/,
  })
})

t.test('a backend that cannot be reached says so', async (t) => {
  const { http, ...rest } = kit(t, { client: { wakeTime: 0 } })
  await t.rejects(detect(target('http://127.0.0.1:1/mcp'), {}, { ...rest, http }), {
    code: 'BACKEND_UNREACHABLE',
  })
})
