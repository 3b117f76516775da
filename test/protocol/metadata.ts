import t from 'tap'
import { dialects, modernRevision } from '../../src/protocol/dialects.ts'
import { notification, readMessage, request } from '../../src/protocol/jsonrpc.ts'
import type { Json, JsonObject, Request } from '../../src/protocol/jsonrpc.ts'
import {
  argumentText,
  capabilitiesKey,
  clientInfoKey,
  declaredIn,
  decodeHeader,
  encodeHeader,
  faultIn,
  logLevelKey,
  logLevels,
  metaOf,
  mirrored,
  mismatch,
  nameOf,
  objectAt,
  progressToken,
  revisionKey,
  withDeclared,
  withMeta,
  withoutDeclared,
} from '../../src/protocol/metadata.ts'

const info = { name: 'c', version: '1' }
const whole: JsonObject = {
  [revisionKey]: modernRevision,
  [clientInfoKey]: info,
  [capabilitiesKey]: { roots: {} },
  [logLevelKey]: 'warning',
}
const ask = (meta?: Json, params: JsonObject = {}, method = 'tools/list'): Request =>
  request('1', method, meta === undefined ? params : { ...params, _meta: meta })
/** A request from its text, as it comes from a client. */
const read = (text: string): Request => {
  const message = readMessage(text, JSON.parse(text) as Json)
  if (!message.ok || message.value.kind !== 'request') throw new Error('no request')
  return message.value
}
const without = (meta: JsonObject, key: string): JsonObject =>
  Object.fromEntries(Object.entries(meta).filter(([name]) => name !== key))

t.test('the keys are those of the specification', async (t) => {
  const prefix = 'io.modelcontextprotocol/'
  t.same(
    [revisionKey, clientInfoKey, capabilitiesKey, logLevelKey],
    ['protocolVersion', 'clientInfo', 'clientCapabilities', 'logLevel'].map((key) => prefix + key),
  )
  t.equal(dialects.stateless.modern, true)
})

t.test('what a client says of itself is read from _meta, as it was written', async (t) => {
  const meta = `"${revisionKey}":"${modernRevision}"`
  const written = `{ "roots":{},"v.example/n":1.0 }`
  const build = '{"name":"c","version":"1","build":1e400}'
  const text = `{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{${meta},"${capabilitiesKey}":${written},"${clientInfoKey}":${build},"${logLevelKey}":"warning"}}}`
  const said = declaredIn(read(text))
  t.same(said?.capabilities, { roots: {}, 'v.example/n': 1 })
  t.equal(said?.capabilitiesText, written)
  t.equal(said?.clientInfoText, build)
  t.equal(said?.logLevel, 'warning')

  const odd = { [capabilitiesKey]: [], [clientInfoKey]: 'c', [logLevelKey]: 4 }
  for (const each of [{ [revisionKey]: modernRevision }, { [revisionKey]: 7, ...odd }]) {
    const bare = declaredIn(ask(each))
    t.same(bare?.capabilities, {}, 'faults do not get through')
    t.equal(bare?.capabilitiesText, '{}')
    t.equal(bare?.clientInfoText, undefined)
    t.equal(bare?.logLevel, undefined)
  }
  for (const other of [ask(), ask({}), ask('text'), ask([whole]), ask(without(whole, revisionKey))])
    t.equal(declaredIn(other), undefined, other.text)
  t.equal(declaredIn(notification('notifications/x', { _meta: whole }))?.logLevel, 'warning')
})

t.test('the text of a value is told only where it is an object', async (t) => {
  const message = read(
    '{"jsonrpc":"2.0","id":1,"method":"m","params":{"o": {"a":1.0},"l":[],"s":"{"}}',
  )
  t.equal(objectAt(message, ['params', 'o']), '{"a":1.0}')
  for (const key of ['l', 's', 'none']) t.equal(objectAt(message, ['params', key]), undefined, key)
})

t.test('a request of this revision without a fault has none', async (t) => {
  t.equal(faultIn(ask(whole)), undefined)
  t.equal(faultIn(ask(without(without(whole, clientInfoKey), logLevelKey))), undefined)
  t.equal(faultIn(ask({ ...whole, [capabilitiesKey]: {}, 'vendor.example/x': 1 })), undefined)
  for (const level of logLevels) {
    t.equal(faultIn(ask({ ...whole, [logLevelKey]: level })), undefined, level)
  }
})

