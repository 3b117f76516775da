import t from 'tap'
import { Order } from '../../src/proxy/order.ts'
import { turn } from '../fixtures/conversing.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

/** An order whose sends are ended by the test; `begun` names those that have begun. */
function stage() {
  const clock = manualClock()
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  const order = new Order(clock)
  return {
    clock,
    order,
    begun,
    run(member: string, name: string, barrier = false, by = order): void {
      const send = (): Promise<void> => {
        begun.push(name)
        return new Promise((resolve) => ends.set(name, resolve))
      }
      by.run(member, send, barrier)
    },
    async end(name: string): Promise<void> {
      ends.get(name)?.()
      await turn()
    },
  }
}

t.test('messages that hold nothing up go at once, side by side', async (t) => {
  const { run, begun, clock } = stage()
  run('a', 'one')
  run('a', 'two')
  t.same(begun, ['one', 'two'])
  t.equal(clock.waiting, 0)
})

t.test('what follows a barrier waits until it has been taken, and keeps its order', async (t) => {
  const { run, begun, end, clock } = stage()
  run('a', 'note 1', true)
  run('a', 'request 1')
  run('a', 'note 2', true)
  run('a', 'request 2')
  t.same(begun, ['note 1'])
  await end('note 1')
  t.same(begun, ['note 1', 'request 1', 'note 2'])
  await end('note 2')
  t.same(begun.slice(3), ['request 2'])
  run('a', 'request 3')
  t.same(begun.slice(4), ['request 3'], 'and afterwards nothing waits')
  t.equal(clock.waiting, 0, 'nor does any timer')
})

t.test('patience with a barrier ends after two seconds', async (t) => {
  const { run, begun, clock } = stage()
  run('a', 'note', true)
  run('a', 'request')
  clock.advance(1999)
  await turn()
  t.same(begun, ['note'])
  clock.advance(1)
  await turn()
  t.same(begun, ['note', 'request'])
})

t.test('a member waits for its own barriers only', async (t) => {
  const { run, begun, order } = stage()
  run('a', 'note', true)
  run('b', 'other')
  t.same(begun, ['note', 'other'])
  order.forget('a')
  run('a', 'request')
  t.same(begun, ['note', 'other', 'request'], 'and one that was forgotten has none')
})

t.test('barriers go along when a conversation is taken over', async (t) => {
  const { run, begun, end, order, clock } = stage()
  const other = new Order(clock)
  run('a', 'note', true, other)
  order.absorb(other)
  run('a', 'request')
  t.same(begun, ['note'])
  await end('note')
  t.same(begun, ['note', 'request'])
})
