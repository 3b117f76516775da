import t from 'tap'
import { connectRedis } from '../../src/sessions/redis.ts'
import { createRedisStore } from '../../src/sessions/redis-store.ts'
import type { SessionRecord, StoreLimits } from '../../src/sessions/store.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { anyRedis } from '../fixtures/redis.ts'
import { storeContract } from '../fixtures/store-contract.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const { url, prefix } = await anyRedis(t)
let stores = 0

/** A store with a prefix of its own, or that of another one, as a second replica has it. */
function make(limits: StoreLimits, replica = 'one', common = `${prefix}-${++stores}`) {
  const clock = manualClock()
  const redis = connectRedis({ url, prefix: common })
  const lost: string[] = []
  const errors: unknown[] = []
  const store = createRedisStore(limits, {
    redis,
    prefix: common,
    replica,
    clock,
    onLost: (id) => void lost.push(id),
    onError: (error) => void errors.push(error),
  })
  t.teardown(async () => {
    await store.close()
    redis.disconnect()
  })
  return { store, clock, redis, lost, errors, common }
}

storeContract(t, async (limits) => {
  const { store, clock } = make(limits)
  return {
    store,
    async fastForward(ms) {
      clock.advance(ms)
    },
  }
})

const limits: StoreLimits = {
  sessions: 100,
  sessionsPerPrincipal: 3,
  idleTime: 60_000,
  replayEvents: 3,
  replayBytes: 1000,
}
const record = (id: string, principal = 'p'): SessionRecord => ({
  id,
  route: 'r',
  parameters: {},
  principal,
  dialect: 'streamable',
})
const restore = {
  revision: '2025-06-18',
  initialize: '{}',
  logLevel: undefined,
  subscriptions: [],
  repeatableTools: ['x'],
}

t.test('another replica finds a session, and what is needed to go on with it', async (t) => {
  const one = make(limits)
  const two = make(limits, 'two', one.common)
  await one.store.create(record('a'))
  t.same(await two.store.get('a'), record('a'))
  t.equal(two.store.size, 0, 'it is not its own')
  t.same(await two.store.locate('a'), { record: record('a'), owner: 'one', restore: undefined })
  one.store.remember('a', restore)
  const kept = await waitFor(async () => (await two.store.locate('a'))?.restore)
  t.same(kept, JSON.parse(JSON.stringify(restore)))
  t.equal(await two.store.locate('b'), undefined)
})

t.test('of two that take a session over one gets it, with its log', async (t) => {
  const one = make(limits)
  const two = make(limits, 'two', one.common)
  const three = make(limits, 'three', one.common)
  await one.store.create(record('a'))
  for (const sequence of [1, 2]) one.store.log('a', { stream: 's', sequence, text: 'x' })
  await one.store.replay('a', 's', 0)
  const found = { record: record('a'), owner: 'one', restore: undefined }
  const won = await Promise.all([two.store.claim(found), three.store.claim(found)])
  t.equal(won.filter(Boolean).length, 1)
  const [winner, loser] = won[0] ? [two, three] : [three, two]
  t.equal(winner.store.size, 1)
  t.equal(loser.store.size, 0)
  for (const sequence of [3, 4]) winner.store.log('a', { stream: 's', sequence, text: 'x' })
  const events = await winner.store.replay('a', 's', 0)
  t.same(
    events.map(({ sequence }) => sequence),
    [2, 3, 4],
    'and its bounds',
  )
  one.store.remember('a', restore)
  t.match(await winner.store.locate('a'), { restore: undefined }, 'the former owner has no say')
  one.store.touch('a')
  one.clock.advance(5000)
  await t.resolves(one.store.create(record('other', 'q')))
  t.same(one.lost, ['a'], 'and comes to know')
})

t.test('what one replica ends is lost to its owner', async (t) => {
  const one = make(limits)
  const two = make(limits, 'two', one.common)
  for (const id of ['a', 'b', 'c']) await one.store.create(record(id))
  one.store.hold('a')
  t.same(await two.store.create(record('d')), ['a'], 'which is in use, as nobody knows yet')
  one.clock.advance(5000)
  await one.store.create(record('e', 'q'))
  t.same(one.lost, ['a'])
  one.store.hold('b')
  one.clock.advance(5000)
  await one.store.create(record('f', 'q'))
  t.same(await two.store.create(record('g')), ['c'], 'what is in use stays')
})

t.test('no key is without an end', async (t) => {
  const { store, redis, common } = make(limits)
  await store.create(record('a'))
  store.log('a', { stream: 's', sequence: 1, text: 'x' })
  store.remember('a', restore)
  await store.replay('a', 's', 0)
  const keys = await redis.keys(`${common}:*`)
  t.equal(keys.length, 3)
  for (const key of keys) t.ok((await redis.pttl(key)) > 60_000, key)
  await store.delete('a')
  t.same(await redis.keys(`${common}:*`), [])
})

t.test('while Redis is away, whoever needs it is told so', async (t) => {
  const { store, redis } = make(limits)
  await store.create(record('a'))
  redis.disconnect()
  await t.rejects(store.create(record('b')), { code: 'STORE_UNAVAILABLE', status: 503 })
  await t.rejects(store.locate('a'), { code: 'STORE_UNAVAILABLE', retryAfter: 2 })
  t.same(await store.get('a'), record('a'), 'what is known here is served')
})

t.test('a server that has lost its data gets it back from the owners', async (t) => {
  const one = make(limits)
  const two = make(limits, 'two', one.common)
  await one.store.create(record('a'))
  one.store.remember('a', restore)
  await waitFor(async () => (await two.store.locate('a'))?.restore)
  await one.redis.del(...(await one.redis.keys(`${one.common}:*`)))
  await one.store.recheck()
  t.same(one.lost, [])
  t.match(await two.store.locate('a'), { owner: 'one', restore: { revision: '2025-06-18' } })
})

t.test('what is given away is nobody’s until it is claimed', async (t) => {
  const one = make(limits)
  const two = make(limits, 'two', one.common)
  await one.store.create(record('a'))
  await one.store.giveAway()
  t.equal(one.store.size, 0)
  const found = await two.store.locate('a')
  t.match(found, { owner: '' })
  t.equal(found && (await two.store.claim(found)), true)
  t.match(await one.store.locate('a'), { owner: 'two' })
})
