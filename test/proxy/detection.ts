import t from 'tap'
import { createDetection } from '../../src/proxy/detection.ts'
import type { Finding } from '../../src/proxy/detection.ts'
import type { Dialect } from '../../src/protocol/dialects.ts'

const saying =
  (dialect: Dialect, modern = false) =>
  () =>
    Promise.resolve({ dialect, modern })

t.test('what one key finds holds for all that have not found otherwise', async (t) => {
  const detection = createDetection()
  t.equal(detection.known('ann'), undefined)
  t.same(await detection.find('ann', saying('sse')), { dialect: 'sse', modern: false })
  t.equal(detection.known('ann')?.dialect, 'sse')
  t.equal(detection.known('bob')?.dialect, 'sse')
})

t.test('one finding serves all who wait for the same key, also when it fails', async (t) => {
  const detection = createDetection()
  let asked = 0
  const fail = (): Promise<Finding> => {
    asked++
    return Promise.reject(new Error('down'))
  }
  await t.rejects(Promise.all([detection.find('ann', fail), detection.find('ann', fail)]), /down/)
  t.equal(asked, 1)
  t.match(
    await detection.find('ann', saying('rpc')),
    { dialect: 'rpc' },
    'and then it is asked again',
  )
})

t.test('a key in doubt is asked again, the others go on', async (t) => {
  const detection = createDetection()
  await detection.find('ann', saying('sse'))
  detection.doubt('bob')
  t.equal(detection.known('bob'), undefined)
  t.equal(detection.known('ann')?.dialect, 'sse')
  await detection.find('bob', saying('rpc'))
  t.equal(detection.known('bob')?.dialect, 'rpc')
  t.equal(detection.known('ann')?.dialect, 'sse')
  t.equal(detection.known('eve')?.dialect, 'sse')
  detection.doubt('bob')
  await detection.find('bob', saying('sse'))
  t.equal(detection.known('bob')?.dialect, 'sse')
})

t.test(
  'a backend that has changed is known anew as soon as its first key or two others say so',
  async (t) => {
    const first = createDetection()
    await first.find('ann', saying('sse'))
    first.doubt('ann')
    await first.find('ann', saying('streamable'))
    t.equal(first.known('eve')?.dialect, 'streamable')

    const others = createDetection()
    await others.find('ann', saying('sse'))
    for (const key of ['bob', 'cat']) {
      others.doubt(key)
      await others.find(key, saying('streamable'))
    }
    t.equal(others.known('eve')?.dialect, 'streamable')
    t.equal(others.known('bob')?.dialect, 'streamable')
    t.equal(
      others.known('ann')?.dialect,
      'sse',
      'who found otherwise keeps to it until it is contradicted',
    )
    others.doubt('ann')
    await others.find('ann', saying('streamable'))
    t.equal(others.known('ann')?.dialect, 'streamable')
  },
)

t.test('findings of their own are kept for a bounded number of keys', async (t) => {
  const detection = createDetection()
  await detection.find('ann', saying('sse'))
  await detection.find('bob', saying('rpc'))
  t.equal(detection.known('bob')?.dialect, 'rpc')
  for (let key = 0; key < 1002; key++) {
    await detection.find(`${key}`, saying(key % 2 === 0 ? 'rpc' : 'sse'))
  }
  t.equal(detection.known('bob')?.dialect, 'sse', 'what most find holds for one that is forgotten')
})

t.test('that a backend also speaks to modern clients is part of what is found', async (t) => {
  const detection = createDetection()
  await detection.find('ann', saying('streamable'))
  await detection.find('bob', saying('streamable', true))
  t.equal(detection.known('ann')?.modern, false)
  t.equal(detection.known('bob')?.modern, true)
})
