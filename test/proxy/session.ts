import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Caller } from '../../src/frontends/exchange.ts'
import type { Live } from '../../src/proxy/live.ts'
import { Session } from '../../src/proxy/session.ts'
import { createMemoryStore } from '../../src/sessions/memory-store.ts'
import {
  caller,
  initialize,
  keptOutlet,
  keptReply,
  note,
  req,
  stagedDialect,
  stagedLive,
  stagedServices,
  turn,
} from '../fixtures/conversing.ts'

const idleTime = 1000
const replay = { replayEvents: 256, replayBytes: 1_048_576 }

type Converse = (caller: Caller) => Live | Promise<Live>

/** A session, and the conversations that it asks for; `converse` may stand between them. */
async function setUp(t: Test, between: (make: () => Live) => Converse = (make) => make) {
  const services = stagedServices()
  const dialect = stagedDialect()
  const lives: Live[] = []
  const make = (): Live => {
    const live = stagedLive(services, dialect)
    lives.push(live)
    return live
  }
  const store = createMemoryStore(
    { sessions: 9, sessionsPerPrincipal: 9, idleTime, ...replay },
    services.clock,
  )
  const record = { id: 's', route: 'shop', parameters: {}, principal: '', dialect: 'sse' } as const
  await store.create(record)
  const ends: string[] = []
  const session = new Session(record, caller(), {
    store,
    converse: between(make),
    abandon: (reply) => services.pending.abandon(reply, false),
    end: async (id) => {
      ends.push(id)
      session.close()
    },
  })
  t.teardown(() => session.close())
  /** Whether the store would let go of the session, were it not used any more. */
  const expires = async (): Promise<boolean> => {
    services.clock.advance(idleTime)
    return (await store.reap()).length > 0
  }
  return { session, services, dialect, lives, store, ends, expires }
}

t.test('a session that sends nothing needs no backend', async (t) => {
  const { session, lives } = await setUp(t)
  const detach = session.attach(keptOutlet())
  detach()
  session.close()
  t.equal(lives.length, 0)
})

t.test('it finds its conversation at its first message, and keeps to it', async (t) => {
  const { session, lives, dialect } = await setUp(t)
  const reply = keptReply()
  session.request(caller(), initialize(), reply)
  t.equal(lives.length, 1)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  t.match(reply.finished, [{ idText: '"i"' }])
  t.equal(session.revision, '2025-06-18')
  session.post(caller(), note('notifications/initialized'))
  t.equal(lives.length, 1)
  t.same(dialect.last.methods, ['initialize', 'notifications/initialized'])
})

t.test('what comes while the conversation is being found waits, in its order', async (t) => {
  let found: (() => void) | undefined
  const { session, dialect } = await setUp(
    t,
    (make) => () => new Promise((resolve) => (found = () => resolve(make()))),
  )
  const outlet = keptOutlet()
  session.attach(outlet)
  session.request(caller(), initialize())
  session.request(caller(), req(2, 'ping'))
  t.equal(dialect.sessions.length, 0)
  found?.()
  await turn()
  t.same(dialect.last.methods, ['initialize', 'ping'])
  dialect.last.answer('ping')
  t.match(outlet.messages, [{ kind: 'response', idText: '2' }])
})

t.test('an outlet that was attached before the conversation is known to it', async (t) => {
  const { session, dialect } = await setUp(t)
  const outlet = keptOutlet()
  session.attach(outlet)
  session.request(caller(), initialize(), keptReply())
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  dialect.last.say(note('notifications/tools/list_changed').value)
  t.match(outlet.messages, [{ method: 'notifications/tools/list_changed' }])
})

