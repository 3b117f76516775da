import t from 'tap'
import { forModern, forSession } from '../../src/bridge/results.ts'
import type { Response } from '../../src/protocol/jsonrpc.ts'
import { parsed } from '../fixtures/bridged.ts'

const key = 'io.modelcontextprotocol/serverInfo'
const info = '{"name":"s","version":12345678901234567890}'
const answered = (result: string): Response => parsed(`{"jsonrpc":"2.0","id":1,"result":${result}}`)
const refused = (error: string): Response => parsed(`{"jsonrpc":"2.0","id":1,"error":${error}}`)
const nobody = (tool: string): void => {
  throw new Error(`${tool} was left out`)
}
const resultIn = ({ text }: Response) => JSON.parse(text).result
const deep = '['.repeat(100_000) + ']'.repeat(100_000)

t.test('a modern client gets what every result of its revision has', async (t) => {
  const cases: [string, string, object][] = [
    ['tools/call', '{}', { resultType: 'complete' }],
    ['tools/call', '{"resultType":"task"}', { resultType: 'task' }],
    ['tools/call', '{"resultType":null}', { resultType: 'complete' }],
    ['tools/call', '{"ttlMs":"x"}', { resultType: 'complete', ttlMs: 'x' }],
    ['tools/list', '{}', { resultType: 'complete', ttlMs: 0, cacheScope: 'private' }],
    ['resources/read', '{"ttlMs":9}', { resultType: 'complete', ttlMs: 9, cacheScope: 'private' }],
    ['prompts/list', '{"ttlMs":-1}', { ttlMs: 0 }],
    ['resources/list', '{"ttlMs":1.5}', { ttlMs: 0 }],
    ['resources/templates/list', '{"ttlMs":"9"}', { ttlMs: 0 }],
    ['tools/list', '{"cacheScope":"public"}', { cacheScope: 'public' }],
    ['tools/list', '{"cacheScope":"all"}', { cacheScope: 'private' }],
  ]
  for (const [method, result, expected] of cases) {
    t.match(
      resultIn(forModern(answered(result), method, undefined)),
      expected,
      `${method} ${result}`,
    )
  }
  t.notOk('ttlMs' in resultIn(forModern(answered('{}'), 'tools/call', undefined)))
})

t.test('it hears who the server is, unless the server says so itself', async (t) => {
  const cases: [string, unknown][] = [
    ['{}', { name: 's' }],
    ['{"_meta":null}', { name: 's' }],
    ['{"_meta":[1]}', { name: 's' }],
    ['{"_meta":{"x":1}}', { name: 's' }],
    [`{"_meta":{"${key}":null}}`, { name: 's' }],
    [`{"_meta":{"${key}":{"name":"own"}}}`, { name: 'own' }],
  ]
  for (const [result, expected] of cases) {
    const response = forModern(answered(result), 'tools/call', info)
    t.match(resultIn(response)['_meta'][key], expected, result)
    if (result.includes('"x"')) t.equal(resultIn(response)['_meta'].x, 1)
    if (!result.includes('own')) t.ok(response.text.includes(info), 'as it was written')
  }
  t.notOk('_meta' in resultIn(forModern(answered('{}'), 'tools/call', undefined)))
})

t.test('nothing else of a result is touched, however it is written', async (t) => {
  const kept = '"n":12345678901234567890 , "u":"\\u00e9", "e":1e400,"d":1,"d":{"a":[ ]}'
  for (const change of [
    (response: Response) => forModern(response, 'tools/list', info),
    (response: Response) => forSession(response, 'tools/call', nobody),
  ]) {
    const { text } = change(answered(`{ "ttlMs":7,${kept} }`))
    for (const part of [
      '12345678901234567890',
      '"u":"\\u00e9"',
      '1e400',
      '"d":1',
      '"d":{"a":[ ]}',
    ]) {
      t.ok(text.includes(part), `${part} in ${text}`)
    }
  }
})

t.test('keys are known by what they say, and all that say the same are one', async (t) => {
  const written = answered('{"result\\u0054ype":"complete","ttlMs":1,"ttl\\u004ds":2,"x":1}')
  t.same(resultIn(forSession(written, 'tools/list', nobody)), { x: 1 })
  const twice = '{"jsonrpc":"2.0","id":1,"result":{"ttlMs":1},"result":{"ttlMs":2,"y":1}}'
  t.same(resultIn(forSession(parsed(twice), 'tools/list', nobody)), { y: 1 })
})

t.test('what needs no change stays the very same message', async (t) => {
  const plain = answered('{ "content": [] }')
  t.equal(forSession(plain, 'tools/call', nobody), plain)
  const full = answered(`{"resultType":"complete","ttlMs":1,"cacheScope":"public"}`)
  t.equal(forModern(full, 'tools/list', undefined).text.length, full.text.length)
})

t.test('results that are no objects pass as they are', async (t) => {
  for (const odd of ['null', '[]', '5', '"x"', 'true', '[{"ttlMs":1}]']) {
    const response = answered(odd)
    t.equal(forModern(response, 'tools/list', info), response, odd)
    t.equal(forSession(response, 'tools/list', nobody), response, odd)
  }
})

