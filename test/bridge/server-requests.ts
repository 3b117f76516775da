import t from 'tap'
import { deliver } from '../../src/bridge/questions.ts'
import { ask } from '../../src/bridge/server-requests.ts'
import { opened, texts, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
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
