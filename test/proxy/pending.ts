import t from 'tap'
import { createPendingExchanges } from '../../src/proxy/pending.ts'
import type { Owner, Pending } from '../../src/proxy/pending.ts'
import { keptReply } from '../fixtures/conversing.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

/** Exchanges that wait 10 s, and what their owner hears. */
function setUp(time = 10_000) {
  const clock = manualClock(500)
  const pending = createPendingExchanges(clock, time)
  const expired: number[] = []
  const abandoned: [number, boolean][] = []
  const owner: Owner = {
    expire({ number }) {
      expired.push(number)
      pending.remove(number)
    },
    abandon: ({ number }, cancels) => void abandoned.push([number, cancels]),
  }
  const add = (number: number, reply?: Pending['reply'], lasting = false) =>
    pending.add({
      number,
      member: 'a',
      method: 'tools/call',
      reply,
      idText: '"x"',
      origin: undefined,
      lasting,
      owner,
    })
  return { clock, pending, expired, abandoned, add }
}

t.test('an exchange waits under its number until it is removed', async (t) => {
  const { pending, add } = setUp()
  const reply = keptReply()
  add(7, reply)
  t.match(pending.get(7), { number: 7, member: 'a', idText: '"x"', started: 500 })
  t.equal(pending.get(7)?.reply, reply)
  t.equal(pending.size, 1)
  t.equal(pending.remove(7)?.number, 7)
  t.equal(pending.remove(7), undefined, 'once')
  t.equal(pending.get(7), undefined)
  t.equal(pending.size, 0)
})

t.test('its owner hears when its time is up, within a second', async (t) => {
  const { clock, add, expired } = setUp()
  add(1)
  clock.advance(3000)
  add(2)
  clock.advance(6999)
  t.same(expired, [])
  clock.advance(1000)
  t.same(expired, [1])
  clock.advance(3000)
  t.same(expired, [1, 2], 'each once, each at its time')
})

t.test('every word from the backend gives it another full time', async (t) => {
  const { clock, pending, add, expired } = setUp()
  add(1)
  for (let word = 0; word < 5; word++) {
    clock.advance(9000)
    const exchange = pending.get(1)
    if (exchange !== undefined) pending.extend(exchange)
  }
  t.same(expired, [])
  clock.advance(11_000)
  t.same(expired, [1])
})

t.test('what is removed does not expire', async (t) => {
  const { clock, pending, add, expired } = setUp()
  add(1)
  pending.remove(1)
  clock.advance(20_000)
  t.same(expired, [])
})

t.test('times shorter than a second are kept as well', async (t) => {
  const { clock, add, expired } = setUp(100)
  add(1)
  clock.advance(200)
  t.same(expired, [1])
})

t.test('a client that has gone is found by its reply', async (t) => {
  const { pending, add, abandoned } = setUp()
  const [one, two, other] = [keptReply(), keptReply(), keptReply()]
  add(1, one)
  add(2, two)
  add(3)
  pending.abandon(two, true)
  pending.abandon(one, false)
  pending.abandon(other, true)
  t.same(abandoned, [
    [2, true],
    [1, false],
  ])
  pending.remove(1)
  pending.abandon(one, true)
  t.equal(abandoned.length, 2, 'and not once it has been answered')
})

t.test('closing forgets all and stops looking', async (t) => {
  const { clock, pending, add, expired } = setUp()
  add(1)
  pending.close()
  t.equal(pending.size, 0)
  t.equal(clock.waiting, 0)
  clock.advance(60_000)
  t.same(expired, [])
})

t.test('what lasts has no time limit, and nobody waits for it', (t) => {
  const { clock, pending, add, expired } = setUp()
  add(1, undefined, true)
  t.equal(pending.size, 0)
  const lasting = pending.get(1)
  if (lasting !== undefined) pending.extend(lasting)
  clock.advance(3_600_000)
  t.same(expired, [])
  t.equal(pending.remove(1)?.number, 1)
  t.equal(pending.size, 0)
  t.end()
})
