import t from 'tap'
import { declaredFor, onTheWire } from '../../src/bridge/requests.ts'
import type { Dialect } from '../../src/protocol/dialects.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import { only, parsed, talk } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { inBytes } from '../fixtures/bridged-bytes.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, req } from '../fixtures/conversing.ts'

const prefix = 'io.modelcontextprotocol/'
const ours = {
  [`${prefix}protocolVersion`]: '2026-07-28',
  [`${prefix}clientInfo`]: { name: 'c', version: '1' },
  [`${prefix}clientCapabilities`]: { roots: {} },
}
const wire = (it: Talk, message: Request): Request => {
  const [sent] = only(it.request(message, 50), 'send')
  if (sent?.message.kind !== 'request') throw new Error('nothing was sent')
  return sent.message
}
const said = ({ text }: Request) => JSON.parse(text)
const session = (dialect: Dialect): Talk => {
  if (dialect === 'stateless') return translated({ roots: {} })
  return serving(dialect)
}

t.test('a session server gets nothing that only requests of 2026-07-28 have', async (t) => {
  for (const dialect of ['sse', 'streamable', 'rpc'] as const) {
    const id = dialect === 'rpc' ? 'q' : 50
    const it = session(dialect)
    const params = { name: 'x', inputResponses: { a: {} }, requestState: 's' }
    // An rpc backend has nothing that could be waiting for answers.
    t.same(said(wire(it, modern('q', 'tools/call', params))), {
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'x' },
    })
    const meta = { progressToken: 'p', 'vendor/x': 1 }
    t.match(said(wire(it, modern('q', 'prompts/get', { name: 'x' }, { meta }))).params, {
      _meta: { progressToken: dialect === 'rpc' ? 'p' : 50, 'vendor/x': 1 },
    })
  }
})

t.test(
  'a modern server gets what its requests must have, from what the client said before',
  async (t) => {
    const cases: [unknown, object][] = [
      [undefined, { _meta: ours }],
      [{}, { _meta: ours }],
      [{ name: 'x' }, { name: 'x', _meta: ours }],
      [{ _meta: { progressToken: 'p' } }, { _meta: { progressToken: 'p', ...ours } }],
      [
        { _meta: null, name: 'x' },
        { name: 'x', _meta: ours },
      ],
      [{ _meta: [1] }, { _meta: ours }],
      [null, { _meta: ours }],
      [[1, 2], { _meta: ours }],
      ['x', { _meta: ours }],
    ]
    for (const [params, expected] of cases) {
      const it = session('stateless')
      const message = parsed<Request>(
        JSON.stringify({ jsonrpc: '2.0', id: 'q', method: 'tools/call', params }),
      )
      const sent = wire(it, message)
      t.same(said(sent).params, expected, JSON.stringify(params))
      t.equal(sent.idText, '"q"', 'under its own id')
    }
  },
)

t.test('what a session client writes in the place of these things does not count', async (t) => {
  const forged = modern(
    'q',
    'tools/call',
    {},
    { capabilities: { elicitation: {} }, logLevel: 'debug' },
  )
  const meta = said(wire(session('stateless'), forged)).params['_meta']
  t.same(meta[`${prefix}clientCapabilities`], { roots: {} })
  t.same(meta[`${prefix}clientInfo`], { name: 'c', version: '1' })
})

t.test('a modern request goes to a modern server as it came', async (t) => {
  const message = modern('q', 'tools/call', { name: 'x', requestState: 's' }, { logLevel: 'debug' })
  t.equal(wire(serving('stateless'), message), message)
})

t.test('what is not ours stays as it was written', async (t) => {
  const odd = '"n":12345678901234567890 ,"u":"\\u00e9","e":1e400, "d":1,"d":{}'
  const plain = parsed<Request>(
    `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{${odd},"_meta":{"vendor":{${odd}}}}}`,
  )
  const dressed = parsed<Request>(
    `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{${odd},"_meta":{"vendor":{${odd}},"${prefix}protocolVersion":"2026-07-28","${prefix}clientCapabilities":{}}}}`,
  )
  const sent = [
    wire(session('stateless'), plain),
    wire(serving('sse'), dressed),
    wire(serving('rpc'), dressed),
  ]
  for (const { text } of sent) {
    for (const part of ['12345678901234567890', '"u":"\\u00e9"', '1e400', '"d":1', '"d":{}']) {
      t.equal(text.split(part).length, 3, `${part} twice in ${text}`)
    }
  }
})

t.test('keys of ours are known however they are spelt', async (t) => {
  const spelt = `${prefix}protocolVersion`.replace('/', '\\u002f')
  const message = parsed<Request>(
    `{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"_me\\u0074a":{"${spelt}":"2026-07-28","x":1},"request\\u0053tate":"s"}}`,
  )
  t.same(said(wire(serving('sse'), message)).params, { _meta: { x: 1 } })
})

t.test('a client keeps what it said of itself as it was written', async (t) => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  for (const value of ['12345678901234567890', '"\\u00e9"', '1e400', deep]) {
    const it = talk('stateless')
    const { text } = initialize('i')
    const said = text.replace('"capabilities":{}', `"capabilities":{"experimental":{"x":${value}}}`)
    const greeted = said.replace('"version":"1"', `"version":"1","x":${value}`)
    const [sent] = only(it.request(parsed(greeted), 50), 'send')
    t.equal(sent?.message.text.split(value).length, 3)
  }
})

t.test('ids that a server might read as another number are replaced', async (t) => {
  for (const id of ['12345678901234567890', '-9007199254740993', '1.5', '1e300']) {
    const text = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{}}`
    t.equal(wire(session('stateless'), parsed(text)).idText, '50', id)
  }
  for (const id of ['1', '"1"', '1.0', '-7', '9007199254740991', '""']) {
    const text = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{}}`
    t.equal(wire(session('stateless'), parsed(text)).idText, id)
  }
})

t.test('a request that nobody has read goes as it is', async (t) => {
  const it = session('stateless')
  const message = inBytes('q')
  const member = it.conversation.members.get('a')
  t.equal(
    onTheWire(it.conversation, { request: message, declared: undefined }, member, 50),
    message,
  )
})

t.test('a caller that has said nothing of itself is us, and cannot be asked', async (t) => {
  const it = serving('stateless')
  const { params } = said(wire(it, req('q', 'tools/call')))
  t.match(params['_meta'], {
    [`${prefix}clientInfo`]: { name: 'causeway' },
    [`${prefix}clientCapabilities`]: {},
  })
  t.match(declaredFor(it.conversation, undefined), { capabilitiesText: '{}', logLevel: undefined })
})

t.test('the level that a session client set goes with each of its requests', async (t) => {
  const it = session('stateless')
  const level = () => said(wire(it, req('q', 'tools/call'))).params['_meta'][`${prefix}logLevel`]
  t.equal(level(), undefined)
  it.request(req('l', 'logging/setLevel', { level: 'warning' }), 7)
  t.equal(level(), 'warning')
})
