import t from 'tap'
import type { DetectedDialect } from '../../src/backends/detect.ts'
import { createDetection } from '../../src/proxy/detection.ts'

const saying = (dialect: DetectedDialect) => () => Promise.resolve(dialect)

t.test('what one key finds holds for all that have not found otherwise', async (t) => {
  const detection = createDetection()
  t.equal(detection.known('ann'), undefined)
  t.equal(await detection.find('ann', saying('sse')), 'sse')
  t.equal(detection.known('ann'), 'sse')
  t.equal(detection.known('bob'), 'sse')
})

t.test('one finding serves all who wait for the same key, also when it fails', async (t) => {
  const detection = createDetection()
  let asked = 0
  const fail = (): Promise<DetectedDialect> => {
    asked++
    return Promise.reject(new Error('down'))
  }
  await t.rejects(Promise.all([detection.find('ann', fail), detection.find('ann', fail)]), /down/)
  t.equal(asked, 1)
  t.equal(await detection.find('ann', saying('rpc')), 'rpc', 'and then it is asked again')
})

t.test('a key in doubt is asked again, the others go on', async (t) => {
  const detection = createDetection()
  await detection.find('ann', saying('sse'))
  detection.doubt('bob')
  t.equal(detection.known('bob'), undefined)
  t.equal(detection.known('ann'), 'sse')
  await detection.find('bob', saying('rpc'))
  t.equal(detection.known('bob'), 'rpc')
  t.equal(detection.known('ann'), 'sse')
  t.equal(detection.known('eve'), 'sse')
  detection.doubt('bob')
  await detection.find('bob', saying('sse'))
  t.equal(detection.known('bob'), 'sse')
})

t.test(
  'a backend that has changed is known anew as soon as its first key or two others say so',
  async (t) => {
    const first = createDetection()
    await first.find('ann', saying('sse'))
    first.doubt('ann')
    await first.find('ann', saying('streamable'))
    t.equal(first.known('eve'), 'streamable')

    const others = createDetection()
    await others.find('ann', saying('sse'))
    for (const key of ['bob', 'cat']) {
      others.doubt(key)
      await others.find(key, saying('streamable'))
    }
    t.equal(others.known('eve'), 'streamable')
    t.equal(others.known('bob'), 'streamable')
    t.equal(others.known('ann'), 'sse', 'who found otherwise keeps to it until it is contradicted')
    others.doubt('ann')
    await others.find('ann', saying('streamable'))
    t.equal(others.known('ann'), 'streamable')
  },
)

t.test('findings of their own are kept for a bounded number of keys', async (t) => {
  const detection = createDetection()
  await detection.find('ann', saying('sse'))
  await detection.find('bob', saying('rpc'))
  t.equal(detection.known('bob'), 'rpc')
  for (let key = 0; key < 1002; key++) {
    await detection.find(`${key}`, saying(key % 2 === 0 ? 'rpc' : 'sse'))
  }
  t.equal(detection.known('bob'), 'sse', 'what most find holds for one that is forgotten')
})