t.test('what is missing or odd in _meta is named', async (t) => {
  const cases: [Json | undefined, string][] = [
    [undefined, revisionKey],
    ['text', revisionKey],
    [[whole], revisionKey],
    [null, revisionKey],
    [without(whole, revisionKey), revisionKey],
    [{ ...whole, [revisionKey]: 20260728 }, revisionKey],
    [{ ...whole, [revisionKey]: null }, revisionKey],
    [without(whole, capabilitiesKey), capabilitiesKey],
    [{ ...whole, [capabilitiesKey]: [] }, capabilitiesKey],
    [{ ...whole, [capabilitiesKey]: null }, capabilitiesKey],
    [{ ...whole, [capabilitiesKey]: 'roots' }, capabilitiesKey],
    [{ ...whole, [clientInfoKey]: null }, clientInfoKey],
    [{ ...whole, [clientInfoKey]: 'c' }, clientInfoKey],
    [{ ...whole, [clientInfoKey]: { name: 'c' } }, clientInfoKey],
    [{ ...whole, [clientInfoKey]: { version: '1' } }, clientInfoKey],
    [{ ...whole, [clientInfoKey]: { name: 1, version: '1' } }, clientInfoKey],
    [{ ...whole, [logLevelKey]: 'loud' }, logLevelKey],
    [{ ...whole, [logLevelKey]: 'Warning' }, logLevelKey],
    [{ ...whole, [logLevelKey]: null }, logLevelKey],
    [{ ...whole, [logLevelKey]: ['info'] }, logLevelKey],
  ]
  for (const [meta, key] of cases) {
    t.match(faultIn(ask(meta)) ?? 'no fault', `"${key}"`, JSON.stringify(meta))
  }
})

t.test('a session sees nothing of what this revision puts into params', async (t) => {
  const meta = JSON.stringify(whole).slice(1, -1)
  const head = '"jsonrpc":"2.0","id":1.0,"method":"tools/call"'
  const cases: [params: string, expected: string][] = [
    [`{"_meta":{${meta}}}`, '{}'],
    [
      `{"n": 12345678901234567890,"_meta":{${meta}},"a":"\\u0041"}`,
      '{"n": 12345678901234567890,"a":"\\u0041"}',
    ],
    [`{"_meta":{"progressToken":1.0,${meta}}}`, '{"_meta":{"progressToken":1.0}}'],
    [`{"_meta":{${meta},"v.example/x":{"y":[1]}}}`, '{"_meta":{"v.example/x":{"y":[1]}}}'],
    [`{"requestState":"s","inputResponses":{"q":{}},"_meta":{${meta}},"a":1}`, '{"a":1}'],
    [
      `{"requestState":"s","_meta":{${meta},"progressToken":"t"}}`,
      '{"_meta":{"progressToken":"t"}}',
    ],
    [
      `{"arguments":{"_meta":{${meta}},"requestState":1},"_meta":{${meta}}}`,
      `{"arguments":{"_meta":{${meta}},"requestState":1}}`,
    ],
    [`{"\\u005fmeta":{${meta}},"a":1}`, '{"a":1}'],
  ]
  for (const [params, expected] of cases) {
    const message = withoutDeclared(read(`{${head},"params":${params}}`))
    t.equal(message.text, `{${head},"params":${expected}}`, params)
    t.equal(message.idText, '1.0')
  }
  t.equal(withoutDeclared(read(`{${head}}`)).text, `{${head}}`, 'nor is anything made up')
})

t.test('what is declared goes into _meta, whatever stood there', async (t) => {
  const declared = {
    capabilitiesText: '{"roots":{}}',
    clientInfoText: JSON.stringify(info),
    logLevel: 'warning',
  }
  const cases: [string, JsonObject][] = [
    ['', { _meta: whole }],
    [',"params":{}', { _meta: whole }],
    [',"params":null', { _meta: whole }],
    [',"params":{"a":1,"_meta":7}', { a: 1, _meta: whole }],
    [
      ',"params":{"a":1,"_meta":{"progressToken":3}}',
      { a: 1, _meta: { ...whole, progressToken: 3 } },
    ],
    [`,"params":{"_meta":{"${revisionKey}":"1999-01-01"}}`, { _meta: whole }],
    [`,"params":{"_meta":{"${logLevelKey}":"debug","${logLevelKey}":"info"}}`, { _meta: whole }],
  ]
  for (const [params, expected] of cases) {
    const message = read(`{"jsonrpc":"2.0","id":"i","method":"m"${params}}`)
    const { text } = withDeclared(message, modernRevision, declared)
    t.same(JSON.parse(text).params, expected, params)
    t.equal(text.split(revisionKey).length, 2, 'once only')
  }
  const bare = { capabilitiesText: '{}', clientInfoText: undefined, logLevel: undefined }
  t.same(JSON.parse(withDeclared(ask(), modernRevision, bare).text).params, {
    _meta: { [revisionKey]: modernRevision, [capabilitiesKey]: {} },
  })
})

