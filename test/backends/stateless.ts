import t from 'tap'
import type { Test } from 'tap'
import type { BackendSession } from '../../src/backends/backend.ts'
import { createStatelessBackend } from '../../src/backends/stateless.ts'
import { notification, request, result } from '../../src/protocol/jsonrpc.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import { answer, begin, ear, kit, sending, target, until } from '../fixtures/scripted.ts'
import { modernTools, repeatedIn } from '../fixtures/unit-modern-tools.ts'
import type { ToolPages } from '../fixtures/unit-modern-tools.ts'

const json = { type: 'application/json' } as const
const translated = { ...sending, translated: true } as const
const calling = (id = 7): Request =>
  request(String(id), 'tools/call', { name: 'add', arguments: { a: 'x' } })
const discover = (id: number): Request => request(String(id), 'server/discover')
const errorText = (id: number | string | null, code: number): string =>
  JSON.stringify({ jsonrpc: '2.0', id, error: { code, message: 'no' } })

async function setUp(t: Test, pages: Partial<ToolPages> = {}) {
  const tools = await modernTools(t, pages)
  const options = kit(t, { client: { wakeTime: 0 } })
  const dialect = createStatelessBackend(options)
  const open = (heard = ear()): BackendSession => {
    const session = dialect.open(target(`${tools.backend.url}/mcp`), {}, heard)
    t.teardown(() => session.close())
    return session
  }
  const heard = ear()
  const session = open(heard)
  const texts = () => heard.messages.map(([text]) => text)
  return { tools, seen: tools.backend.seen, options, open, session, heard, texts }
}

t.test('every message goes under the headers that repeat it, and no other', async (t) => {
  const { session, seen } = await setUp(t)
  await session.send(request('1', 'resources/read', { uri: 'file:///größe' }), sending)
  await session.send(request('2', 'tools/list'), sending)
  await session.send(notification('notifications/x', { name: 'y' }), sending)
  await session.send(result('3', {}), sending)
  const own = seen.map(({ headers }) =>
    Object.fromEntries(Object.entries(headers).filter(([name]) => /^(mcp|x)-/.test(name))),
  )
  const head = { 'x-user-id': 'ann', 'mcp-protocol-version': '2026-07-28' }
  t.same(own, [
    {
      ...head,
      'mcp-method': 'resources/read',
      'mcp-name': '=?base64?ZmlsZTovLy9ncsO2w59l?=',
    },
    { ...head, 'mcp-method': 'tools/list' },
    head,
    { 'x-user-id': 'ann' },
  ])
})

t.test('nothing is opened, and closing says nothing to the backend', async (t) => {
  const { session, seen, heard } = await setUp(t)
  session.listen?.()
  session.close()
  t.equal(await session.send(calling(), sending), undefined)
  t.equal(seen.length, 0)
  t.same(heard.ends, [])
})

t.test('a 404 is an answer, not the end of a session', async (t) => {
  const { session, heard, texts } = await setUp(t, {
    onOther: (response) => answer(response, errorText(7, -32601), { ...json, status: 404 }),
  })
  t.equal(await session.send(calling(), sending), undefined)
  t.same(texts(), [errorText(7, -32601)])
  t.same(heard.ends, [])
})

t.test('a client of the same revision says itself what is to be repeated', async (t) => {
  const { session, tools } = await setUp(t)
  const headers = { ...sending.headers, 'mcp-param-a': 'its own' }
  await session.send(calling(), { ...sending, headers })
  t.equal(tools.asked('tools/list').length, 0)
  t.same(tools.asked('tools/call').map(repeatedIn), [{ 'mcp-param-a': 'its own' }])
})

t.test('for another client the arguments are repeated', async (t) => {
  const { session, tools, heard } = await setUp(t)
  await session.send(calling(7), translated)
  await session.send(calling(8), translated)
  t.same(tools.asked('tools/call').map(repeatedIn), [
    { 'mcp-param-a': 'x' },
    { 'mcp-param-a': 'x' },
  ])
  for (const { headers } of tools.asked('tools/call')) {
    t.match(headers, { 'x-user-id': 'ann', 'mcp-method': 'tools/call', 'mcp-name': 'add' })
  }
  t.equal(tools.asked('tools/list').length, 1)
  t.equal(heard.messages.length, 2, 'and it hears nothing of our question')
})

t.test('a list that the client asks for is learnt from', async (t) => {
  const { session, tools } = await setUp(t)
  await session.send(request('1', 'tools/list'), translated)
  await session.send(calling(), translated)
  t.equal(tools.asked('tools/list').length, 1)
  t.same(tools.asked('tools/call').map(repeatedIn), [{ 'mcp-param-a': 'x' }])
})

t.test('tools that change are asked for anew', async (t) => {
  const change = notification('notifications/tools/list_changed').text
  const { session, tools } = await setUp(t, {
    onOther(response, { body }) {
      const { id, method } = JSON.parse(body)
      const text = result(String(id), {}).text
      if (method === 'tools/call') answer(response, text, json)
      else {
        const type = 'text/event-stream'
        answer(response, `data: ${change}\n\ndata: ${text}\n\n`, { type })
      }
    },
  })
  await session.send(calling(7), translated)
  tools.pages = [{ add: 'Other' }]
  await session.send(calling(8), translated)
  await session.send(request('9', 'subscriptions/listen'), sending)
  await session.send(calling(10), translated)
  t.same(tools.asked('tools/call').map(repeatedIn), [
    { 'mcp-param-a': 'x' },
    { 'mcp-param-a': 'x' },
    { 'mcp-param-other': 'x' },
  ])
})

