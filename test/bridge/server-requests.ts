import t from 'tap'
import { deliver } from '../../src/bridge/questions.ts'
import { ask } from '../../src/bridge/server-requests.ts'
import { answer as answers, hear, join, only, opened, texts, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { declaring, joined, modern, serving } from '../fixtures/bridged-eras.ts'
import { message, note, req, res } from '../fixtures/conversing.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'

const listening = (capabilities: object): Talk => {
  const it = opened(capabilities)
  it.feed({ type: 'stream', member: 'a', open: true })
  return it
}

t.test('a client is asked only what it declared', async (t) => {
  const cases: [string, object, boolean][] = [
    ['sampling/createMessage', { sampling: {} }, true],
    ['sampling/createMessage', { roots: {} }, false],
    ['sampling/createMessage', { sampling: true }, false],
    ['elicitation/create', { elicitation: {} }, true],
    ['elicitation/create', {}, false],
    ['roots/list', { roots: { listChanged: true } }, true],
    ['roots/list', {}, false],
    ['ping', {}, true],
    ['vendor/question', {}, true],
  ]
  for (const [method, capabilities, expected] of cases) {
    const it = listening(capabilities)
    const outputs = ask(it.conversation, req('q', method))
    t.equal(
      types(outputs).includes('deliver'),
      expected,
      `${method}: ${JSON.stringify(capabilities)}`,
    )
    if (!expected) {
      t.match(outputs[0], { type: 'dropped', reason: 'nobody-to-ask', detail: method })
      t.match(texts(outputs), [{ id: 'q', error: { code: -32601 } }])
    }
  }
})

t.test('requests without a session are nobody who could be asked', async (t) => {
  const it = opened({ roots: {} })
  it.feed({ type: 'join', member: 'single', single: true })
  it.feed({ type: 'leave', member: 'a' })
  it.request(req(1, 'tools/call'), 10, 'single')
  t.match(texts(ask(it.conversation, req('q', 'vendor/question'))), [{ id: 'q', error: {} }])
  t.match(texts(ask(it.conversation, req('p', 'ping'))), [{ id: 'p', result: {} }])
})

t.test('the backend gets its own id back, in its own spelling', async (t) => {
  for (const idText of ['1', '"1"', '1.0', '"a$&b"', '-5', '12345678901234567890']) {
    const it = listening({ roots: {} })
    const asked = message<Request>({ jsonrpc: '2.0', id: 0, method: 'roots/list' })
    const text = asked.text.replace('"id":0', () => `"id":${idText}`)
    const question = { ...asked, idText, text }
    const [output] = ask(it.conversation, question)
    const { id } = texts(output === undefined ? [] : [output])[0] as { id: number }
    t.equal(typeof id, 'number', 'the client sees one of ours')
    const [back] = it.feed({ type: 'post', member: 'a', message: res(id, { roots: [] }) })
    t.match(back, { type: 'send', message: { idText } }, idText)
    t.match(back?.type === 'send' && back.message.text, `"id":${idText},`)
  }
})

t.test('an error is an answer too', async (t) => {
  const it = listening({ roots: {} })
  const [{ id }] = texts(ask(it.conversation, req('q', 'roots/list'))) as [{ id: number }]
  const refusal = message<ReturnType<typeof res>>({
    jsonrpc: '2.0',
    id,
    error: { code: -1, message: 'denied' },
  })
  const outputs = it.feed({ type: 'post', member: 'a', message: refusal })
  t.match(texts(outputs), [{ id: 'q', error: { code: -1, message: 'denied' } }])
})

t.test('questions that are never answered do not pile up', async (t) => {
  const it = listening({ roots: {} })
  const member = it.conversation.members.get('a')
  if (member === undefined) throw new Error('no member')
  for (let count = 0; count < 1100; count++) {
    deliver(it.conversation, req(count, 'roots/list'), { member, exchange: undefined })
  }
  t.equal(it.conversation.questions.size, 1024)
})

t.test('a question that still waits for a stream can be called off', async (t) => {
  const it = opened({ roots: {} })
  ask(it.conversation, req('one', 'roots/list'))
  ask(it.conversation, req('two', 'roots/list'))
  const cancelled = note('notifications/cancelled', { requestId: 'one' })
  t.same(it.feed({ type: 'backend', message: cancelled }), [])
  const outputs = it.feed({ type: 'stream', member: 'a', open: true })
  t.same(types(outputs), ['deliver'])
  t.match([...it.conversation.questions.values()], [{ request: { idText: '"two"' } }])
})

t.test('what is called off is told where it was asked, or on the stream', async (t) => {
  for (const answered of [false, true]) {
    const it = opened({ roots: {} })
    it.request(req(1, 'tools/call'), 10)
    const [{ id }] = texts(ask(it.conversation, req('q', 'roots/list'))) as [{ id: number }]
    if (answered) it.feed({ type: 'backend', message: res(10) })
    const cancelled = note('notifications/cancelled', { requestId: 'q', reason: 'late' })
    const outputs = it.feed({ type: 'backend', message: cancelled })
    t.match(outputs, [{ type: 'deliver', member: 'a', exchange: answered ? undefined : 10 }])
    t.match(texts(outputs), [{ params: { requestId: id, reason: 'late' } }])
  }
})

t.test('a member that leaves answers nothing any more, held questions included', async (t) => {
  const it = opened({ roots: {} })
  ask(it.conversation, req('held', 'roots/list'))
  const outputs = it.feed({ type: 'leave', member: 'a' })
  t.match(texts(outputs), [{ id: 'held', error: { code: -32000 } }])
})

t.test('a stand-in keeps what its clients may be asked, and refuses the rest', async (t) => {
  const it = serving('sse', { roots: {} })
  t.same(ask(it.conversation, req('one', 'roots/list')), [])
  t.match(texts(ask(it.conversation, req('two', 'elicitation/create'))).at(-1), {
    id: 'two',
    error: {},
  })
  t.match(it.conversation.members.get('m')?.held, [{ idText: '"one"' }])
})

t.test(
  'a held question goes to the session client that opens a stream, not to modern ones',
  async (t) => {
    const it = serving('sse', {})
    joined(it, 'a', { roots: {} })
    t.same(ask(it.conversation, req('q', 'roots/list')), [])
    t.same(types(it.request(modern('c', 'tools/call'), 50)), ['send'])
    t.match(it.feed({ type: 'stream', member: 'a', open: true }), [
      { type: 'deliver', member: 'a' },
    ])
  },
)

t.test("a question in the answer to a session client is never a modern client's", async (t) => {
  const it = serving('streamable', { roots: {} })
  joined(it, 'a', { roots: {} })
  it.request(modern('c', 'tools/call', {}, { capabilities: { roots: {} } }), 50)
  it.request(req('d', 'tools/call'), 51, 'a')
  t.match(hear(it, req('q', 'roots/list'), 51), [{ type: 'deliver', member: 'a', exchange: 51 }])
  t.match(hear(it, req('r', 'roots/list'), 50), [{ type: 'gather', exchange: 50 }])
  const asked = [...it.conversation.questions.values()].map(({ member, exchange }) => [
    member,
    exchange,
  ])
  t.same(asked, [
    ['a', 51],
    ['m', 50],
  ])
})

t.test('modern clients who declared different things are asked apart', async (t) => {
  const it = serving('sse', { roots: {} })
  const capabilities = { elicitation: {} }
  join(it.feed, 'n', { single: true, declared: declaring(capabilities) })
  it.request(modern('c', 'tools/call', {}, { capabilities: { roots: {} } }), 50)
  it.request(modern('d', 'tools/call', {}, { capabilities }), 51, 'n')
  t.same(only(hear(it, req('q', 'elicitation/create')), 'deliver'), [], 'two may be meant')
  t.match(it.conversation.members.get('n')?.held, [{ idText: '"q"' }], 'but only one can be asked')
  answers(it, 50)
  answers(it, 51)
  const outputs = it.request(modern('e', 'tools/call', {}, { capabilities: { roots: {} } }), 52)
  t.same(types(outputs), ['send'], 'and no other one is')
  t.match(it.request(modern('f', 'tools/call', {}, { capabilities }), 53, 'n'), [
    {},
    { type: 'gather', exchange: 53 },
  ])
})

t.test('a stand-in keeps no question of a kind that its clients have not declared', async (t) => {
  const it = serving('sse', { elicitation: { form: {} } })
  t.same(ask(it.conversation, req('form', 'elicitation/create', { message: '?' })), [])
  const outputs = ask(it.conversation, req('url', 'elicitation/create', { mode: 'url' }))
  t.match(texts(outputs).at(-1), { id: 'url', error: { code: -32601 } })
})

t.test('a question in an answer whose request cannot be asked is refused', async (t) => {
  const capabilities = { roots: {} }
  const it = serving('streamable', capabilities)
  it.request(modern('l', 'tools/list', {}, { capabilities }), 50)
  t.match(texts(hear(it, req('q', 'roots/list'), 50)).at(-1), { id: 'q', error: { code: -32601 } })
  t.match(texts(answers(it, 50)), [{ id: 'l', result: {} }], 'and the request goes on')
})

t.test('any request of a session client makes it doubtful whose a question is', async (t) => {
  const capabilities = { roots: {} }
  const it = serving('sse', capabilities)
  joined(it, 'a', capabilities)
  it.request(modern('c', 'tools/call', {}, { capabilities }), 50)
  it.request(req('d', 'vendor/x'), 51, 'a')
  t.match(hear(it, req('q', 'roots/list')), [{ type: 'deliver', member: 'a', exchange: 51 }])
})

t.test('a member that leaves takes no question of another one with it', async (t) => {
  const it = serving('sse')
  for (const member of ['a', 'b']) {
    joined(it, member, { roots: {} })
    it.feed({ type: 'stream', member, open: true })
    ask(it.conversation, req(member, 'roots/list'))
  }
  const outputs = it.feed({ type: 'leave', member: 'b' })
  t.match(texts(outputs), [{ id: 'b', error: { code: -32000 } }])
  t.equal(outputs.length, 1)
  t.match([...it.conversation.questions.values()], [{ member: 'a' }])
})
