import t from 'tap'
import { lost, opened, stateOf, talk, types } from '../fixtures/bridged.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
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