t.test('a call whose headers were found wrong is tried once more, with those of now', async (t) => {
  for (const [id, ttlMs] of [
    [7, 0],
    [null, 0],
    [7, 60_000],
  ] as const) {
    const { session, tools, texts } = await setUp(t, {
      hints: { ttlMs, cacheScope: 'public' },
      onOther(response, seen) {
        const right = 'mcp-param-now' in repeatedIn(seen)
        if (right) answer(response, result('7', { n: 1 }).text, json)
        else {
          tools.pages = [{ add: 'Now' }]
          answer(response, errorText(id, -32020), { ...json, status: 400 })
        }
      },
    })
    t.equal(await session.send(calling(), translated), undefined)
    t.same(tools.asked('tools/call').map(repeatedIn), [
      { 'mcp-param-a': 'x' },
      { 'mcp-param-now': 'x' },
    ])
    t.same(texts(), [result('7', { n: 1 }).text], `id ${id}, fresh for ${ttlMs} ms`)
  }
})

t.test('found wrong again, that is the answer', async (t) => {
  const { session, tools, texts } = await setUp(t, {
    onOther: (response) => answer(response, errorText(7, -32020), { ...json, status: 400 }),
  })
  t.equal(await session.send(calling(), translated), undefined)
  t.equal(tools.asked('tools/call').length, 2)
  t.same(texts(), [errorText(7, -32020)])
})

t.test('no other failure is a reason to call twice', async (t) => {
  for (const [options, code, status] of [
    [translated, -32602, 200],
    [translated, -32603, 500],
    [translated, -32021, 400],
    [sending, -32020, 400],
  ] as const) {
    const { session, tools, texts } = await setUp(t, {
      onOther: (response) => answer(response, errorText(7, code), { ...json, status }),
    })
    await session.send(calling(), options)
    t.equal(tools.asked('tools/call').length, 1, String(code))
    t.same(texts(), [errorText(7, code)])
  }
  const other = await setUp(t, {
    onOther: (response) => answer(response, errorText(7, -32020), { ...json, status: 400 }),
  })
  await other.session.send(request('7', 'prompts/get', { name: 'p' }), translated)
  t.equal(other.seen.length, 1)
})

t.test('a call that is given up while its headers are looked for is not sent', async (t) => {
  let go = (): void => {}
  const held = new Promise<void>((resolve) => (go = resolve))
  const { session, tools, heard } = await setUp(t, { held })
  const message = calling()
  const sent = session.send(message, translated)
  await until(() => tools.asked('tools/list').length === 1, 'the list to be asked for')
  session.abort(message)
  go()
  t.equal(await sent, undefined)
  t.equal(tools.asked('tools/call').length, 0)
  t.same(heard.messages, [])
})

t.test('giving up one request closes it, and no other', async (t) => {
  const { session, tools, heard } = await setUp(t, {
    onOther: (response) => begin(response, ': wait\n\n', { type: 'text/event-stream' }),
  })
  const [one, two] = [calling(1), calling(2)]
  const sent = [session.send(one, sending), session.send(two, sending)]
  await until(() => tools.asked('tools/call').length === 2, 'both')
  session.abort(one)
  t.equal(await sent[0], undefined)
  const idOf = ({ body }: { readonly body: string }) => JSON.parse(body).id
  await until(
    () => tools.asked('tools/call').find((each) => idOf(each) === 1)?.closed,
    'the first to be closed',
  )
  t.equal(tools.asked('tools/call').find((each) => idOf(each) === 2)?.closed, false)
  session.close()
  t.equal(await sent[1], undefined)
  t.same([heard.messages, heard.ends], [[], []])
})

t.test('what the backend says of itself is asked for again when it is stale', async (t) => {
  const about = (id: number, cacheScope: string) =>
    result(String(id), { resultType: 'complete', ttlMs: 1000, cacheScope, n: 1 })
  const cases: [string, number][] = [
    ['public', 1],
    ['private', 2],
  ]
  for (const [scope, expected] of cases) {
    const { session, open, options, heard, texts, seen } = await setUp(t, {
      onOther: (response, { body }) =>
        answer(response, about(JSON.parse(body).id, scope).text, json),
    })
    await session.send(discover(1), translated)
    const again = discover(2)
    await session.send(again, translated)
    t.equal(seen.length, 1, scope)
    t.same(texts(), [about(1, scope).text, about(2, scope).text], 'under the id of who asks')
    t.equal(heard.messages[1]?.[1], again.text)

    const other = ear()
    await open(other).send(discover(3), { ...translated, headers: { 'x-user-id': 'bob' } })
    t.equal(seen.length, expected, `${scope}, for somebody else`)
    t.same(other.messages, [[about(3, scope).text, discover(3).text]])
    options.clock.advance(1000)
    await session.send(discover(4), translated)
    t.equal(seen.length, expected + 1)
  }
})

t.test('clients of the same revision see to freshness themselves', async (t) => {
  const { session, seen } = await setUp(t, {
    onOther: (response, { body }) => {
      const { id } = JSON.parse(body)
      const hints = { resultType: 'complete', ttlMs: 1000, cacheScope: 'public' }
      answer(response, result(String(id), hints).text, json)
    },
  })
  await session.send(discover(1), sending)
  await session.send(discover(2), sending)
  t.equal(seen.length, 2)
  await session.send(discover(3), translated)
  t.equal(seen.length, 3, 'what passed to them is not kept')
})

t.test('an error, or questions, are not kept', async (t) => {
  const answers = [
    errorText(1, -32603),
    result('1', { resultType: 'input_required', ttlMs: 1000, cacheScope: 'public' }).text,
  ]
  for (const text of answers) {
    const { session, seen } = await setUp(t, {
      onOther: (response) => answer(response, text, json),
    })
    await session.send(discover(1), translated)
    await session.send(discover(1), translated)
    t.equal(seen.length, 2, text)
  }
})
