import t from 'tap'
import type { Test } from 'tap'
import { FreshAnswers } from '../../src/backends/fresh-answers.ts'
import { ToolTable } from '../../src/backends/tool-table.ts'
import { request, result } from '../../src/protocol/jsonrpc.ts'
import type { Json, JsonObject } from '../../src/protocol/jsonrpc.ts'
import { kit, target } from '../fixtures/scripted.ts'
import { modernTools } from '../fixtures/unit-modern-tools.ts'
import type { ToolPages } from '../fixtures/unit-modern-tools.ts'

const ann = { 'x-user-id': 'ann' }
const bob = { 'x-user-id': 'bob' }
const calling = (name: Json, given: Json = { a: 'x' }) =>
  request('7', 'tools/call', { name, arguments: given })

async function setUp(t: Test, pages: Partial<ToolPages> = {}) {
  const tools = await modernTools(t, pages)
  const options = kit(t, { client: { wakeTime: 0 } })
  const fresh = new FreshAnswers(options)
  const shop = target(`${tools.backend.url}/mcp`)
  const table = () => new ToolTable(shop, options, fresh)
  return { tools, options, table, lists: () => tools.asked('tools/list') }
}

t.test('a tool that is not known is looked for, as a client of this revision does', async (t) => {
  const { table, lists } = await setUp(t)
  t.same(await table().headersOf(calling('add'), ann), { 'mcp-param-a': 'x' })
  const [list] = lists()
  t.match(list?.headers, {
    ...ann,
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/list',
  })
  const prefix = 'io.modelcontextprotocol/'
  t.same(Object.keys(JSON.parse(list?.body ?? '').params), ['_meta'])
  t.match(JSON.parse(list?.body ?? '').params['_meta'], {
    [`${prefix}protocolVersion`]: '2026-07-28',
    [`${prefix}clientCapabilities`]: {},
    [`${prefix}clientInfo`]: { name: 'causeway' },
  })
})

t.test('all pages are read, once, for all who ask meanwhile', async (t) => {
  const { table, lists } = await setUp(t, { pages: [{ one: 'A' }, {}, { add: 'Last', no: '' }] })
  const one = table()
  const asked = ['add', 'one', 'no', 'add'].map((name) => one.headersOf(calling(name), ann))
  t.same(await Promise.all(asked), [
    { 'mcp-param-last': 'x' },
    { 'mcp-param-a': 'x' },
    {},
    { 'mcp-param-last': 'x' },
  ])
  t.same(
    lists().map(({ body }) => JSON.parse(body).params.cursor),
    [undefined, '1', '2'],
  )
  t.same(await one.headersOf(calling('unheard of'), ann), {})
  t.equal(lists().length, 3, 'what was not found is not looked for again')
})

t.test('a list that passes by spares the question', async (t) => {
  const { table, lists } = await setUp(t)
  const one = table()
  const marked = { type: 'integer', 'x-mcp-header': 'N' }
  const add = { name: 'add', inputSchema: { type: 'object', properties: { n: marked } } }
  one.learn(result('1', { tools: [7, null, { name: 8 }, add] }))
  t.same(await one.headersOf(calling('add', { n: 4 }), ann), { 'mcp-param-n': '4' })
  for (const odd of [{}, { tools: {} }, { tools: null }] as JsonObject[])
    one.learn(result('1', odd))
  t.same(await one.headersOf(calling('add', { n: 5 }), ann), { 'mcp-param-n': '5' })
  t.equal(lists().length, 0)
})

t.test('what names no tool is not looked for', async (t) => {
  const { table, lists } = await setUp(t)
  for (const name of [undefined, null, 7, ['add']] as Json[]) {
    t.same(await table().headersOf(calling(name), ann), {})
  }
  t.equal(lists().length, 0)
})

t.test('tools that have changed are read anew, though their list was still fresh', async (t) => {
  for (const cacheScope of ['public', 'private']) {
    const { table, tools, lists } = await setUp(t, { hints: { ttlMs: 60_000, cacheScope } })
    const one = table()
    t.same(await one.headersOf(calling('add'), ann), { 'mcp-param-a': 'x' })
    tools.pages = [{ add: 'Other' }]
    t.same(await one.headersOf(calling('add'), ann), { 'mcp-param-a': 'x' })
    one.forget()
    t.same(await one.headersOf(calling('add'), ann), { 'mcp-param-other': 'x' }, cacheScope)
    t.equal(lists().length, 2)
  }
})

t.test('a fresh list serves whom it may, and no other', async (t) => {
  const cases: [JsonObject, number, number][] = [
    [{ ttlMs: 60_000, cacheScope: 'public' }, 2, 2],
    [{ ttlMs: 60_000, cacheScope: 'private' }, 2, 4],
    [{ ttlMs: 0, cacheScope: 'public' }, 4, 6],
    [{ cacheScope: 'public' }, 4, 6],
  ]
  for (const [hints, same, other] of cases) {
    const { table, lists } = await setUp(t, { pages: [{ one: 'A' }, { add: 'B' }], hints })
    for (const [who, expected] of [
      [ann, 2],
      [ann, same],
      [bob, other],
    ] as const) {
      t.same(await table().headersOf(calling('add'), who), { 'mcp-param-b': 'x' })
      t.equal(lists().length, expected, JSON.stringify(hints))
    }
  }
})

t.test('a page is fresh for its time', async (t) => {
  const { table, lists, options } = await setUp(t, { hints: { ttlMs: 500, cacheScope: 'public' } })
  await table().headersOf(calling('add'), ann)
  options.clock.advance(500)
  await table().headersOf(calling('add'), ann)
  t.equal(lists().length, 2)
})

t.test('pages that go on for ever are read no further than fifty', async (t) => {
  const pages = Array.from({ length: 60 }, () => ({ other: 'A' }))
  const { table, lists } = await setUp(t, { pages })
  t.same(await table().headersOf(calling('add'), ann), {})
  t.equal(lists().length, 50)
})

t.test('a cursor may be any text', async (t) => {
  const { table, lists } = await setUp(t, {
    hints: { ttlMs: 60_000, cacheScope: 'public', nextCursor: 'undefined' },
  })
  await table().headersOf(calling('other'), ann)
  t.equal(JSON.parse(lists()[1]?.body ?? '').params.cursor, 'undefined')
})

t.test('where no list is to be had, a call goes without headers', async (t) => {
  const options = kit(t, { client: { wakeTime: 0 } })
  const table = new ToolTable(target('http://127.0.0.1:1/mcp'), options, new FreshAnswers(options))
  t.same(await table.headersOf(calling('add'), ann), {})
})
