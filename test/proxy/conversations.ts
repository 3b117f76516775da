import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Caller } from '../../src/frontends/exchange.ts'
import type { Backends, Resolved } from '../../src/proxy/backends.ts'
import { createConversations } from '../../src/proxy/conversations.ts'
import type { Conversations } from '../../src/proxy/conversations.ts'
import type { Live } from '../../src/proxy/live.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import {
  caller,
  initialize,
  keptReply,
  req,
  stagedDialect,
  stagedServices,
  target,
  turn,
} from '../fixtures/conversing.ts'

const ping = req(1, 'ping')
const seat = (all: Conversations, who: Caller) => all.pooled(who, ping)
/** The conversation of a caller without a session. */
const poolOf = async (all: Conversations, who: Caller): Promise<Live> => (await seat(all, who)).live

const ann = caller()
const bob = caller({ principal: 'bob' })

/** Conversations with one backend; `over` says how it is to be spoken to. */
function setUp(t: Test, over: Partial<Resolved> = {}, wait?: Promise<unknown>) {
  const services = stagedServices()
  const dialect = stagedDialect()
  const resolved: Resolved = { target, traits: dialects.sse, dialect, stream: 'auto', ...over }
  const resolve = (given: Caller): Resolved => ({
    ...resolved,
    target: { ...target, route: given.route },
  })
  const backends: Backends = {
    resolve: (given) => (wait === undefined ? resolve(given) : wait.then(() => resolve(given))),
    known: () => undefined,
    headers: () => ({}),
    doubt: () => undefined,
    close: async () => undefined,
  }
  const all = createConversations(services, backends, { sessions: 100, sessionsPerPrincipal: 10 })
  t.teardown(() => all.close())
  let members = 0
  const join = (live: Live): string => {
    const id = `m${++members}`
    live.join(id, {
      outlets: [],
      headers: {},
      negotiated: () => undefined,
      exchangeStarted: () => undefined,
      exchangeEnded: () => undefined,
    })
    return id
  }
  /** A client session with its conversation, whose backend says where to POST. */
  const open = async (who: Caller, endpoint: string) => {
    const live = await all.own(who)
    const member = join(live)
    const reply = keptReply()
    live.request(member, who, initialize(), reply)
    dialect.last.listener.endpoint?.(endpoint)
    return { live, member, reply }
  }
  return { all, services, dialect, join, open }
}

const at = (id: number): string => `http://backend.test/messages?s=${id}`

t.test('each client session has a conversation of its own', async (t) => {
  const { all, open } = setUp(t)
  const one = await open(ann, at(1))
  const two = await open(ann, at(2))
  t.not(one.live, two.live)
  t.not(one.live.current, two.live.current)
  t.not(await all.own(bob), one.live)
})

t.test('requests without a session share one, by who is asking', async (t) => {
  const { all } = setUp(t)
  const pool = await poolOf(all, ann)
  t.equal(await poolOf(all, ann), pool)
  t.equal(pool.members, 1, 'they are one member of it')
  t.not(await poolOf(all, bob), pool)
  t.not(await poolOf(all, caller({ route: 'other' })), pool)
  t.not(await all.own(ann), pool, 'client sessions do not')
})

t.test('a pooled conversation that has closed is replaced', async (t) => {
  const { all } = setUp(t)
  const pool = await poolOf(all, ann)
  pool.close()
  const next = await poolOf(all, ann)
  t.not(next, pool)
  t.equal(next.closed, false)
})

t.test('two sessions that are told the same endpoint share a stream from then on', async (t) => {
  const { all, dialect, open, services } = setUp(t)
  const one = await open(ann, at(1))
  const two = await open(ann, at(1))
  t.equal(two.live.current, one.live, 'the older one goes on')
  t.equal(one.live.members, 2)
  t.equal(await all.own(ann), one.live, 'and serves whoever comes next')
  t.equal(await poolOf(all, ann), one.live, 'without a session too')
  t.not(await all.own(bob), one.live, 'but nobody else')

  const result = { protocolVersion: '2025-06-18' }
  for (const { reply } of [one, two]) t.same(reply.finished, [])
  const ids = dialect.sessions.map((session) => Number(session.find('initialize').idText))
  for (const id of ids) dialect.sessions[0]?.say({ jsonrpc: '2.0', id, result })
  for (const { reply } of [one, two]) t.equal(reply.finished.length, 1)
  t.equal(services.pending.size, 0)
})

