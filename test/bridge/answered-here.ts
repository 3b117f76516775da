import t from 'tap'
import type { Dialect } from '../../src/protocol/dialects.ts'
import { only, parsed, talk, texts, types } from '../fixtures/bridged.ts'
import { joined, modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, req } from '../fixtures/conversing.ts'

const session: readonly Dialect[] = ['sse', 'streamable', 'rpc']
const former = [
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
]

t.test('a modern client has no methods of sessions, whatever the backend has', async (t) => {
  for (const dialect of session) {
    for (const method of former) {
      const it = serving(dialect)
      const outputs = it.request(modern('q', method, { uri: 'x', level: 'info' }), 50)
      t.same(
        texts(outputs),
        [
          {
            jsonrpc: '2.0',
            id: 'q',
            error: { code: -32601, message: `method not found: ${method}` },
          },
        ],
        `${method} on ${dialect}`,
      )
      t.same(types(outputs), ['finish'])
      t.equal(it.conversation.exchanges.size, 0)
    }
  }
})

t.test('a modern server is the judge of what modern clients ask', async (t) => {
  for (const method of [...former, 'server/discover', 'subscriptions/listen', 'vendor/x']) {
    const it = serving('stateless')
    const message = modern('q', method)
    t.equal(only(it.request(message, 50), 'send')[0]?.message, message, method)
  }
})

t.test('server/discover of a session client is refused here, so that it falls back', async (t) => {
  for (const dialect of ['sse', 'streamable', 'rpc'] as const) {
    const it = talk(dialect)
    const outputs = it.request(req('q', 'server/discover'), 50)
    t.match(texts(outputs), [{ id: 'q', error: { code: -32601 } }], dialect)
    t.equal(it.conversation.phase, dialect === 'rpc' ? 'open' : 'fresh', 'and opens nothing')
  }
})

t.test('ping is answered for a modern server, which has none', async (t) => {
  t.same(texts(translated().request(req('q', 'ping'), 50)), [
    { jsonrpc: '2.0', id: 'q', result: {} },
  ])
  t.same(texts(serving('stateless').request(req('q', 'ping'), 50)), [
    { jsonrpc: '2.0', id: 'q', result: {} },
  ])
})

t.test('a caller without a session cannot hear of changes, and is told so', async (t) => {
  for (const method of ['resources/subscribe', 'resources/unsubscribe', 'subscriptions/listen']) {
    const outputs = serving('stateless').request(req('q', method, { uri: 'x' }), 50)
    const [{ error }] = texts(outputs) as [{ error: { code: number; message: string } }]
    t.equal(error.code, -32601)
    t.match(error.message, method)
  }
})

t.test('nor can it set a level: that is granted, and forgotten', async (t) => {
  const it = serving('stateless')
  t.match(texts(it.request(req('q', 'logging/setLevel', { level: 'debug' }), 50)), [{ result: {} }])
  t.equal(it.conversation.logLevel, undefined)
})

t.test('a session client cannot listen in the way of a later revision', async (t) => {
  const it = translated()
  const outputs = it.request(req('q', 'subscriptions/listen', { notifications: {} }), 50)
  t.match(texts(outputs), [{ id: 'q', error: { code: -32601 } }])
})

t.test('all else goes to the backend', async (t) => {
  for (const method of ['tools/call', 'completion/complete', 'tasks/get', 'vendor/x', '']) {
    for (const dialect of session) {
      t.same(types(serving(dialect).request(modern('q', method), 50)), ['send'], method)
    }
    t.same(types(translated().request(req('q', method), 50)), ['send'], method)
  }
})

t.test('who listens must say for what', async (t) => {
  const bad: unknown[] = [undefined, null, [], 'x', true]
  const filters = [{ resourceSubscriptions: 'x' }, { resourceSubscriptions: [5] }]
  const many = { resourceSubscriptions: [...Array(1001).keys()].map((each) => `x:/${each}`) }
  for (const notifications of [...bad, ...filters, { resourceSubscriptions: null }, many]) {
    const it = serving('streamable')
    const outputs = it.request(modern('q', 'subscriptions/listen', { notifications }), 50)
    const shown = JSON.stringify(notifications)?.slice(0, 40)
    t.match(texts(outputs), [{ id: 'q', error: { code: -32602 } }], shown)
    t.equal(it.conversation.listeners.size, 0)
  }
  const text =
    '{"jsonrpc":"2.0","id":"q","method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}'
  t.match(texts(serving('sse').request(parsed(text), 50)), [{ error: { code: -32602 } }])
})

t.test(
  'who listens opens the backend session, but not beside a client that opens it',
  async (t) => {
    const listen = modern('q', 'subscriptions/listen', {
      notifications: { toolsListChanged: true },
    })
    const it = talk('sse', { member: 'm', single: true, pooled: true })
    t.match(texts(it.request(listen, 50)), [{ method: 'initialize' }])
    const other = talk('sse', { member: 'm', single: true, pooled: true })
    joined(other, 'a')
    other.request(initialize('i'), 10, 'a')
    t.same(other.request(listen, 50), [])
  },
)
