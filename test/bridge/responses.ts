import t from 'tap'
import {
  answer,
  answerWith,
  lost,
  opened,
  refuse,
  stateOf,
  talk,
  texts,
  types,
} from '../fixtures/bridged.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, message, note, req, res } from '../fixtures/conversing.ts'
import { mayPass } from '../../src/bridge/responses.ts'
import type { Response } from '../../src/protocol/jsonrpc.ts'

const error = (id: unknown, text: string, code = -32601): Response =>
  message({ jsonrpc: '2.0', id, error: { code, message: text } })

t.test('tools are taken at their latest word', async (t) => {
  const it = opened()
  const list = (tools: unknown) => {
    it.request(req(1, 'tools/list'), 10)
    it.feed({ type: 'backend', message: res(10, { tools }) })
  }
  list([
    { name: 'look', annotations: { readOnlyHint: true } },
    { name: 'put', annotations: { idempotentHint: true } },
    { name: 'pay', annotations: { readOnlyHint: 'yes' } },
    { name: 'go' },
    { annotations: { readOnlyHint: true } },
    null,
  ])
  t.same([...it.conversation.repeatableTools], ['look', 'put'])
  list([{ name: 'look' }])
  t.same([...it.conversation.repeatableTools], ['put'])
  for (const odd of [undefined, 'none', { name: 'x' }]) list(odd)
  t.same([...it.conversation.repeatableTools], ['put'])
})

t.test('what was refused is not remembered', async (t) => {
  const it = opened()
  it.request(req(1, 'logging/setLevel', { level: 'debug' }), 10)
  it.feed({ type: 'backend', message: error(10, 'no') })
  it.request(req(2, 'resources/subscribe', { uri: 'x' }), 11)
  it.feed({ type: 'backend', message: error(11, 'no') })
  t.equal(it.conversation.logLevel, undefined)
  t.equal(it.conversation.subscriptions.size, 0)
})

t.test('where answers come in the POST, the POST says whose they are', async (t) => {
  for (const id of ['q', null, 77, 'server-error', 11]) {
    const it = talk('rpc')
    it.request(req('q', 'tools/list'), 10)
    it.request(req('r', 'tools/list'), 11)
    const outputs = it.feed({ type: 'backend', message: res(id), exchange: 10 })
    t.match(outputs, [{ type: 'finish', exchange: 10, response: { idText: '"q"' } }], String(id))
  }
})

t.test('on one stream, the id says so even in the POST of another', async (t) => {
  const it = opened()
  it.request(req('q', 'tools/list'), 10)
  it.request(req('r', 'tools/list'), 11)
  t.match(it.feed({ type: 'backend', message: res(11), exchange: 10 }), [
    { type: 'finish', exchange: 11 },
  ])
  t.match(it.feed({ type: 'backend', message: res(null), exchange: 10 }), [
    { type: 'finish', exchange: 10 },
  ])
})

t.test('an answer without a home changes nothing but is counted', async (t) => {
  const it = opened()
  it.request(req('q', 'tools/list'), 10)
  it.request(req('r', 'tools/list'), 11)
  const before = stateOf(it.conversation)
  for (const id of [99, null, 'nobody']) {
    t.match(it.feed({ type: 'backend', message: res(id) }), [
      { type: 'dropped', reason: 'answer-without-request' },
    ])
  }
  t.equal(stateOf(it.conversation), before)
})

t.test('an answer that names the method of a notification is that one’s', async (t) => {
  const it = opened()
  it.conversation.unanswered.length = 0
  for (const method of ['notifications/one', 'notifications/two', 'notifications/three']) {
    it.feed({ type: 'post', member: 'a', message: note(method) })
  }
  it.request(req(1, 'tools/call'), 10)
  const text = "Method 'notifications/two' not found"
  t.match(it.feed({ type: 'backend', message: error(null, text) }), [
    { reason: 'answer-to-notification' },
  ])
  t.match(it.conversation.unanswered, [{ method: 'notifications/three' }], 'and those before it')
  t.equal(it.conversation.answersNotifications, true)
  t.ok(it.conversation.exchanges.has(10))
})

t.test('a refused handshake of ours says why', async (t) => {
  const it = talk()
  it.feed({ type: 'join', member: 'single', single: true })
  it.request(req(1, 'tools/list'), 10, 'single')
  const outputs = it.feed({ type: 'backend', message: error(1000, 'closed today', -32000) })
  t.match(outputs, [
    { type: 'fail', exchange: 10, error: { code: 'BACKEND_REFUSED', message: /closed today/ } },
  ])
})

t.test('a refused initialize leaves the session to be begun', async (t) => {
  const it = talk()
  it.request(initialize('i'), 1)
  t.same(types(it.feed({ type: 'backend', message: error(1, 'no') })), ['finish'])
  t.equal(it.conversation.phase, 'fresh')
})

const unsafe = { idText: '9007199254740993', value: { id: 2 ** 53, method: 'tools/call' } }