t.test('where no conversation is to be had, whoever waits is told', async (t) => {
  const refused = new ProxyError('BACKEND_UNAUTHORIZED', 'who are you')
  const ways: [string, Converse][] = [
    [
      'at once',
      () => {
        throw refused
      },
    ],
    ['later', () => Promise.reject(refused)],
  ]
  for (const [name, converse] of ways) {
    const { session } = await setUp(t, () => converse)
    const outlet = keptOutlet()
    session.attach(outlet)
    const reply = keptReply()
    session.request(caller(), req(1, 'ping'), reply)
    session.request(caller(), req('two', 'ping'))
    session.post(caller(), note('notifications/initialized'))
    await turn()
    t.same(reply.failed, [refused], name)
    const texts = outlet.messages.map(({ text }) => JSON.parse(text) as unknown)
    t.match(texts, [{ id: 'two', error: { code: refused.rpc, message: 'who are you' } }], name)
    t.equal(texts.length, 1)
  }
})

t.test('the next message tries again', async (t) => {
  let tries = 0
  const { session, dialect } = await setUp(t, (make) => () => {
    if (++tries === 1) throw new ProxyError('BACKEND_UNREACHABLE', 'nobody there')
    return make()
  })
  session.request(caller(), initialize(), keptReply())
  session.request(caller(), initialize(), keptReply())
  t.same(dialect.last.methods, ['initialize'])
})

t.test('a conversation that has closed is replaced', async (t) => {
  const { session, lives } = await setUp(t)
  session.request(caller(), initialize(), keptReply())
  lives[0]?.close()
  session.request(caller(), initialize(), keptReply())
  t.equal(lives.length, 2)
})

t.test('the newest stream gets what belongs to none', async (t) => {
  const { session, dialect } = await setUp(t)
  session.request(caller(), initialize(), keptReply())
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  const [one, two] = [keptOutlet(), keptOutlet()]
  session.attach(one)
  const detach = session.attach(two)
  const changed = note('notifications/tools/list_changed').value
  dialect.last.say(changed)
  detach()
  detach()
  dialect.last.say(changed)
  t.equal(two.messages.length, 1)
  t.equal(one.messages.length, 1, 'the older one takes over when it is gone')
})

t.test('an open stream and a running exchange keep the session alive', async (t) => {
  const { session, dialect, expires } = await setUp(t)
  const detach = session.attach(keptOutlet())
  t.equal(await expires(), false, 'a stream')
  session.request(caller(), initialize(), keptReply())
  detach()
  t.equal(await expires(), false, 'an exchange')
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  t.equal(await expires(), true, 'nothing')
})

t.test('closing leaves the conversation and ends all streams', async (t) => {
  const { session, dialect, lives } = await setUp(t)
  const outlets = [keptOutlet(), keptOutlet()]
  const detachers = outlets.map((outlet) => session.attach(outlet))
  session.request(caller(), initialize(), keptReply())
  session.close(1000)
  session.close(2000)
  t.same(
    outlets.map(({ closes }) => closes),
    [[1000], [1000]],
  )
  t.equal(lives[0]?.closed, true, 'it was its last member')
  t.equal(dialect.last.closed, true)
  t.doesNotThrow(() => detachers.forEach((detach) => detach()))
})

t.test('what comes after the end is refused', async (t) => {
  const { session, lives } = await setUp(t)
  session.close()
  const reply = keptReply()
  session.request(caller(), req(1, 'ping'), reply)
  t.match(reply.failed, [{ code: 'SESSION_UNKNOWN' }])
  t.equal(lives.length, 0)
})

t.test('what waited for a conversation at the end is refused, and none is joined', async (t) => {
  let found: (() => void) | undefined
  const { session, lives, dialect } = await setUp(
    t,
    (make) => () => new Promise((resolve) => (found = () => resolve(make()))),
  )
  const reply = keptReply()
  session.request(caller(), initialize(), reply)
  session.close()
  found?.()
  await turn()
  t.match(reply.failed, [{ code: 'SESSION_UNKNOWN' }])
  t.equal(lives[0]?.members, 0)
  t.equal(dialect.sessions.length, 0)
})

t.test('a client asks for the end by the id', async (t) => {
  const { session, ends } = await setUp(t)
  await session.end()
  t.same(ends, ['s'])
})
