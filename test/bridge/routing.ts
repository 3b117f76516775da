import t from 'tap'
import { announce, findPlace, hold } from '../../src/bridge/routing.ts'
import { heldLimit } from '../../src/bridge/conversation.ts'
import { hear, only, opened, talk, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { joined, modern, serving, translated } from '../fixtures/bridged-eras.ts'
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

t.test(
  'the exchange of a modern client is no place, not even for what came in its answer',
  async (t) => {
    const capabilities = { roots: {} }
    for (const dialect of ['sse', 'streamable'] as const) {
      const it = serving(dialect, capabilities)
      it.request(modern('c', 'tools/call', {}, { capabilities }), 50)
      t.equal(
        findPlace(it.conversation, () => true),
        undefined,
        dialect,
      )
      t.equal(
        findPlace(it.conversation, () => true, 50),
        undefined,
      )
      joined(it, 'a')
      it.request(req('d', 'tools/call'), 51, 'a')
      t.match(
        findPlace(it.conversation, () => true, 50),
        { member: { id: 'a' }, exchange: 51 },
      )
    }
  },
)

t.test(
  'a notification goes to a modern client only if it comes from one of its own era',
  async (t) => {
    const same = serving('stateless')
    same.request(modern('c', 'tools/call'), 50)
    t.match(hear(same, changed, 50), [{ type: 'deliver', member: 'm', exchange: 50 }])
    t.match(hear(same, changed), [{ type: 'dropped', reason: 'no-stream' }])
    const other = serving('streamable')
    other.request(modern('c', 'tools/call'), 50)
    t.match(hear(other, changed, 50), [{ type: 'dropped', reason: 'not-asked-for' }])
  },
)

t.test(
  'what a modern backend says in an answer belongs there, for a session client too',
  async (t) => {
    const it = translated()
    it.request(req('c', 'tools/call'), 5)
    it.request(req('d', 'tools/call'), 6)
    const log = note('notifications/message', { level: 'info', data: 'x' })
    t.match(hear(it, log, 5), [{ type: 'deliver', member: 'a', exchange: 5, message: log }])
  },
)

t.test(
  'members of a shared stream hear of a change beside modern clients, each once',
  async (t) => {
    const it = serving('sse')
    joined(it, 'a')
    joined(it, 'b')
    it.request(modern('c', 'tools/call'), 50)
    it.feed({ type: 'stream', member: 'a', open: true })
    const outputs = hear(it, changed)
    t.same(types(outputs), ['deliver'])
    t.match(only(outputs, 'deliver'), [{ member: 'a', exchange: undefined }])
    t.equal(it.conversation.members.get('b')?.held.length, 1, 'and later, if they listen later')
    t.equal(it.conversation.members.get('m')?.held.length, 0)
  },
)
