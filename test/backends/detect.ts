import t from 'tap'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { detect } from '../../src/backends/detect.ts'
import type { Detected } from '../../src/backends/detect.ts'
import { answer, begin, kit, reply, scripted, target, until } from '../fixtures/scripted.ts'
import type { Answering, Kit, Scripted } from '../fixtures/scripted.ts'
import { methodOf } from '../fixtures/unit-modern-tools.ts'

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

const json = { type: 'application/json' } as const
const offering = (supportedVersions: unknown): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, result: { supportedVersions, capabilities: {} } })
const both = offering(['2026-07-28', '2025-11-25'])
const initialized = (revision = '2025-11-25'): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, result: { protocolVersion: revision, capabilities: {} } })
const refusal = (code: number): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code, message: 'no' } })

type Say = readonly [text: string, how?: Answering]

/** What a backend is asked, in order, and what is made of its answers to `initialize` and `server/discover`. */
const asking = async (t: Test, initialize: Say, discover: Say = [both, json], get?: Script) => {
  const asked: string[] = []
  const backend = await scripted(t, (seen, response) => {
    asked.push(seen.method === 'POST' ? methodOf(seen) : seen.method)
    if (seen.method === 'GET' && get) get(response)
    else if (seen.method !== 'POST') answer(response, '', { status: 405 })
    else answer(response, ...(methodOf(seen) === 'initialize' ? initialize : discover))
  })
  const options = kit(t)
  const found = await detect(target(`${backend.url}/mcp`), { 'x-user-id': 'ann' }, options)
  found.spare?.stream.close()
  return { asked, found, backend, options }
}

t.test('a backend that gives a session is asked nothing else', async (t) => {
  const headers = { 'mcp-session-id': 'sid-1' }
  for (const revision of ['2025-11-25', '2025-06-18', '2024-11-05']) {
    const initialize: Say = [initialized(revision), { ...json, headers }]
    const { asked, found, backend } = await asking(t, initialize)
    t.match(found, { dialect: 'streamable', modern: false }, revision)
    await until(() => asked.length === 2, 'the session to be ended')
    t.same(asked, ['initialize', 'DELETE'])
    t.match(backend.seen[1]?.headers, headers)
  }
})

t.test('one without sessions may speak to modern clients as they do', async (t) => {
  const { asked, found, backend } = await asking(t, [initialized(), json])
  t.match(found, { dialect: 'streamable', modern: true, evidence: /status 200/ })
  t.same(asked, ['initialize', 'server/discover'])
  const [first, second] = backend.seen
  t.notOk('mcp-protocol-version' in (first?.headers ?? {}))
  t.match(second?.headers, {
    'x-user-id': 'ann',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'server/discover',
  })
  t.match(JSON.parse(second?.body ?? '').params['_meta'], {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  })
})

t.test('one that refuses initialize in JSON-RPC and answers discovery is modern', async (t) => {
  const cases: Say[] = [
    [refusal(-32601), { ...json, status: 404 }],
    [refusal(-32601), json],
    [refusal(-32022), { ...json, status: 400 }],
    [refusal(-32020), { ...json, status: 400 }],
    [refusal(-32602), { ...json, status: 400 }],
    [refusal(-32020).replace('"id":1', '"id":null'), { ...json, status: 400 }],
  ]
  for (const initialize of cases) {
    const { asked, found } = await asking(t, initialize)
    t.match(
      found,
      { dialect: 'stateless', modern: true, evidence: /server\/discover/ },
      initialize[0],
    )
    t.same(asked, ['initialize', 'server/discover'])
  }
})

t.test('discovery counts only where it offers the revision', async (t) => {
  const cases: Say[] = [
    [offering(['2025-11-25']), json],
    [offering(['2099-01-01']), json],
    [offering([]), json],
    [offering('2026-07-28'), json],
    [offering(undefined), json],
    [refusal(-32601), { ...json, status: 404 }],
    [refusal(-32022), { ...json, status: 400 }],
    ['', { status: 202 }],
    ['<html>', { type: 'text/html' }],
    ['', { status: 401 }],
    ['', { status: 503 }],
  ]
  for (const discover of cases) {
    const without = await asking(t, [initialized(), json], discover)
    t.match(without.found, { dialect: 'streamable', modern: false }, discover.join(' '))
    const plain = await asking(t, [refusal(-32601), json], discover)
    t.match(plain.found, { dialect: 'rpc', modern: false }, discover.join(' '))
  }
})

t.test('one that is silent to discovery is not waited for long', async (t) => {
  const backend = await scripted(t, (seen, response) => {
    if (methodOf(seen) === 'initialize') answer(response, initialized(), json)
  })
  const options = kit(t)
  const found = detect(target(`${backend.url}/mcp`), {}, options)
  await until(() => backend.seen.length === 2, 'the question')
  options.clock.advance(5000)
  t.match(await found, { dialect: 'streamable', modern: false })
  await until(() => backend.seen[1]?.closed, 'the question to be given up')
})

t.test('one that knows no JSON-RPC in POSTs is not asked for discovery', async (t) => {
  for (const initialize of [
    ['', { status: 405 }],
    // A web framework's words.
    ['{"detail":"Method Not Allowed"}', { ...json, status: 405 }],
    ['<html>', { status: 404, type: 'text/html' }],
    ['not found', { status: 404, type: 'text/plain' }],
  ] as Say[]) {
    const { asked, found } = await asking(t, initialize, undefined, announce)
    t.match(found, { dialect: 'sse', modern: false }, initialize[0])
    t.same(asked, ['initialize', 'GET'])
  }
})

t.test('an sse backend that refuses in JSON-RPC is asked for its stream in the end', async (t) => {
  const refuse: Say = [refusal(-32000), { ...json, status: 400 }]
  const { asked, found } = await asking(t, refuse, refuse, announce)
  t.match(found, { dialect: 'sse', modern: false })
  t.same(asked, ['initialize', 'server/discover', 'GET'])
})

t.test('one of 2024-11-05 in plain JSON-RPC is not asked for discovery', async (t) => {
  const { asked, found } = await asking(t, [initialized('2024-11-05'), json])
  t.match(found, { dialect: 'rpc', modern: false })
  t.same(asked, ['initialize'])
})

t.test('whoever names a session is not modern, even where initialize is refused', async (t) => {
  const refuse: Say = [refusal(-32602), { ...json, headers: { 'mcp-session-id': 'sid-1' } }]
  const { asked } = await asking(t, refuse)
  t.notOk(asked.includes('server/discover'), asked.join())
})
