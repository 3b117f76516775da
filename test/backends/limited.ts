import t from 'tap'
import { aborted, limited } from '../../src/backends/limited.ts'
import { result } from '../../src/protocol/jsonrpc.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { call, note } from '../fixtures/scripted.ts'

t.test('what expects no answer is given up after ninety seconds', async (t) => {
  for (const message of [note(), result('1', {})]) {
    const clock = manualClock()
    const post = new AbortController()
    const done = limited(message, post, clock, () => aborted(post.signal))
    clock.advance(89_999)
    t.equal(post.signal.aborted, false)
    clock.advance(1)
    t.equal(post.signal.aborted, true)
    t.equal(await done, undefined)
    t.equal(clock.waiting, 0)
  }
})

t.test('the limit of a request is the affair of others', async (t) => {
  const clock = manualClock()
  const post = new AbortController()
  t.equal(await limited(call(1), post, clock, async () => clock.waiting), 0)
  t.equal(post.signal.aborted, false)
})

t.test('a task that ends in time, however it does, leaves no timer', async (t) => {
  const clock = manualClock()
  const post = new AbortController()
  t.equal(await limited(note(), post, clock, async () => 'taken'), 'taken')
  t.equal(clock.waiting, 0)
  const failing = limited(note(), post, clock, () => Promise.reject(new Error('no')))
  await t.rejects(failing, { message: 'no' })
  t.equal(clock.waiting, 0)
  clock.advance(100_000)
  t.equal(post.signal.aborted, false)
})

t.test('a signal that was aborted before is heard too', async (t) => {
  t.equal(await aborted(AbortSignal.abort()), undefined)
})
