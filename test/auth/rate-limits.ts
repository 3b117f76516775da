import { mock } from 'node:test'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createRateLimits, heldCounters } from '../../src/auth/rate-limits.ts'
import type { RateLimitsConfig } from '../../src/auth/rate-limits.ts'
import { anyRedis, ownRedis } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const limited = { code: 'RATE_LIMITED', status: 429 }

t.test('what has no limit is not counted', async (t) => {
  const limits = createRateLimits({})
  await limits.request('r', 'p')
  await limits.failed('192.0.2.1')
  await limits.beforeVerifying('192.0.2.1')
  await limits.registration()
  t.equal(limits.held, 0)
})

t.test('a principal has so many requests on a route', async (t) => {
  const limits = createRateLimits({ requests: { count: 2, time: 60_000 } })
  await limits.request('a', 'p')
  await limits.request('a', 'p')
  const error = await limits.request('a', 'p').catch((reason: unknown) => reason)
  t.match(error, { ...limited, message: 'more than 2 requests on route "a" in 60 s' })
  const { retryAfter } = error as { retryAfter: number }
  t.ok(Number.isInteger(retryAfter) && retryAfter > 55 && retryAfter <= 60, `${retryAfter}`)
  await limits.request('b', 'p')
  await limits.request('a', 'q')
  await limits.request('a', '__proto__')
  await limits.request('a', 'constructor')
})

t.test('a route and a principal are not one text', async () => {
  const limits = createRateLimits({ requests: { count: 1, time: 60_000 } })
  await limits.request('a', 'b c')
  await limits.request('a b', 'c')
})

t.test('a window ends', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const second = { count: 1, time: 1500 }
  const limits = createRateLimits({ requests: second, failures: second })
  await limits.request('a', 'p')
  await limits.failed('192.0.2.1')
  mock.timers.tick(1999)
  await t.rejects(limits.request('a', 'p'), { ...limited, retryAfter: 1 })
  await t.rejects(limits.beforeVerifying('192.0.2.1'), { ...limited, retryAfter: 1 })
  mock.timers.tick(1)
  await limits.request('a', 'p')
  await limits.beforeVerifying('192.0.2.1')
})

t.test('a window that is over counts no more, however late its timer is', async (t) => {
  mock.timers.enable({ apis: ['Date'] })
  t.teardown(() => mock.timers.reset())
  const limits = createRateLimits({ failures: { count: 1, time: 60_000 } })
  await limits.failed('192.0.2.1')
  mock.timers.tick(60_000)
  await limits.beforeVerifying('192.0.2.1')
})

t.test('failures are counted by address, and refuse before anything is verified', async (t) => {
  const limits = createRateLimits({ failures: { count: 2, time: 60_000 } })
  const address = '192.0.2.1'
  for (const _ of [1, 2]) {
    await limits.beforeVerifying(address)
    await limits.failed(address)
  }
  await t.rejects(limits.beforeVerifying(address), { ...limited, message: /more than 2 failed/ })
  await limits.failed(address)
  await limits.beforeVerifying('192.0.2.2')
  await limits.beforeVerifying('')
})

t.test('looking costs nothing', async (t) => {
  const limits = createRateLimits({ failures: { count: 1, time: 60_000 } })
  for (const _ of [1, 2, 3]) await limits.beforeVerifying('192.0.2.1')
  t.equal(limits.held, 0)
})

t.test('an IPv6 network of 64 bits is one address, and IPv4 has two spellings', async (t) => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
    ['2001:db8:1:2::1', '2001:0DB8:0001:0002::9', true],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['2001:db8::1', '2001:db8:0:0:1::', true],
    ['2001:db8::1', '2001:db8:0:1::1', false],
    ['fe80::1%eth0', 'fe80::2%eth1', true],
    ['::ffff:192.0.2.1', '192.0.2.1', true],
    ['::ffff:c000:201', '192.0.2.1', true],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
    ['::1', '::2', true],
    ['::1', '::ffff:0:1', false],
    ['1:2:3:4:5:6:7:8', '1:2:3:4::', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['no address', 'no address', true],
  ]
  for (const [one, other, same] of cases) {
    const limits = createRateLimits({ failures: { count: 1, time: 60_000 } })
    await limits.failed(one)
    const refused = await limits.beforeVerifying(other).then(
      () => false,
      () => true,
    )
    t.equal(refused, same, `${one} and ${other}`)
  }
})

t.test('registrations are counted together', async (t) => {
  const limits = createRateLimits({ registrations: { count: 2, time: 60_000 } })
  await limits.registration()
  await limits.registration()
  await t.rejects(limits.registration(), {
    ...limited,
    message: /more than 2 registrations in 60 s/,
  })
})

