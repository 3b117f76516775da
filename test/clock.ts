import t from 'tap'
import { systemClock } from '../src/clock.ts'

t.test('time never goes back', async (t) => {
  const first = systemClock.now()
  t.ok(systemClock.now() >= first)
  t.equal(typeof first, 'number')
})

t.test('a task runs once, not before its time', async (t) => {
  const start = systemClock.now()
  let runs = 0
  await new Promise<void>((resolve) => {
    systemClock.after(20, () => {
      runs++
      resolve()
    })
  })
  t.ok(systemClock.now() - start >= 18)
  await new Promise<void>((resolve) => systemClock.after(30, resolve))
  t.equal(runs, 1)
})

t.test('a task that is called off does not run', async (t) => {
  const runs: string[] = []
  const callOffs = [
    systemClock.after(1, () => runs.push('after')),
    systemClock.every(1, () => runs.push('every')),
  ]
  for (const callOff of callOffs) callOff()
  await new Promise<void>((resolve) => systemClock.after(20, resolve))
  t.same(runs, [])
})

t.test('a repeated task runs until it is called off', async (t) => {
  let runs = 0
  await new Promise<void>((resolve) => {
    const callOff = systemClock.every(1, () => {
      if (++runs < 3) return
      callOff()
      resolve()
    })
    // What repeats keeps no process alive, so the test itself has to.
    const awake = setTimeout(() => undefined, 5000)
    t.teardown(() => clearTimeout(awake))
  })
  await new Promise<void>((resolve) => systemClock.after(20, resolve))
  t.equal(runs, 3)
})
