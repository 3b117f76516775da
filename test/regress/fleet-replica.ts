import t from 'tap'
import type { Test } from 'tap'
import { joinFleet } from '../../src/fleet/replica.ts'
import { connectRedis, keyOf } from '../../src/sessions/redis.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { anyRedis } from '../fixtures/redis.ts'

const { url, prefix: common } = await anyRedis(t)
let fleets = 0

async function join(t: Test, prefix: string, redis = connectRedis({ url, prefix })) {
  const clock = manualClock()
  const errors: unknown[] = []
  redis.on('error', () => undefined)
  let back = 0
  const replica = await joinFleet({
    redis,
    prefix,
    clock,
    onBack: () => back++,
    onError: (error) => void errors.push(error),
  })
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
