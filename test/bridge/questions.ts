import t from 'tap'
import { deliver, forgetIn, note, refuseIn, reply } from '../../src/bridge/questions.ts'
import { first, lost, opened, stateOf, talk, texts } from '../fixtures/bridged.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { note as notification, req, res } from '../fixtures/conversing.ts'
import { answer, hear, only } from '../fixtures/bridged.ts'

const question = (id: unknown = 'q') => req(id, 'roots/list')

t.test(
  'a question goes out under a number of ours, and is noted with what it is for',
  async (t) => {
    const { conversation } = talk()
    const member = conversation.members.get('a')!
    const output = deliver(conversation, question(), { member, exchange: 7 })
    t.match(output, { type: 'deliver', member: 'a', exchange: 7 })
    t.match(texts([output]), [{ id: first, method: 'roots/list' }])
    t.match(conversation.questions.get(first), {
      member: 'a',
      exchange: 7,
      request: { idText: '"q"' },
    })
    t.notOk('input' in conversation.questions.get(first)!)
    const input = { exchange: 9, key: 'k' }
    deliver(conversation, question(), { member, exchange: undefined }, input)
    t.same(conversation.questions.get(first + 1)?.input, input)
  },
)

t.test('the oldest give way to a flood of questions', async (t) => {
  const { conversation } = talk()
  for (let count = 0; count < 1030; count++) {
    note(conversation, { member: 'a', request: question(count), exchange: undefined })
  }
  t.equal(conversation.questions.size, 1024)
  t.notOk(conversation.questions.has(first))
  t.ok(conversation.questions.has(first + 1029))
})

t.test('the questions of one exchange are refused, or forgotten, and no others', async (t) => {
  for (const refuses of [true, false]) {
    const { conversation } = talk()
    for (const [index, exchange] of [5, 6, undefined, 5].entries()) {
      note(conversation, { member: 'a', request: question(index), exchange })
    }
    const outputs = refuses ? refuseIn(conversation, 5) : []
    if (!refuses) forgetIn(conversation, 5)
    t.same(
      [...conversation.questions.values()].map(({ exchange }) => exchange),
      [6, undefined],
    )
    if (refuses) {
      t.match(texts(outputs), [
        { id: 0, error: { code: -32000 } },
        { id: 3, error: { code: -32000 } },
      ])
    }
  }
})

t.test('an answer to a question of nobody in particular has a sender all the same', async (t) => {
  const { conversation } = talk()
  t.match(reply(conversation, res(1)), { type: 'send', member: 'a', repeatable: true })
  t.match(reply(conversation, res(1), 'b'), { member: 'b' })
  conversation.members.clear()
  t.match(reply(conversation, res(1)), { member: '' })
})

t.test('a modern client cannot answer a question but by coming back', async (t) => {
  const capabilities = { roots: {} }
  const it = serving('sse', capabilities)
  it.request(modern('c', 'tools/call', {}, { capabilities }), 50)
  hear(it, question())
  const [id] = [...it.conversation.questions.keys()]
  it.feed({ type: 'join', member: 'other', single: true })
  const before = stateOf(it.conversation)
  const outputs = it.feed({ type: 'post', member: 'other', message: res(id) })
  t.match(outputs, [{ type: 'dropped', reason: 'unknown-question' }])
  t.equal(stateOf(it.conversation), before)
})

t.test('what cannot be an answer changes nothing', async (t) => {
  const it = opened({ roots: {} })
  it.feed({ type: 'stream', member: 'a', open: true })
  it.feed({ type: 'backend', message: question() })
  const before = stateOf(it.conversation)
  const odd = [res('x'), res(-1), res(1e300), { ...res(1), value: {}, idText: undefined }]
  for (const message of odd) {
    const outputs = it.feed({ type: 'post', member: 'a', message })
    t.match(outputs, [{ type: 'dropped', reason: 'unknown-question' }])
    t.equal(stateOf(it.conversation), before)
  }
})

t.test('a modern client is told of nothing that is withdrawn', async (t) => {
  const capabilities = { roots: {} }
  for (const parked of [false, true]) {
    for (const ends of [
      () =>
        ({
          type: 'backend',
          message: notification('notifications/cancelled', { requestId: 'q' }),
        }) as const,
      () => ({ type: 'gone', error: lost }) as const,
    ]) {
      const it = serving('sse', capabilities)
      it.request(modern('c', 'tools/call', {}, { capabilities }), 50)
      hear(it, question())
      if (parked) it.feed({ type: 'gathered', exchange: 50 })
      t.same(only(it.feed(ends()), 'deliver'), [], `${ends().type}, ${parked ? 'away' : 'there'}`)
      t.equal(it.conversation.questions.size, 0)
    }
  }
})

t.test('a session client is told where it was asked, or on its stream', async (t) => {
  const it = translated({ roots: {} })
  const input = { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } }
  it.request(req('c', 'tools/call'), 5, 'a', false)
  it.feed({ type: 'stream', member: 'a', open: true })
  answer(it, 5, input)
  const outputs = it.feed({ type: 'expired', exchange: 5, error: lost })
  t.match(only(outputs, 'deliver'), [{ member: 'a', exchange: undefined }])
})