t.test('a session client gets nothing that only results of 2026-07-28 have', async (t) => {
  const result =
    '{"resultType":"complete","ttlMs":1,"cacheScope":"public","_meta":{"x":1},"content":[]}'
  t.same(resultIn(forSession(answered(result), 'tools/call', nobody)), {
    _meta: { x: 1 },
    content: [],
  })
})

t.test('structured content that is no object is left out for it', async (t) => {
  for (const odd of ['[]', '5', '"x"', 'null', 'true']) {
    const response = forSession(
      answered(`{"structuredContent":${odd},"content":[]}`),
      'tools/call',
      nobody,
    )
    t.same(resultIn(response), { content: [] }, odd)
  }
  const kept = answered('{"structuredContent":{"n":12345678901234567890}}')
  t.equal(forSession(kept, 'tools/call', nobody), kept)
})

t.test('tools are offered to it as it can read them', async (t) => {
  const tool = (name: string, more = '') => `{"name":"${name}"${more}}`
  const schema = (type: string) => `,"outputSchema":${type}`
  const faulty =
    ',"inputSchema":{"type":"object","properties":{"a":{"type":"object","x-mcp-header":"A"}}}'
  const tools = [
    tool('plain', ',"n":12345678901234567890'),
    tool('object', schema('{"type":"object","x":1}')),
    tool('list', schema('{"type":"array"}')),
    tool('any', schema('true')),
    tool('several', schema('{"type":["object","null"]}')),
    tool('faulty', faulty),
    'null',
    '5',
  ]
  const left: string[] = []
  const response = forSession(
    answered(`{"tools":[ ${tools.join(' , ')} ],"nextCursor":"c","ttlMs":1}`),
    'tools/list',
    (name) => void left.push(name),
  )
  t.same(left, ['faulty'])
  t.match(resultIn(response), { nextCursor: 'c' })
  t.same(
    resultIn(response).tools.map((each: { name?: string; outputSchema?: object } | null) => [
      each?.name,
      each?.outputSchema !== undefined,
    ]),
    [
      ['plain', false],
      ['object', true],
      ['list', false],
      ['any', false],
      ['several', false],
      [undefined, false],
      [undefined, false],
    ],
  )
  t.ok(response.text.includes('12345678901234567890'))
})

t.test('lists of tools that are none are left to their clients', async (t) => {
  for (const odd of ['null', '{}', '5', '"x"', '[]', '[[]]', '[null]']) {
    const response = answered(`{"tools":${odd}}`)
    t.equal(forSession(response, 'tools/list', nobody), response, odd)
  }
})

t.test('a missing resource has a code of its own in each era', async (t) => {
  const data = '{"uri":"x:/a","n":12345678901234567890}'
  const former = refused(`{"message":"gone","code":-32002,"data":${data}}`)
  const { text } = forModern(former, 'resources/read', info)
  t.match(JSON.parse(text).error, { code: -32602, message: 'gone' })
  t.ok(text.includes(data))
  const modern = refused(`{"message":"gone","code":-32602,"data":${data}}`)
  const back = forSession(modern, 'resources/read', nobody)
  t.match(JSON.parse(back.text).error, { code: -32002, message: 'gone' })
  t.ok(back.text.includes(data))
  t.ok(back.failed)
})

t.test('all other errors pass as they are', async (t) => {
  const errors = [
    '{"code":-32602}',
    '{"code":-32602,"data":{"x":1}}',
    '{"code":-32603,"data":{"uri":"x"}}',
  ]
  for (const error of [...errors, 'null', '"no"', '[]', '{}', '{"code":"-32602"}', '5']) {
    const response = refused(error)
    t.equal(forSession(response, 'resources/read', nobody), response, error)
    t.equal(forModern(response, 'resources/read', info), response, error)
  }
  const elsewhere = refused('{"code":-32602,"data":{"uri":"x"}}')
  t.equal(forSession(elsewhere, 'tools/call', nobody), elsewhere)
})

t.test('values nested beyond the stack pass as they are', async (t) => {
  for (const text of [
    forModern(answered(`{"content":${deep}}`), 'tools/list', info).text,
    forModern(answered(`{"_meta":{"x":${deep}}}`), 'tools/list', `{"x":${deep}}`).text,
    forSession(answered(`{"ttlMs":1,"content":${deep}}`), 'tools/call', nobody).text,
    forSession(answered(`{"tools":[{"name":"x","inputSchema":${deep}}]}`), 'tools/list', nobody)
      .text,
    forSession(
      answered(`{"tools":[{"name":"x","x":${deep},"outputSchema":{"type":"array","x":${deep}}}]}`),
      'tools/list',
      nobody,
    ).text,
    forModern(refused(`{"code":-32002,"data":${deep}}`), 'resources/read', undefined).text,
  ]) {
    t.ok(text.includes(deep))
  }
})
