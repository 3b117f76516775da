import t from 'tap'
import { only, opened, lost, sentAs, stateOf, talk, texts, types } from '../fixtures/bridged.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, note, req, res } from '../fixtures/conversing.ts'

const cancelled = (requestId: unknown) => note('notifications/cancelled', { requestId })

t.test('initialize cannot be cancelled', async (t) => {
  const it = talk()
  it.request(initialize('i'), 1)
  const before = stateOf(it.conversation)
  t.same(it.feed({ type: 'post', member: 'a', message: cancelled('i') }), [])
  t.equal(stateOf(it.conversation), before)
})

t.test('an initialize that is too slow fails, and the backend is not told', async (t) => {
  const it = talk()
  it.request(initialize('i'), 1)
  t.same(types(it.feed({ type: 'expired', exchange: 1, error: lost })), ['fail'])
})

t.test('an id of another type is another request', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/call'), 10)
  t.same(it.feed({ type: 'post', member: 'a', message: cancelled('1') }), [])
  t.same(it.feed({ type: 'post', member: 'a', message: note('notifications/cancelled') }), [])
  t.ok(it.conversation.exchanges.has(10))
  const outputs = it.feed({ type: 'post', member: 'a', message: cancelled(1) })
  t.same(types(outputs), ['fail', 'send', 'abort'])
})

t.test('a request that has not been sent is called off in silence', async (t) => {
  const it = opened()
  it.feed({ type: 'gone', error: lost })
  it.request(req(1, 'tools/call'), 10)
  const outputs = it.feed({ type: 'post', member: 'a', message: cancelled(1) })
  t.match(outputs, [{ type: 'fail', exchange: 10, error: { code: 'CANCELLED' } }])
  t.equal(outputs.length, 1)
})

t.test('going away is no cancel where the dialect has it so', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/call'), 10)
  t.same(it.feed({ type: 'abandoned', exchange: 10, cancels: false }), [])
  t.ok(it.conversation.exchanges.has(10))
  const outputs = it.feed({ type: 'abandoned', exchange: 10, cancels: true })
  t.same(types(outputs), ['send', 'abort'], 'and nobody is left to be told')
  t.same(it.feed({ type: 'abandoned', exchange: 10, cancels: true }), [])
})

t.test('an initialize that we answer ourselves can expire', async (t) => {
  const it = talk('rpc')
  it.request(initialize('i'), 1)
  const refused = { code: -32601, message: 'Method not found' }
  const message = { ...res('i'), failed: true, value: { id: 'i', error: refused } }
  const probes = it.feed({ type: 'backend', message, exchange: 1 })
  t.match(texts(probes), [{ method: 'tools/list' }, {}, {}])
  t.match(it.feed({ type: 'expired', exchange: 1, error: lost }), [{ type: 'fail', exchange: 1 }])
  t.equal(it.conversation.answering.length, 0)
  for (const probe of probes) {
    const { exchange = 0 } = probe.type === 'send' ? probe : {}
    t.same(it.feed({ type: 'backend', message: res(exchange), exchange }), [], 'once')
  }
})

t.test('a request in bytes is called off by its id, once that has come', async (t) => {
  const it = streaming()
  const late = { ...inBytes('x'), idText: 'null', value: { id: null, method: 'tools/call' } }
  it.request(late, 10)
  it.request(inBytes('x'), 11)
  const cancel = { type: 'post', member: 'a', message: cancelled('x') } as const
  const outputs = it.feed(cancel)
  t.same(types(outputs), ['fail', 'send', 'abort'])
  t.match(outputs, [{ exchange: 11 }, { message: { method: 'notifications/cancelled' } }])
  t.same(it.feed(cancel), [])
  t.same([...it.conversation.exchanges.keys()], [10])
})

t.test(
  'a client that goes while its response passes is not waited for, nor is that a cancel',
  async (t) => {
    for (const mute of [true, false]) {
      const it = streaming()
      it.request(req(1, 'tools/call'), 10)
      it.feed({ type: 'passing', exchange: 10 })
      const outputs = it.feed({ type: 'abandoned', exchange: 10, cancels: false, mute })
      t.match(outputs, [
        { type: 'fail', exchange: 10, error: { code: 'CANCELLED' } },
        { type: 'abort', message: { idText: '1' } },
      ])
      t.equal(outputs.length, 2, 'the backend is told nothing')
      t.equal(it.conversation.exchanges.size, 0)
      t.same(it.feed({ type: 'abandoned', exchange: 10, cancels: false, mute }), [])
    }
  },
)

t.test(
  'a modern client that goes has called its request off, in the way its backend knows',
  async (t) => {
    for (const [dialect, expected] of [
      ['sse', ['send', 'abort']],
      ['streamable', ['send', 'abort']],
      ['stateless', ['abort']],
      ['rpc', ['abort']],
    ] as const) {
      const it = serving(dialect)
      it.request(modern('c', 'tools/call'), 50)
      const outputs = it.feed({ type: 'abandoned', exchange: 50, cancels: true })
      t.same(types(outputs), expected, dialect)
      if (expected.length > 1) {
        t.match(texts(outputs), [
          { method: 'notifications/cancelled', params: { requestId: 50 } },
          {},
        ])
      }
      t.equal(it.conversation.exchanges.size, 0)
    }
  },
)

t.test('a session client that cancels closes the request to a modern backend', async (t) => {
  const it = translated()
  it.request(req(7, 'tools/call'), 50)
  const outputs = it.feed({ type: 'post', member: 'a', message: cancelled(7) })
  t.same(types(outputs), ['fail', 'abort'])
  t.match(only(outputs, 'abort'), [{ message: { idText: '7', method: 'tools/call' } }])
})

t.test('callers without a session cannot cancel what others asked under the same id', async (t) => {
  const it = serving('stateless')
  it.request(req(7, 'tools/call'), 50)
  t.same(it.feed({ type: 'post', member: 'm', message: cancelled(7) }), [])
})

t.test(
  'a request of ours that takes too long is given up, and its clients are not kept waiting',
  async (t) => {
    const it = serving('sse')
    const begun = it.request(
      modern('L', 'subscriptions/listen', { notifications: { toolsListChanged: true } }),
      50,
    )
    const outputs = it.feed({ type: 'expired', exchange: sentAs(begun, 'ping'), error: lost })
    t.same(types(outputs), ['abort', 'deliver'])
    t.same(it.feed({ type: 'expired', exchange: 50, error: lost }).at(0)?.type, 'fail')
    t.equal(it.conversation.listeners.size, 0)
  },
)
