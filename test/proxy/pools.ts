import t from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Live } from '../../src/proxy/live.ts'
import { Pools } from '../../src/proxy/pools.ts'

/** A conversation as far as a pool looks at it. */
interface Stand {
  current: Stand
  closed: boolean
  asking: boolean
  idle: boolean
  onlySingles: boolean
  used: number
  close(): void
}

/** Pools in which a conversation leaves its place when it closes, as `conversations.ts` has it. */
function setUp(limits = { sessions: 100, sessionsPerPrincipal: 10 }) {
  const pools = new Pools(limits)
  const stand = (over: Partial<Stand> = {}, principal = 'ann'): Stand => {
    const one: Stand = {
      closed: false,
      asking: false,
      idle: true,
      onlySingles: true,
      used: 0,
      close() {
        one.closed = true
        pools.remove(principal, one as unknown as Live)
      },
      ...over,
      current: over.current ?? (undefined as unknown as Stand),
    }
    one.current ??= one
    return one
  }
  const add = (over: Partial<Stand> = {}, principal = 'ann', kind = 'plain'): Stand => {
    const one = stand(over, principal)
    pools.add(principal, kind, one as unknown as Live)
    return one
  }
  const find = (principal = 'ann', kind = 'plain', alone = false): unknown =>
    pools.find(principal, kind, alone)
  const refused = (principal = 'ann'): ProxyError | undefined => {
    try {
      pools.makeRoom(principal)
      return undefined
    } catch (error) {
      return ProxyError.from(error)
    }
  }
  return { pools, stand, add, find, refused }
}

t.test('a conversation serves its own principal, and clients of its kind', async (t) => {
  const { add, find } = setUp()
  const one = add()
  t.equal(find(), one)
  t.equal(find('bob'), undefined)
  t.equal(find('ann', 'other'), undefined)
  const other = add({}, 'ann', 'other')
  t.equal(find('ann', 'other'), other)
  t.equal(find(), one)
})

t.test('one that has closed serves nobody', async (t) => {
  const { add, find } = setUp()
  add({ closed: true })
  t.equal(find(), undefined)
  const open = add()
  t.equal(find(), open)
})

t.test('who must be alone gets one in which nobody else can be asked', async (t) => {
  const { add, find } = setUp()
  const busy = add({ asking: true })
  t.equal(find('ann', 'plain', true), undefined)
  t.equal(find('ann', 'plain', false), busy, 'others may join it')
  const free = add()
  t.equal(find('ann', 'plain', true), free)
  busy.asking = false
  t.equal(find('ann', 'plain', true), busy)
})

t.test('of one that was merged, what it has become is looked at', async (t) => {
  const { stand, add, find } = setUp()
  const into = stand({ asking: true })
  add({ closed: true, current: into })
  t.equal(find(), into)
  t.equal(find('ann', 'plain', true), undefined)
  into.closed = true
  t.equal(find(), undefined)
})

t.test('one principal has no more than its share, whatever its clients declare', async (t) => {
  const { add, refused } = setUp({ sessions: 100, sessionsPerPrincipal: 2 })
  add({ idle: false })
  t.equal(refused(), undefined)
  add({ idle: false }, 'ann', 'other')
  t.match(refused(), {
    code: 'LIMIT_REACHED',
    retryAfter: 5,
    message: /limits\.sessionsPerPrincipal is 2/,
  })
  t.equal(refused('bob'), undefined, 'which is nobody else’s affair')
})

t.test('all together have no more than the limit', async (t) => {
  const { add, refused } = setUp({ sessions: 2, sessionsPerPrincipal: 2 })
  add({ idle: false })
  add({ idle: false }, 'bob')
  t.match(refused('eve'), { code: 'LIMIT_REACHED', message: /limits\.sessions is 2/ })
})

t.test('past a limit the longest idle one goes, and none that is needed', async (t) => {
  for (const [limits, principal] of [
    [{ sessions: 100, sessionsPerPrincipal: 4 }, 'ann'],
    [{ sessions: 4, sessionsPerPrincipal: 100 }, 'bob'],
  ] as const) {
    const { add, refused, find } = setUp(limits)
    const all = [
      add({ used: 1, idle: false }),
      add({ used: 2, onlySingles: false }),
      add({ used: 4 }),
      add({ used: 3 }, 'ann', 'other'),
    ]
    const closed = () => all.map((each) => each.closed)
    t.equal(refused(principal), undefined)
    t.same(closed(), [false, false, false, true])
    t.equal(find('ann', 'other'), undefined)
    t.equal(refused(principal), undefined)
    t.same(closed(), [false, false, false, true], 'there is room now')
    add({ idle: false })
    t.equal(refused(principal), undefined)
    t.same(closed(), [false, false, true, true])
    add({ idle: false })
    t.equal(refused(principal)?.code, 'LIMIT_REACHED', principal)
  }
})

t.test('a principal past its share never costs another one anything', async (t) => {
  const { add, refused } = setUp({ sessions: 2, sessionsPerPrincipal: 1 })
  const other = add({}, 'bob')
  add({ idle: false })
  t.match(refused(), { message: /sessionsPerPrincipal/ })
  t.equal(other.closed, false)
})

t.test('each is counted once, and not after it has gone', async (t) => {
  const { pools, add, refused } = setUp({ sessions: 3, sessionsPerPrincipal: 3 })
  add({ idle: false })
  const one = add({ idle: false })
  pools.add('ann', 'plain', one as unknown as Live)
  pools.add('ann', 'plain', one as unknown as Live)
  t.equal(refused(), undefined)
  pools.remove('ann', one as unknown as Live)
  pools.remove('ann', one as unknown as Live)
  pools.remove('nobody', one as unknown as Live)
  add({ idle: false })
  t.equal(refused(), undefined)
  add({ idle: false })
  t.equal(refused('bob')?.code, 'LIMIT_REACHED', 'three are three')
})

t.test('of several of one kind, one is kept for the next request', async (t) => {
  const { pools, add } = setUp()
  add({ used: 1 })
  const [spare, late, busy, session] = [
    add({ used: 2 }),
    add({ used: 9 }),
    add({ used: 2, idle: false }),
    add({ used: 2, onlySingles: false }),
  ]
  add({ used: 1 }, 'ann', 'other')
  add({ used: 1 }, 'bob')
  t.same(pools.surplus(9), [spare], 'one that has been idle for long')
  t.same(pools.surplus(10), [spare, late])
  for (const one of [late, busy, session]) t.notOk(one.closed)
  t.same(pools.surplus(2), [])
})