t.test('declaring and taking it back gives the request as it was written', async (t) => {
  const declared = { capabilitiesText: '{"n":1.0}', clientInfoText: '{}', logLevel: undefined }
  const text =
    '{"jsonrpc":"2.0","id":1,"method":"m","params":{"n":1e400,"_meta":{"progressToken":1.0}}}'
  const there = withDeclared(read(text), modernRevision, declared)
  t.match(there.text, `"${capabilitiesKey}":{"n":1.0}`, 'nor is what is declared written anew')
  t.equal(withoutDeclared(read(there.text)).text, text)
})

t.test('members are put into _meta and replace those of their name', async (t) => {
  const message = notification('notifications/x', { _meta: { a: 1, b: 2 } })
  t.same(JSON.parse(withMeta(message, { a: '"new"', c: 'null' }).text).params, {
    _meta: { a: 'new', b: 2, c: null },
  })
})

t.test('a progress token keeps its spelling', async (t) => {
  const token = (meta: string) =>
    progressToken(read(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":${meta}}}`))
  t.equal(token('{"progressToken":1.0}'), '1.0')
  t.equal(token('{"progressToken":"1"}'), '"1"')
  t.equal(token('{}'), undefined)
  t.equal(token('7'), undefined)
  t.same(metaOf(ask('text')), {})
})

t.test('a request is repeated in headers', async (t) => {
  const cases: [string, JsonObject, string | undefined][] = [
    ['tools/call', { name: 'add', uri: 'x' }, 'add'],
    ['prompts/get', { name: 'hello' }, 'hello'],
    ['resources/read', { uri: 'file:///a', name: 'x' }, 'file:///a'],
    ['resources/read', { name: 'x' }, undefined],
    ['tools/call', { name: 7 }, undefined],
    ['tools/call', {}, undefined],
    ['tools/list', { name: 'add' }, undefined],
    ['constructor', { name: 'add' }, undefined],
    ['tools/call', { name: 'größe' }, '=?base64?Z3LDtsOfZQ==?='],
  ]
  for (const [method, params, name] of cases) {
    t.same(
      mirrored(request('1', method, params), modernRevision),
      {
        'mcp-protocol-version': modernRevision,
        'mcp-method': method,
        ...(name !== undefined && { 'mcp-name': name }),
      },
      `${method} ${JSON.stringify(params)}`,
    )
  }
  t.equal(nameOf(request('1', 'tools/call', { name: 'größe' })), 'größe')
  const note = notification('notifications/cancelled', { name: 'x' })
  t.same(mirrored(note, modernRevision), { 'mcp-protocol-version': modernRevision })
})

t.test('values are encoded as the table of the specification has it', async (t) => {
  const cases: [string, string][] = [
    ['us-west1', 'us-west1'],
    ['Hello, 世界', '=?base64?SGVsbG8sIOS4lueVjA==?='],
    [' padded ', '=?base64?IHBhZGRlZCA=?='],
    ['line1\nline2', '=?base64?bGluZTEKbGluZTI=?='],
    ['=?base64?literal?=', '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?='],
    ['', '=?base64??='],
    ['a b\tc', 'a b\tc'],
    ['a ', '=?base64?YSA=?='],
    [' a', '=?base64?IGE=?='],
    ['\ta', '=?base64?CWE=?='],
    ['a\n', '=?base64?YQo=?='],
    ['\x7f', '=?base64?fw==?='],
    ['\0', '=?base64?AA==?='],
    ['é', '=?base64?w6k=?='],
    ['\ufeffa', '=?base64?77u/YQ==?='],
    ['=?BASE64?YQ==?=', '=?BASE64?YQ==?='],
    ['=?base64?YQ==', '=?base64?YQ=='],
    ['YQ==?=', 'YQ==?='],
  ]
  for (const [value, header] of cases) {
    t.equal(encodeHeader(value), header, JSON.stringify(value))
    t.equal(decodeHeader(header), value, `${header} back again`)
  }
})

t.test('what no header may hold cannot be read', async (t) => {
  const wrong = [
    'a\nb',
    'a\rb',
    'é',
    '\0',
    '\x7f',
    // No base64: letters outside the alphabet, padding that is missing, too long, or in the middle.
    '=?base64?Y Q=?=',
    '=?base64?YQ?=',
    '=?base64?YQ=?=',
    '=?base64?Y===?=',
    '=?base64?YQ==YQ==?=',
    '=?base64?====?=',
    '=?base64?YQ-_?=',
    '=?base64?YQ==\n?=',
    // Bytes that are no UTF-8: cut short, overlong, a surrogate.
    '=?base64?w6k=w6k=?=',
    `=?base64?${Buffer.from([0xc3]).toString('base64')}?=`,
    `=?base64?${Buffer.from([0xc0, 0xaf]).toString('base64')}?=`,
    `=?base64?${Buffer.from([0xed, 0xa0, 0x80]).toString('base64')}?=`,
    `=?base64?${Buffer.from([0x61, 0xff]).toString('base64')}?=`,
  ]
  for (const text of wrong) t.equal(decodeHeader(text), undefined, JSON.stringify(text))
})

t.test('arguments are written as the specification converts them', async (t) => {
  const cases: [Json | undefined, string | undefined][] = [
    ['text', 'text'],
    ['', ''],
    [42, '42'],
    [-7, '-7'],
    [0, '0'],
    [JSON.parse('42.0') as Json, '42'],
    [true, 'true'],
    [false, 'false'],
    [Number.MAX_SAFE_INTEGER, '9007199254740991'],
    [2 ** 53, undefined],
    [-(2 ** 53), undefined],
    [1.5, undefined],
    [null, undefined],
    [undefined, undefined],
    [{}, undefined],
    [['a'], undefined],
  ]
  for (const [value, text] of cases) t.equal(argumentText(value), text, JSON.stringify(value))
})

t.test('headers that contradict the body, or are missing, are named', async (t) => {
  const message = ask(whole, { name: 'größe' }, 'tools/call')
  const good = mirrored(message, modernRevision)
  t.equal(mismatch(good, message), undefined)
  t.equal(mismatch({ ...good, 'mcp-param-x': 'any', other: 'y' }, message), undefined)
  const list = ask(whole)
  t.equal(mismatch({ ...mirrored(list, modernRevision), 'mcp-name': 'x' }, list), undefined)
  const plain = ask(whole, { name: 'add' }, 'tools/call')
  const encoded = { ...mirrored(plain, modernRevision), 'mcp-name': '=?base64?YWRk?=' }
  t.equal(mismatch(encoded, plain), undefined, 'a name may be encoded without need')

  const cases: [string, string | string[] | undefined, RegExp][] = [
    ['mcp-protocol-version', undefined, /MCP-Protocol-Version header is missing/],
    ['mcp-protocol-version', '2025-11-25', /"2025-11-25", the body says "2026-07-28"/],
    ['mcp-protocol-version', '2026-07-28, 2026-07-28', /MCP-Protocol-Version/],
    ['mcp-protocol-version', ['2026-07-28', '2026-07-28'], /cannot be read/],
    ['mcp-protocol-version', '=?base64?MjAyNi0wNy0yOA==?=', /MCP-Protocol-Version/],
    ['mcp-protocol-version', '', /MCP-Protocol-Version/],
    ['mcp-method', undefined, /Mcp-Method header is missing/],
    ['mcp-method', 'tools/list', /"tools\/list", the body says "tools\/call"/],
    ['mcp-method', 'Tools/Call', /Mcp-Method/],
    ['mcp-method', '=?base64?dG9vbHMvY2FsbA==?=', /Mcp-Method/],
    ['mcp-name', undefined, /Mcp-Name header is missing/],
    ['mcp-name', 'add', /"add", the body says "größe"/],
    ['mcp-name', 'größe', /Mcp-Name header cannot be read/],
    ['mcp-name', '=?base64?Z3LDtsOfZQ?=', /Mcp-Name header cannot be read/],
    ['mcp-name', '=?base64?/w==?=', /Mcp-Name header cannot be read/],
    ['mcp-name', '=?BASE64?Z3LDtsOfZQ==?=', /the body says/],
  ]
  for (const [header, value, expected] of cases) {
    t.match(mismatch({ ...good, [header]: value }, message), expected, `${header}: ${value}`)
  }
  const long = mismatch({ ...good, 'mcp-name': 'x'.repeat(10_000) }, message) ?? ''
  t.ok(long.length < 300, 'a long value is not repeated whole')
})
