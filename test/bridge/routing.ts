import t from 'tap'
import { announce, findPlace, hold } from '../../src/bridge/routing.ts'
import { heldLimit } from '../../src/bridge/conversation.ts'
import { opened, talk } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { note, req } from '../fixtures/conversing.ts'

const changed = note('notifications/tools/list_changed')
const call = req(1, 'tools/call')
const stream = (it: Talk, member = 'a') => it.feed({ type: 'stream', member, open: true })

t.test('a message finds the place where it is most likely awaited', async (t) => {
  const cases: [string, (it: Talk) => void, number | 'stream' | undefined][] = [
    ['nothing open', () => undefined, undefined],
    ['a stream', (it) => stream(it), 'stream'],
    ['one exchange', (it) => it.request(call, 10), 10],
    [
      'one exchange and a stream',
      (it) => {
        stream(it)
        it.request(call, 10)
      },
      10,
    ],
    [
      'two exchanges',
      (it) => {
        it.request(call, 10)
        it.request(call, 11)
      },
      11,
    ],
    [
      'two exchanges and a stream',
      (it) => {
        it.request(call, 10)
        stream(it)
        it.request(call, 11)
      },
      'stream',
    ],
    [
      'two exchanges of which one takes JSON only',
      (it) => {
        it.request(call, 10)
        it.request(call, 11, 'a', false)
      },
      10,
    ],
    [
      'a stream that has closed',
      (it) => {
        stream(it)
        it.feed({ type: 'stream', member: 'a', open: false })
      },
      undefined,
    ],
  ]
  for (const [name, prepare, expected] of cases) {
    const it = opened()
    prepare(it)
    const place = findPlace(it.conversation, () => true)
    t.equal(place === undefined ? undefined : (place.exchange ?? 'stream'), expected, name)
  }
})

t.test('a request that waits to be sent, or is ours, is no place', async (t) => {
  const it = talk()
  it.feed({ type: 'join', member: 'single', single: true })
  it.request(call, 10, 'single')
  t.equal(it.conversation.exchanges.size, 2, 'the request, and our own handshake before it')
  t.equal(
    findPlace(it.conversation, () => true),
    undefined,
  )
})

t.test('only members that suit are asked', async (t) => {
  const it = opened()
  it.feed({ type: 'join', member: 'b' })
  stream(it, 'a')
  it.request(call, 10, 'a')
  t.equal(
    findPlace(it.conversation, ({ id }) => id === 'b'),
    undefined,
  )
  stream(it, 'b')
  t.match(
    findPlace(it.conversation, ({ id }) => id === 'b'),
    { member: { id: 'b' }, exchange: undefined },
  )
})

t.test('what is held is bounded, and what gives way is counted', async (t) => {
  const it = opened()
  const member = it.conversation.members.get('a')
  if (member === undefined) throw new Error('no member')
  for (let count = 0; count < heldLimit; count++) t.same(hold(member, note(`n/${count}`)), [])
  t.same(hold(member, changed), [{ type: 'dropped', reason: 'no-stream', detail: 'n/0' }])
  t.equal(member.held.length, heldLimit)
})

t.test('an announcement that nobody can ever hear is dropped', async (t) => {
  const it = talk()
  it.feed({ type: 'join', member: 'single', single: true })
  it.feed({ type: 'leave', member: 'a' })
  t.match(announce(it.conversation, changed), [{ type: 'dropped', reason: 'no-stream' }])
  it.feed({ type: 'join', member: 'a' })
  t.same(announce(it.conversation, changed), [], 'and held where somebody may come to listen')
})
