import t from 'tap'
import type { Test } from 'tap'
import { joinFleet } from '../../src/fleet/replica.ts'
import { connectRedis, keyOf } from '../../src/sessions/redis.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { anyRedis } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const { url, prefix: common } = await anyRedis(t)
let fleets = 0

async function join(t: Test, prefix: string, redis = connectRedis({ url, prefix })) {
  const clock = manualClock()
  const errors: unknown[] = []
  redis.on('error', () => undefined)
  let back = 0
  const joining = joinFleet({
    redis,
    prefix,
    clock,
    onBack: () => back++,
    onError: (error) => void errors.push(error),
  })
  // Who waits for a server that is away waits for two seconds.
  await turn()
  if (redis.status === 'end') clock.advance(2000)
  const replica = await joining
  t.teardown(async () => {
    await replica.leave()
    redis.disconnect()
  })
  return {
    replica,
    clock,
    redis,
    errors,
    back: () => back,
    key: keyOf(prefix, 'alive', replica.id),
  }
}

const newFleet = () => `${common}-${++fleets}`

/** Loses the connection, which comes back by itself. */
async function interrupt({ redis }: Pick<Awaited<ReturnType<typeof join>>, 'redis'>) {
  const closed = new Promise<void>((resolve) => redis.once('close', resolve))
  redis.disconnect(true)
  await closed
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

t.test('replicas see one another live until they leave', async (t) => {
  const prefix = newFleet()
  const [one, two] = [await join(t, prefix), await join(t, prefix)]
  t.not(one.replica.id, two.replica.id)
  t.equal(await two.replica.lives(one.replica.id), true)
  t.equal(await one.replica.lives(two.replica.id), true)
  t.equal(await one.replica.lives(one.replica.id), true)
  t.equal(await two.replica.lives('nobody'), false)
  const stranger = await join(t, newFleet())
  t.equal(await stranger.replica.lives(one.replica.id), false, 'prefixes keep fleets apart')
  await one.replica.leave()
  two.clock.advance(499)
  t.equal(await two.replica.lives(one.replica.id), true, 'an answer holds for a moment')
  two.clock.advance(1)
  t.equal(await two.replica.lives(one.replica.id), false)
})

t.test('whoever has left says nothing more', async (t) => {
  const { replica, clock, redis, key } = await join(t, newFleet())
  t.equal(await redis.exists(key), 1)
  await replica.leave()
  clock.advance(5000)
  await redis.ping()
  t.equal(await redis.exists(key), 0)
  t.equal(clock.waiting, 0)
})

t.test('a replica that falls silent is gone after its lease', async (t) => {
  const { redis, key, clock } = await join(t, newFleet())
  const left = await redis.pttl(key)
  t.ok(left > 2000 && left <= 4000, `${left} ms`)
  await redis.pexpire(key, 100)
  clock.advance(1000)
  await waitFor(async () => (await redis.pttl(key)) > 2000, { what: 'the lease to be renewed' })
})

t.test('it is known how long ago Redis was heard of', async (t) => {
  const { replica, clock, redis } = await join(t, newFleet())
  t.equal(replica.heard, true)
  t.equal(replica.justBack, false, 'it has not been away')
  redis.disconnect()
  clock.advance(3999)
  t.equal(replica.heard, true)
  clock.advance(1)
  t.equal(replica.heard, false)
  await t.rejects(replica.lives('another'), 'nobody is said to be gone')
})

t.test('after the connection was lost it says that it is back', async (t) => {
  const prefix = newFleet()
  const one = await join(t, prefix)
  t.equal(one.back(), 0, 'not at the start')
  await interrupt(one)
  await waitFor(() => one.back() > 0, { what: 'the replica to be back' })
  t.equal(one.back(), 1)
  t.equal(one.replica.justBack, true)
  t.equal(one.replica.heard, true)
  t.equal(await one.replica.lives('another'), true, 'it may not have said so again')
  one.clock.advance(3999)
  t.equal(one.replica.justBack, true)
  one.clock.advance(1)
  t.equal(one.replica.justBack, false)
  t.equal(await one.replica.lives('another'), false)
  t.equal(one.back(), 1)
})

t.test('silence longer than the lease counts as absence', async (t) => {
  const one = await join(t, newFleet())
  await one.redis.ping()
  one.clock.advance(1000)
  await one.redis.ping()
  t.equal(one.back(), 0)
  // The clock jumps as after a process was stopped: no renewal fell due meanwhile.
  await one.redis.del(one.key)
  const { now } = one.clock
  one.clock.now = () => now() + 4001
  one.clock.advance(1000)
  await waitFor(() => one.back() > 0, { what: 'the replica to be back' })
  t.equal(one.replica.justBack, true)
  t.equal(await one.redis.exists(one.key), 1)
})

t.test('a server that is away at the start is waited for', async (t) => {
  const prefix = newFleet()
  const redis = connectRedis({ url, prefix })
  redis.disconnect()
  const one = await join(t, prefix, redis)
  t.equal(one.replica.heard, false)
  t.equal(one.errors.length, 1)
  await redis.connect()
  one.clock.advance(1000)
  await waitFor(() => one.replica.heard, { what: 'Redis to be heard of' })
  t.equal(await redis.exists(one.key), 1)
})

t.test('what was asked before the connection came back is not taken for a death', async (t) => {
  const prefix = newFleet()
  const [one, two] = [await join(t, prefix), await join(t, prefix)]
  const third = connectRedis({ url, prefix })
  t.teardown(() => third.disconnect())
  // As a server does that comes back empty; nobody turns the clock by which `one` would say that it lives.
  await third.del(one.key)
  await interrupt(two)
  t.equal(await two.replica.lives(one.replica.id), true)
})

const secretOf = (prefix: string) => keyOf(prefix, 'secret', 'fleet')

t.test('all replicas of a fleet have one secret, and no other fleet has it', async (t) => {
  const prefix = newFleet()
  const all = await Promise.all([join(t, prefix), join(t, prefix), join(t, prefix)])
  const [first, ...others] = all.map(({ replica }) => replica.secret?.toString('hex'))
  t.equal(first?.length, 64)
  for (const other of others) t.equal(other, first)
  const late = await join(t, prefix)
  t.equal(late.replica.secret?.toString('hex'), first, 'one that comes later has it too')
  const stranger = await join(t, newFleet())
  t.not(stranger.replica.secret?.toString('hex'), first)
})

t.test('the secret outlives those who made it, but not for ever', async (t) => {
  const prefix = newFleet()
  const one = await join(t, prefix)
  const made = one.replica.secret
  const left = await one.redis.pttl(secretOf(prefix))
  t.ok(left > 86_000_000 && left <= 86_400_000, `${left} ms`)
  await one.replica.leave()
  t.same((await join(t, prefix)).replica.secret, made)

  const two = await join(t, prefix)
  await two.redis.pexpire(secretOf(prefix), 60_000)
  two.clock.advance(600_000)
  // More round trips than a renewal takes.
  for (let trip = 0; trip < 6; trip++) await two.redis.ping()
  t.ok((await two.redis.pttl(secretOf(prefix))) <= 60_000, 'it is not renewed all the time')
  two.clock.advance(1000)
  await waitFor(async () => (await two.redis.pttl(secretOf(prefix))) > 86_000_000, {
    what: 'the secret to be renewed',
  })
})

t.test('a server that has forgotten the secret is told again', async (t) => {
  const prefix = newFleet()
  const one = await join(t, prefix)
  const made = one.replica.secret
  await one.redis.del(secretOf(prefix))
  await interrupt(one)
  await waitFor(() => one.back() > 0, { what: 'the replica to be back' })
  t.same(one.replica.secret, made, 'what is out with clients still counts')
  t.same((await join(t, prefix)).replica.secret, made)
})

t.test('where another secret has been made meanwhile, that one counts', async (t) => {
  const prefix = newFleet()
  const one = await join(t, prefix)
  await one.redis.del(secretOf(prefix))
  const other = await join(t, prefix)
  t.notSame(other.replica.secret, one.replica.secret)
  await interrupt(one)
  await waitFor(() => one.back() > 0, { what: 'the replica to be back' })
  t.same(one.replica.secret, other.replica.secret)
})

t.test('until Redis has been reached there is no secret', async (t) => {
  const prefix = newFleet()
  const redis = connectRedis({ url, prefix })
  redis.disconnect()
  const one = await join(t, prefix, redis)
  t.equal(one.replica.secret, undefined)
  await redis.connect()
  one.clock.advance(1000)
  await waitFor(() => one.replica.secret !== undefined, { what: 'the secret' })
  t.same((await join(t, prefix)).replica.secret, one.replica.secret)
})
