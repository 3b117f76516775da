import t from 'tap'
import type { Json, JsonObject } from '../../src/protocol/jsonrpc.ts'
import {
  headersOf,
  isCallable,
  mismatchIn,
  repeatsArguments,
} from '../../src/protocol/tool-headers.ts'

const tool = (inputSchema: Json): JsonObject => ({ name: 'a', inputSchema })
const marked = (name: Json = 'Region', type: Json = 'string'): JsonObject => ({
  type,
  'x-mcp-header': name,
})
const object = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  properties,
  ...more,
})

t.test('marked arguments are repeated in headers', async (t) => {
  const schema = object({
    region: marked('Region'),
    query: { type: 'string' },
    count: marked('COUNT', 'integer'),
    dry: marked("!#$%&'*+.^_`|~-0Az", 'boolean'),
    place: object({ city: object({ name: marked('city-name') }) }),
  })
  const given = {
    region: 'us west\u00e9',
    query: 'SELECT 1',
    count: -7,
    dry: false,
    place: { city: { name: 'Bonn' } },
  }
  t.same(headersOf(tool(schema), given), {
    'mcp-param-region': '=?base64?dXMgd2VzdMOp?=',
    'mcp-param-count': '-7',
    "mcp-param-!#$%&'*+.^_`|~-0az": 'false',
    'mcp-param-city-name': 'Bonn',
  })
})

t.test('what has no value has no header', async (t) => {
  const schema = tool(object({ region: marked(), in: object({ deep: marked('Deep') }) }))
  const none: (Json | undefined)[] = [
    undefined,
    null,
    'text',
    ['us'],
    {},
    { region: null, in: null },
    { region: {}, in: 'text' },
    { region: ['us'], in: { deep: null } },
    { region: 1.5, in: [{ deep: 'x' }] },
    { Region: 'us', deep: 'x' },
    { region: 2 ** 53 },
  ]
  for (const given of none) t.same(headersOf(schema, given), {}, JSON.stringify(given))
  t.same(headersOf(schema, { region: '' }), { 'mcp-param-region': '=?base64??=' })
})

t.test('a tool without annotations, or without a schema, is as good as any', async (t) => {
  for (const schema of [undefined, null, true, 'text', {}, object({}), object({ a: true })]) {
    const one: JsonObject = { name: 'a', ...(schema !== undefined && { inputSchema: schema }) }
    t.equal(isCallable(one), true, JSON.stringify(schema))
    t.same(headersOf(one, { a: 1 }), {})
  }
})

t.test('an annotation that clients may not follow makes the tool none', async (t) => {
  const wrong: [string, Json][] = [
    ['empty', object({ a: marked('') })],
    ['no text', object({ a: marked(7) })],
    ['null', object({ a: marked(null) })],
    ['with a space', object({ a: marked('My Region') })],
    ['with a colon', object({ a: marked('a:b') })],
    ['with a line end', object({ a: marked('a\r\nX-Evil: 1') })],
    ['with a line end last', object({ a: marked('a\n') })],
    ['no ASCII', object({ a: marked('Größe') })],
    ['on a number', object({ a: marked('A', 'number') })],
    ['on an object', object({ a: { ...object({}), 'x-mcp-header': 'A' } })],
    ['on an array', object({ a: marked('A', 'array') })],
    ['on null', object({ a: marked('A', 'null') })],
    ['on several types', object({ a: marked('A', ['string', 'null']) })],
    ['without a type', object({ a: { 'x-mcp-header': 'A' } })],
    ['on the root', { ...marked(), properties: {} }],
    ['twice', object({ a: marked('A'), b: marked('A') })],
    ['twice but for its case', object({ a: marked('Region'), b: object({ c: marked('REGION') }) })],
    ['in items', object({ a: { type: 'array', items: marked() } })],
    ['in properties of items', object({ a: { items: object({ b: marked() }) } })],
    ['in prefixItems', object({ a: { prefixItems: [marked()] } })],
    ['in contains', object({ a: { contains: marked() } })],
    ['in oneOf', object({ a: { oneOf: [marked()] } })],
    ['in anyOf', object({ a: { anyOf: [{ type: 'null' }, marked()] } })],
    ['in allOf of the root', object({}, { allOf: [object({ a: marked() })] })],
    ['in not', object({ a: { not: marked() } })],
    ['in if', object({}, { if: object({ a: marked() }) })],
    ['in then', object({}, JSON.parse(`{"then":${JSON.stringify(object({ a: marked() }))}}`))],
    ['in else', object({}, { else: object({ a: marked() }) })],
    ['in $defs', object({ a: { $ref: '#/$defs/a' } }, { $defs: { a: marked() } })],
    ['in definitions', object({}, { definitions: { a: marked() } })],
    ['in additionalProperties', object({}, { additionalProperties: marked() })],
    ['in patternProperties', object({}, { patternProperties: { '^a': marked() } })],
    ['in dependentSchemas', object({}, { dependentSchemas: { a: object({ b: marked() }) } })],
    ['in propertyNames', object({}, { propertyNames: marked() })],
    ['under a keyword that nobody knows', object({}, { 'x-vendor': { inner: marked() } })],
    ['beside a good one', object({ a: marked('A'), b: marked('B C') })],
  ]
  for (const [name, schema] of wrong) {
    t.equal(isCallable(tool(schema)), false, name)
    t.same(headersOf(tool(schema), { a: 'x', b: 'y' }), {}, `${name}: nothing is repeated`)
  }
})

