import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Caller } from '../../src/frontends/exchange.ts'
import type { Backends, Resolved } from '../../src/proxy/backends.ts'
import { createConversations } from '../../src/proxy/conversations.ts'
import type { Conversations } from '../../src/proxy/conversations.ts'
import type { Live } from '../../src/proxy/live.ts'
import { originOf } from '../../src/proxy/parks.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import { paramsOf } from '../../src/protocol/metadata.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import {
  caller,
  initialize,
  keptReply,
  note,
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
    confirm: async () => undefined,
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

const prefix = 'io.modelcontextprotocol/'
/** A request of a modern client that declares this. */
const modern = (
  capabilities: object = {},
  { method = 'tools/call', level = undefined as string | undefined, params = {} } = {},
) =>
  req(1, method, {
    ...params,
    _meta: {
      [`${prefix}protocolVersion`]: '2026-07-28',
      [`${prefix}clientCapabilities`]: capabilities,
      ...(level !== undefined && { [`${prefix}logLevel`]: level }),
    },
  })
const asked = { elicitation: {} }
const sessions = { traits: dialects.streamable, stream: 'own' } as const

/** Sends a request of a caller without a session on its way; the conversation that serves it. */
const begun = async (all: Conversations, who: Caller, message = modern()) => {
  const reply = keptReply()
  const { live, member } = await all.pooled(who, message)
  live.request(member, who, message, reply)
  return { live, member, reply }
}

t.test('a request that can be asked something has a conversation to itself', async (t) => {
  for (const method of ['tools/call', 'prompts/get', 'resources/read']) {
    for (const capabilities of [{ elicitation: {} }, { sampling: {} }, { roots: {} }]) {
      const { all } = setUp(t, sessions)
      const message = modern(capabilities, { method })
      const one = await begun(all, ann, message)
      const two = await begun(all, ann, message)
      t.not(two.live, one.live, `${method} ${JSON.stringify(capabilities)}`)
      const other = await begun(all, ann, modern(capabilities, { method: 'tools/list' }))
      t.equal(other.live, one.live, 'others of its kind may join it')
      t.not((await begun(all, bob, message)).live, one.live)
    }
  }
})

t.test('also where they wait together for the dialect to be found out', async (t) => {
  let found: (() => void) | undefined
  const { all } = setUp(t, sessions, new Promise<void>((resolve) => (found = resolve)))
  const both = [begun(all, ann, modern(asked)), begun(all, ann, modern(asked))]
  found?.()
  const [one, two] = await Promise.all(both)
  t.not(two?.live, one?.live)
})

t.test('a conversation is free again when its request has been answered', async (t) => {
  const { all, dialect } = setUp(t, sessions)
  const one = await begun(all, ann, modern(asked))
  dialect.last.answer('initialize', { protocolVersion: '2025-11-25', capabilities: {} })
  await turn()
  const wire = dialect.last.find('tools/call')
  dialect.last.say({ jsonrpc: '2.0', id: Number(wire.idText), result: { content: [] } })
  await turn()
  t.equal(one.reply.finished.length, 1)
  t.equal((await begun(all, ann, modern(asked))).live, one.live)
})

t.test('who wants log messages has a conversation to itself', async (t) => {
  const { all } = setUp(t, sessions)
  const list = modern({}, { method: 'tools/list', level: 'info' })
  const one = await begun(all, ann, list)
  t.not((await begun(all, ann, list)).live, one.live)
})

t.test('a place that is taken and given back is free', async (t) => {
  const { all } = setUp(t, sessions)
  const message = modern(asked)
  const { live } = await all.pooled(ann, message)
  t.not((await all.pooled(ann, message)).live, live, 'though nothing has begun')
  live.unreserve(message)
  t.equal((await all.pooled(ann, message)).live, live)
})

t.test('all others share one, by what they declare', async (t) => {
  const { all } = setUp(t, sessions)
  const plain = (await begun(all, ann, modern())).live
  t.equal((await begun(all, ann, modern())).live, plain)
  t.equal((await begun(all, ann, ping)).live, plain, 'who declares nothing is like any other')
  const vendor = (await begun(all, ann, modern({ 'v.example': {} }))).live
  t.not(vendor, plain)
  t.equal((await begun(all, ann, modern({ 'v.example': {} }))).live, vendor)
  t.not((await begun(all, bob, modern({ 'v.example': {} }))).live, vendor)
})

t.test('what clients declare is what the backend is told', async (t) => {
  const { all, dialect } = setUp(t, sessions)
  await begun(all, ann, modern(asked))
  t.match(JSON.parse(dialect.last.find('initialize').text).params, { capabilities: asked })
  await begun(all, ann, modern())
  t.same(JSON.parse(dialect.last.find('initialize').text).params.capabilities, {})
})

t.test('towards a backend without sessions all share, whatever they declare', async (t) => {
  for (const traits of [dialects.stateless, dialects.rpc]) {
    const { all } = setUp(t, { traits, stream: 'own' })
    const one = await begun(all, ann, modern(asked))
    t.equal((await begun(all, ann, modern(asked))).live, one.live)
    t.equal((await begun(all, ann, modern({ sampling: {} }))).live, one.live)
    t.not((await begun(all, bob, modern(asked))).live, one.live)
  }
})

t.test('one principal may have only so many', async (t) => {
  const { all } = setUp(t, sessions)
  for (let count = 0; count < 10; count++) {
    await begun(all, ann, modern(count % 2 === 0 ? asked : { roots: {} }))
  }
  t.throws(() => all.pooled(ann, modern(asked)), { code: 'LIMIT_REACHED' })
  t.throws(() => all.pooled(ann, modern({ another: {} })), { code: 'LIMIT_REACHED' })
  t.ok(await begun(all, bob, modern(asked)))
})

t.test('one that has closed counts no more', async (t) => {
  const { all } = setUp(t, sessions)
  for (let count = 0; count < 30; count++) (await begun(all, ann, modern(asked))).live.close()
  t.ok(await begun(all, ann, modern(asked)))
})

t.test('what was only needed for a while is closed, but for one', async (t) => {
  const { all, services, dialect } = setUp(t, sessions)
  const lives: Live[] = []
  for (let count = 0; count < 3; count++) lives.push((await begun(all, ann, modern(asked))).live)
  for (const session of dialect.sessions.slice(0, 2)) {
    session.answer('initialize', { protocolVersion: '2025-11-25', capabilities: {} })
    await turn()
    session.say({ jsonrpc: '2.0', id: Number(session.find('tools/call').idText), result: {} })
  }
  await turn()
  const closed = () => lives.map((live) => live.closed)
  services.clock.advance(10_000)
  all.reap(-Infinity, services.clock.now() - 20_000)
  t.same(closed(), [false, false, false], 'not yet')
  all.reap(-Infinity, services.clock.now() - 5000)
  t.same(closed(), [false, true, false], 'the first is kept, the last is busy')
})

t.test('who comes back with answers is led to what waits for them', async (t) => {
  const { all, services } = setUp(t, sessions)
  const params = { name: 'add' }
  const message = modern(asked, { params })
  const { live, member } = await begun(all, ann, message)
  const park = { number: 1000, live, member, round: 1 }
  const requestState = services.parks.add(park, originOf(ann, message))
  const back = (over: object, capabilities: object = asked) =>
    modern(capabilities, { params: { ...params, requestState, inputResponses: {}, ...over } })

  const refused: [string, Request, Caller?][] = [
    ['answers that are no object', back({ inputResponses: [] })],
    ['an answer that is no object', back({ inputResponses: { q1: 'yes' } })],
    ['another request', back({ name: 'sub' })],
    ['a state of nobody', back({ requestState: 'x' })],
    ['a state that is no text', back({ requestState: 7 })],
    ['another caller', back({}), caller({ headers: { 'x-user-id': 'bob' } })],
  ]
  for (const [name, given, who = ann] of refused) {
    t.throws(() => all.pooled(who, given), { code: 'PARAMS_INVALID', status: 400 }, name)
  }
  const found = await all.pooled(ann, back({}))
  t.match(found.park, { number: 1000, round: 1 })
  t.equal(found.live, live)
  t.equal(found.member, member)
  t.throws(() => all.pooled(ann, back({})), { code: 'PARAMS_INVALID' }, 'once')
})

t.test('a state that is not ours passes to a backend that may have made it', async (t) => {
  const { all } = setUp(t, { traits: dialects.stateless, stream: 'own' })
  const state = modern(asked, { params: { requestState: 'the backend’s' } })
  t.equal((await seatOf(all, state)).park, undefined)
  const old = setUp(t, sessions)
  const plain = req(1, 'tools/call', { requestState: 'any' })
  t.equal(
    (await seatOf(old.all, plain)).park,
    undefined,
    'nor is it read where nothing is declared',
  )
})

const seatOf = async (all: Conversations, message: Request) => all.pooled(ann, message)

t.test('a notification takes no place', async (t) => {
  const { all } = setUp(t, sessions)
  const meta = paramsOf(modern({}, { level: 'info' }))
  const notice = note('notifications/vendor', meta)
  const { live, member } = await all.pooled(ann, notice)
  live.post(member, ann, notice)
  t.equal(live.asking, false)
  t.equal((await begun(all, ann, modern({}, { level: 'info' }))).live, live)
})