t.test('what one has learnt of a route saves the others their second stream', async (t) => {
  const { all, open } = setUp(t)
  await open(ann, at(1))
  await open(ann, at(1))
  t.equal(await all.own(bob), await all.own(bob))
  const other = caller({ route: 'other' })
  t.not(await all.own(other), await all.own(other), 'of that route only')
})

t.test('the same endpoint told to different people proves nothing', async (t) => {
  const { open } = setUp(t)
  const one = await open(ann, at(1))
  const two = await open(bob, at(1))
  t.not(two.live.current, one.live.current)
})

t.test('one conversation told the same endpoint again shares nothing', async (t) => {
  const { all, dialect, open } = setUp(t)
  const one = await open(ann, at(1))
  dialect.last.listener.endpoint?.(at(1))
  t.equal(one.live.members, 1)
  t.not(await all.own(ann), one.live)
})

t.test('an endpoint counts as long as its conversation lives', async (t) => {
  const { open } = setUp(t)
  const one = await open(ann, at(1))
  one.live.leave(one.member)
  t.equal(one.live.closed, true)
  const two = await open(ann, at(1))
  t.equal(two.live.current, two.live)
})

t.test('the configuration may say whether streams are shared', async (t) => {
  t.test('shared', async (t) => {
    const { all, dialect, join } = setUp(t, { stream: 'shared' })
    const one = await all.own(ann)
    t.equal(await all.own(ann), one)
    t.equal(await poolOf(all, ann), one)
    t.not(await all.own(bob), one)
    one.request(join(one), ann, req(1, 'ping'), keptReply())
    await turn()
    t.equal(dialect.sessions.length, 1)
  })
  t.test('own', async (t) => {
    const { open } = setUp(t, { stream: 'own' })
    const one = await open(ann, at(1))
    const two = await open(ann, at(1))
    t.not(two.live.current, one.live.current)
  })
})

t.test('a shared conversation that has closed is replaced', async (t) => {
  const { all } = setUp(t, { stream: 'shared' })
  const one = await all.own(ann)
  one.close()
  const two = await all.own(ann)
  t.not(two, one)
  t.equal(await all.own(ann), two)
})

t.test('where the dialect must be found out first, all wait for that', async (t) => {
  let found: (() => void) | undefined
  const { all } = setUp(t, {}, new Promise<void>((resolve) => (found = resolve)))
  const [one, two] = [seat(all, ann), seat(all, ann)]
  t.ok(one instanceof Promise)
  found?.()
  t.equal((await one).live, (await two).live)
})

t.test('a dialect that is not found out is the error of who asked', async (t) => {
  const error = new ProxyError('BACKEND_REFUSED', 'speaks nothing known')
  const { all } = setUp(t, {}, Promise.reject(error))
  await t.rejects(Promise.resolve(all.own(ann)), { code: 'BACKEND_REFUSED' })
  await t.rejects(poolOf(all, ann), { code: 'BACKEND_REFUSED' })
})

t.test('pooled conversations go when they have been idle, others stay', async (t) => {
  const { all, services, join } = setUp(t)
  const { clock } = services
  const own = await all.own(ann)
  join(own)
  const idle = await poolOf(all, ann)
  const busy = await poolOf(all, bob)
  const reply = keptReply(false)
  busy.request('single', bob, req(1, 'ping'), reply)
  clock.advance(10_000)
  const fresh = await poolOf(all, caller({ principal: 'eve' }))
  all.reap(clock.now() - 5000, -Infinity)
  t.same(
    [own, idle, busy, fresh].map(({ closed }) => closed),
    [false, true, false, false],
  )
  t.same(reply.failed, [])
})

t.test('closing closes them all', async (t) => {
  const { all, join } = setUp(t)
  const lives = [await all.own(ann), await poolOf(all, bob)]
  lives.forEach(join)
  all.close()
  for (const live of lives) t.equal(live.closed, true)
})