t.test('a response may pass in bytes where nothing in it is read or changed', async (t) => {
  const it = streaming()
  it.request(req(1, 'tools/call'), 10)
  it.request(req('a', 'resources/read'), 11)
  it.request(inBytes(2), 12)
  for (const number of [10, 11, 12]) t.equal(mayPass(it.conversation, number), true, `${number}`)
  it.request(req(3, 'tools/list'), 13)
  t.equal(mayPass(it.conversation, 13), false, 'tools say whether they may be called twice')
  t.equal(mayPass(it.conversation, 99), false, 'nobody has asked for it')
  it.request({ ...req(0, 'tools/call'), ...unsafe }, 14)
  t.equal(mayPass(it.conversation, 14), false, 'its id went out as another one')
  it.request(initialize('again'), 15)
  t.equal(mayPass(it.conversation, 15), false, 'it settles what is spoken')
})

t.test('the response to a request of our own is read', async (t) => {
  const it = streaming()
  it.request(req(1, 'logging/setLevel', { level: 'debug' }), 10)
  it.feed({ type: 'backend', message: res(1), exchange: 10 })
  it.feed({ type: 'gone', error: lost })
  it.request(req(2, 'tools/call'), 11)
  const [handshake] = it.feed({ type: 'reopened' })
  const exchange = handshake?.type === 'send' ? handshake.exchange : undefined
  const message = res(exchange, { protocolVersion: '2025-06-18' })
  it.feed({ type: 'backend', message, ...(exchange && { exchange }) })
  const ours = [...it.conversation.exchanges].find(([, { purpose }]) => purpose === 'restore')
  t.ok(ours)
  t.equal(mayPass(it.conversation, ours?.[0] ?? 0), false)
  t.equal(mayPass(it.conversation, 11), true)
})

t.test('on one stream none passes: their ids are ours', async (t) => {
  const it = opened()
  it.request(req('q', 'tools/call'), 10)
  t.equal(mayPass(it.conversation, 10), false)
})

t.test(
  'a response that has passed ends its exchange, and a second one is for nobody',
  async (t) => {
    const it = streaming()
    it.request(req(1, 'tools/call'), 10)
    t.same(it.feed({ type: 'passing', exchange: 10 }), [])
    t.equal(it.conversation.exchanges.get(10)?.passing, true)
    t.same(it.feed({ type: 'passed', exchange: 10 }), [])
    t.equal(it.conversation.exchanges.size, 0)
    t.same(types(it.feed({ type: 'backend', message: res(1), exchange: 10 })), ['dropped'])
    const before = stateOf(it.conversation)
    for (const type of ['passing', 'passed'] as const) t.same(it.feed({ type, exchange: 10 }), [])
    t.equal(stateOf(it.conversation), before)
  },
)

t.test('what is changed on its way between the eras never passes in bytes', async (t) => {
  for (const dialect of ['sse', 'streamable', 'rpc'] as const) {
    const it = serving(dialect)
    it.request(modern(50, 'resources/read', { uri: 'x' }), 50)
    t.notOk(mayPass(it.conversation, 50), dialect)
  }
  const it = translated()
  it.request(req('q', 'resources/read', { uri: 'x' }), 50)
  t.notOk(mayPass(it.conversation, 50))
  const same = serving('stateless')
  same.request(modern('q', 'resources/read', { uri: 'x' }), 50)
  t.ok(mayPass(same.conversation, 50))
})

t.test('an answer that passes puts no question of a modern client anew', async (t) => {
  const capabilities = { roots: {} }
  const it = serving('streamable', capabilities)
  it.request(modern(50, 'tools/call', {}, { capabilities }), 50)
  it.feed({ type: 'backend', message: req('s', 'roots/list'), exchange: 50 })
  t.same(it.feed({ type: 'passing', exchange: 50 }), [])
})

t.test('between two of the same era an answer stays as it is', async (t) => {
  const it = serving('stateless')
  for (const body of [
    '"result":{ "resultType":"complete","ttlMs":5 }',
    '"result":{"resultType":"input_required"}',
    '"error":{"code":-32002,"message":"m"}',
    '"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"u"}]}}',
    '"result":null',
  ]) {
    it.request(modern('q', 'resources/read', { uri: 'x' }), 50)
    const [done] = answerWith(it, 50, body)
    t.match(done, { type: 'finish', response: { idText: '"q"' } }, body)
    t.ok(done?.type === 'finish' && done.response.text.includes(body))
  }
})

t.test('a modern client hears what era its answer is of, and who answered', async (t) => {
  for (const dialect of ['sse', 'streamable', 'rpc'] as const) {
    const it = serving(dialect)
    it.request(modern('q', 'resources/read', { uri: 'x' }), 50)
    t.match(texts(answer(it, 50, { contents: [] })), [
      {
        id: 'q',
        result: {
          resultType: 'complete',
          ttlMs: 0,
          cacheScope: 'private',
          contents: [],
          ...(dialect !== 'rpc' && {
            _meta: { 'io.modelcontextprotocol/serverInfo': { name: 's' } },
          }),
        },
      },
    ])
    it.request(modern('r', 'resources/read', { uri: 'x' }), 51)
    t.match(texts(refuse(it, 51, -32002)), [{ id: 'r', error: { code: -32602 } }])
  }
})

t.test('tools that say they may be called twice are known of a modern backend too', async (t) => {
  const it = translated()
  it.request(req('q', 'tools/list'), 50)
  const look = { name: 'look', inputSchema: {}, annotations: { readOnlyHint: true } }
  answer(it, 50, { resultType: 'complete', tools: [look] })
  t.same([...it.conversation.repeatableTools], ['look'])
})