t.test('addresses without end take no memory without end', async (t) => {
  const limits = createRateLimits({ failures: { count: 1, time: 3_600_000 } })
  await limits.failed('198.51.100.1')
  for (let n = 0; n < heldCounters; n++) await limits.failed(`10.0.${n >> 8}.${n & 255}`)
  t.equal(limits.held, heldCounters)
  await limits.beforeVerifying('198.51.100.1')
  await t.rejects(limits.beforeVerifying('10.0.0.0'), limited, 'the younger ones are known')
  for (let n = 0; n < heldCounters; n++) await limits.failed(`2001:db8:${n.toString(16)}::1`)
  t.equal(limits.held, heldCounters)
})

t.test('who has just begun anew is not the oldest', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const limits = createRateLimits({ failures: { count: 1, time: 10_000 } })
  await limits.failed('198.51.100.1')
  mock.timers.tick(5000)
  for (let n = 0; n < heldCounters - 1; n++) await limits.failed(`10.0.${n >> 8}.${n & 255}`)
  mock.timers.tick(5000)
  await limits.failed('198.51.100.1')
  await limits.failed('198.51.100.2')
  await t.rejects(limits.beforeVerifying('198.51.100.1'), limited)
})

t.test('a limit that could not work is refused at the start', async (t) => {
  const cases = [
    { count: 0, time: 1000 },
    { count: 1.5, time: 1000 },
    { count: Number.NaN, time: 1000 },
    { count: 1, time: 0 },
    { count: 1, time: -1 },
    { count: 1, time: 86_400_001 },
    { count: 1, time: Number.NaN },
  ]
  for (const limit of cases) {
    for (const name of ['requests', 'failures', 'registrations']) {
      const make = () => createRateLimits({ [name]: limit })
      t.throws(make, { code: 'CONFIG_INVALID', message: `rate limit of ${name}` })
    }
  }
})

const config: RateLimitsConfig = {
  requests: { count: 2, time: 60_000 },
  failures: { count: 2, time: 60_000 },
  registrations: { count: 2, time: 60_000 },
}

/** The limits of one replica, on a connection that waits for its server for ever. */
async function replica(t: Test, url: string, prefix: string) {
  const redis = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  redis.on('error', () => undefined)
  t.teardown(() => redis.disconnect())
  await waitFor(() => redis.status === 'ready', { what: 'a connection' })
  return {
    redis,
    limits: createRateLimits(config, { redis, keyOf: (id) => `${prefix}:{l:${id}}:limit` }),
  }
}

t.test('replicas count together', async (t) => {
  const { url, prefix } = await anyRedis(t)
  const one = await replica(t, url, prefix)
  const other = await replica(t, url, prefix)
  await one.limits.request('a', 'somebody')
  await other.limits.request('a', 'somebody')
  const error = await one.limits.request('a', 'somebody').catch((reason: unknown) => reason)
  t.match(error, limited)
  const { retryAfter } = error as { retryAfter: number }
  t.ok(retryAfter > 50 && retryAfter <= 60, `${retryAfter}`)
  await one.limits.failed('192.0.2.77')
  await other.limits.failed('192.0.2.77')
  await t.rejects(one.limits.beforeVerifying('192.0.2.77'), limited)
  await one.limits.beforeVerifying('192.0.2.78')
  await one.limits.failed('')
  await one.limits.failed('')
  await one.limits.registration()
  t.equal(one.limits.held, 0, 'nothing is counted here')

  const keys = await one.redis.keys(`${prefix}:*`)
  t.equal(keys.length, 4)
  for (const key of keys) {
    t.notMatch(key, /somebody|192|77/, 'no name and no address')
    t.ok((await one.redis.pttl(key)) > 0, 'each has an end')
  }
})

t.test(
  'with Redis away each replica counts for itself, and together again afterwards',
  async (t) => {
    const server = await ownRedis(t)
    const { redis, limits } = await replica(t, server.url, 'p')
    await limits.request('a', 'p')
    await server.kill()
    await waitFor(() => redis.status !== 'ready', { what: 'the loss' })
    await limits.request('a', 'p')
    await limits.request('a', 'p')
    await t.rejects(limits.request('a', 'p'), limited)
    await limits.failed('192.0.2.1')
    await limits.failed('192.0.2.1')
    await t.rejects(limits.beforeVerifying('192.0.2.1'), limited)
    t.equal(limits.held, 2)
    await server.start()
    await waitFor(() => redis.status === 'ready', { what: 'the return' })
    await limits.beforeVerifying('192.0.2.1')
    await limits.request('a', 'p')
    t.equal((await redis.keys('p:*')).length, 1)
  },
)

t.test('a Redis that refuses is as one that is away', async (t) => {
  const server = await ownRedis(t)
  const { redis, limits } = await replica(t, server.url, 'p')
  await redis.config('SET', 'maxmemory', '1')
  await limits.request('a', 'p')
  await limits.request('a', 'p')
  await t.rejects(limits.request('a', 'p'), limited)
})