t.test('data and names that only look like an annotation are none', async (t) => {
  const fine: [string, Json][] = [
    ['a property of that name', object({ 'x-mcp-header': { type: 'number' } })],
    ['data', object({ a: { type: 'object', default: { 'x-mcp-header': 'a b' } } })],
    ['examples', object({ a: { examples: [{ 'x-mcp-header': 1 }] } })],
    ['a constant', object({ a: { const: { 'x-mcp-header': '' } } })],
    ['an enumeration', object({ a: { enum: [{ 'x-mcp-header': '' }] } })],
  ]
  for (const [name, schema] of fine) t.equal(isCallable(tool(schema)), true, name)
  const names = object({ default: marked('A'), items: marked('B'), properties: marked('C') })
  t.same(
    headersOf(tool(names), { default: '1', items: '2', properties: '3' }),
    { 'mcp-param-a': '1', 'mcp-param-b': '2', 'mcp-param-c': '3' },
    'properties may have the names of keywords',
  )
})

t.test('whether a tool repeats arguments is told', async (t) => {
  t.equal(repeatsArguments(tool(object({ a: object({ b: marked() }) }))), true)
  t.equal(repeatsArguments(tool(object({ a: { type: 'string' } }))), false)
  t.equal(repeatsArguments({ name: 'a' }), false)
  t.equal(repeatsArguments(tool(object({ a: marked('no token') }))), false)
})

t.test('headers that contradict the arguments, or are missing, are named', async (t) => {
  const schema = tool(
    object({ a: marked('A'), n: marked('N', 'integer'), on: marked('On', 'boolean') }),
  )
  const good: [Json | undefined, Record<string, string>][] = [
    [{ a: 'x' }, { 'mcp-param-a': 'x' }],
    [{ a: 'größe' }, { 'mcp-param-a': '=?base64?Z3LDtsOfZQ==?=' }],
    [{ a: 'x' }, { 'mcp-param-a': '=?base64?eA==?=', 'mcp-param-other': 'any' }],
    [{ n: 42 }, { 'mcp-param-n': '42' }],
    // Numbers are compared as such.
    [{ n: 42 }, { 'mcp-param-n': '42.0' }],
    [
      { n: -7, on: false },
      { 'mcp-param-n': '-7', 'mcp-param-on': 'false' },
    ],
    [{ a: null }, {}],
    [{}, {}],
    [undefined, {}],
  ]
  for (const [given, headers] of good) {
    t.equal(mismatchIn(schema, given, headers), undefined, JSON.stringify([given, headers]))
  }
  const wrong: [Json, Record<string, string>, RegExp][] = [
    [{ a: 'x' }, {}, /mcp-param-a header is missing/],
    [{ a: '' }, {}, /missing/],
    [{ a: 'x' }, { 'mcp-param-a': 'y' }, /does not say/],
    [{ a: 'x' }, { 'mcp-param-a': 'X' }, /does not say/],
    [{ a: 'x' }, { 'mcp-param-a': 'x, x' }, /does not say/],
    [{ a: 'x' }, { 'mcp-param-a': '=?base64?eA?=' }, /cannot be read/],
    [{ a: 'é' }, { 'mcp-param-a': 'é' }, /cannot be read/],
    [{ a: 'x' }, { 'mcp-param-a': '=?base64?/w==?=' }, /cannot be read/],
    [{ a: '42' }, { 'mcp-param-a': '42.0' }, /does not say/],
    [{ n: 42 }, { 'mcp-param-n': '43' }, /does not say/],
    [{ n: 42 }, { 'mcp-param-n': 'forty-two' }, /does not say/],
    [{ on: true }, { 'mcp-param-on': 'True' }, /does not say/],
    [{ a: 'x', n: 1 }, { 'mcp-param-a': 'x' }, /mcp-param-n header is missing/],
  ]
  for (const [given, headers, expected] of wrong) {
    t.match(mismatchIn(schema, given, headers), expected, JSON.stringify([given, headers]))
  }
  const faulty = tool(object({ a: marked('no token') }))
  t.equal(mismatchIn(faulty, { a: 'x' }, {}), undefined, 'a faulty annotation asks for nothing')
})

t.test('members that objects inherit are no arguments', async (t) => {
  const schema = object({ constructor: object({ name: marked() }), toString: marked('B') })
  t.same(headersOf(tool(schema), {}), {})
})

t.test('a schema nested without end costs no more than its depth', async (t) => {
  let deep: JsonObject = marked('Deepest')
  for (let depth = 0; depth < 5000; depth++) deep = object({ a: deep })
  t.doesNotThrow(() => isCallable(tool(deep)))
  t.same(headersOf(tool(deep), {}), {})
})
