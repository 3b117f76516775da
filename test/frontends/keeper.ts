import t from 'tap'
import { createKeeper } from '../../src/frontends/keeper.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

t.test('everything kept is looked at once a second, until it is removed', async (t) => {
  const clock = manualClock(100)
  const keeper = createKeeper(clock)
  const ticks: string[] = []
  const one = { tick: (now: number) => void ticks.push(`one ${now}`) }
  const two = { tick: (now: number) => void ticks.push(`two ${now}`) }
  const removeOne = keeper.add(one)
  keeper.add(two)
  clock.advance(999)
  t.same(ticks, [])
  clock.advance(1)
  t.same(ticks, ['one 1100', 'two 1100'])
  removeOne()
  removeOne()
  clock.advance(1000)
  t.same(ticks.slice(2), ['two 2100'])
})

t.test('its time is that of the last tick', async (t) => {
  const clock = manualClock(100)
  const keeper = createKeeper(clock)
  t.equal(keeper.now, 100)
  clock.advance(900)
  t.equal(keeper.now, 100)
  clock.advance(600)
  t.equal(keeper.now, 1100)
})

t.test('what is removed while others are looked at is not looked at again', async (t) => {
  const clock = manualClock()
  const keeper = createKeeper(clock)
  let ticks = 0
  const other = { tick: () => void ticks++ }
  let removeOther = (): void => {}
  keeper.add({ tick: () => removeOther() })
  removeOther = keeper.add(other)
  clock.advance(2000)
  t.equal(ticks, 0)
})

t.test('one timer serves all, and closing stops it', async (t) => {
  const clock = manualClock()
  const keeper = createKeeper(clock)
  for (let count = 0; count < 10; count++) keeper.add({ tick: () => t.fail('closed') })
  t.equal(clock.waiting, 1)
  keeper.close()
  t.equal(clock.waiting, 0)
  clock.advance(5000)
})
