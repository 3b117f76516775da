import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Backends } from '../../src/proxy/backends.ts'
import { createRelay } from '../../src/proxy/relay.ts'
import { createRequestStates, keyLength } from '../../src/proxy/request-state.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import { createMemoryStore } from '../../src/sessions/memory-store.ts'
import {
  caller,
  initialize,
  keptOutlet,
  keptReply,
  note,
  req,
  stagedDialect,
  stagedServices,
  target,
  turn,
} from '../fixtures/conversing.ts'

const requestTime = 60_000
const idleTime = 1_800_000
const replay = { replayEvents: 256, replayBytes: 1_048_576 }

type Resolve = Backends['resolve']

function setUp(t: Test, sessions = 10, resolve?: Resolve) {
  const services = stagedServices()
  const { clock } = services
  const dialect = stagedDialect()
  const relay = createRelay({
    ...services,
    store: createMemoryStore(
      { sessions, sessionsPerPrincipal: sessions, idleTime, ...replay },
      clock,
    ),
    backends: {
      resolve: resolve ?? (() => ({ target, traits: dialects.sse, dialect, stream: 'auto' })),
      known: () => undefined,
      headers: () => ({}),
      confirm: async () => undefined,
      doubt: () => undefined,
      close: async () => undefined,
    },
    limits: {
      requestTime,
      idleTime,
      sessions,
      sessionsPerPrincipal: sessions,
      parked: 10,
      parkTime: 60_000,
    },
    states: createRequestStates(() => Buffer.alloc(keyLength)),
    replica: '',
  })
  t.teardown(() => relay.close())
  return { relay, dialect, services, clock: services.clock }
}

const ann = caller({ parameters: { user: 'ann' } })

t.test('a session is found by its id, on its own route and parameters only', async (t) => {
  const { relay } = setUp(t)
  const session = await relay.begin(ann, 'streamable')
  t.equal(session.dialect, 'streamable')
  t.match(session.id, /^[\w-]{32}$/, 'no one guesses it')
  t.equal(relay.sessions, 1)
  t.equal(relay.find(ann, session.id), session)
  for (const [who, id] of [
    [ann, 'nobody'],
    [ann, ''],
    [caller({ parameters: { user: 'bob' } }), session.id],
    [caller({ route: 'other', parameters: { user: 'ann' } }), session.id],
  ] as const) {
    t.throws(() => relay.find(who, id), {
      code: 'SESSION_UNKNOWN',
      message: 'no such session; initialize again',
    })
  }
})

t.test('two sessions have two ids', async (t) => {
  const { relay } = setUp(t)
  const [one, two] = [await relay.begin(ann, 'sse'), await relay.begin(ann, 'sse')]
  t.not(one.id, two.id)
})

t.test('a session that has ended is not found again', async (t) => {
  const { relay } = setUp(t)
  const session = await relay.begin(ann, 'sse')
  const outlet = keptOutlet()
  session.attach(outlet)
  await session.end()
  await session.end()
  t.throws(() => relay.find(ann, session.id), { code: 'SESSION_UNKNOWN' })
  t.equal(relay.sessions, 0)
  t.same(outlet.closes, [undefined], 'its streams end without a hint to come back')
})

t.test('where there is room no more, the least recently used session goes', async (t) => {
  const { relay } = setUp(t, 2)
  const one = await relay.begin(ann, 'streamable')
  const two = await relay.begin(ann, 'streamable')
  const outlet = keptOutlet()
  relay.find(ann, one.id)
  const three = await relay.begin(ann, 'streamable')
  await turn()
  t.throws(() => relay.find(ann, two.id), { code: 'SESSION_UNKNOWN' })
  t.equal(relay.sessions, 2)
  one.attach(outlet)
  three.attach(outlet)
  await t.rejects(relay.begin(ann, 'streamable'), { code: 'LIMIT_REACHED', status: 503 })
  t.same(outlet.closes, [], 'but none that is in use')
})

t.test('a session that is not used expires, one with an open stream does not', async (t) => {
  const { relay, clock } = setUp(t)
  const idle = await relay.begin(ann, 'streamable')
  const open = await relay.begin(ann, 'streamable')
  open.attach(keptOutlet())
  clock.advance(idleTime - 10_000)
  await turn()
  t.equal(relay.sessions, 2)
  clock.advance(20_000)
  await turn()
  t.equal(relay.sessions, 1)
  t.throws(() => relay.find(ann, idle.id), { code: 'SESSION_UNKNOWN' })
  t.equal(relay.find(ann, open.id), open)
})

t.test('sessions talk to the backend', async (t) => {
  const { relay, dialect } = setUp(t)
  const session = await relay.begin(ann, 'streamable')
  const reply = keptReply()
  session.request(ann, initialize(), reply)
  t.equal(relay.exchanges, 1)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  t.equal(reply.finished.length, 1)
  t.equal(relay.exchanges, 0)
})

t.test('a request without a session is served by a backend session of ours', async (t) => {
  const { relay, dialect } = setUp(t)
  const replies = [keptReply(false), keptReply(false)] as const
  relay.single(ann, req('a', 'tools/list'), replies[0])
  relay.single(ann, req('a', 'prompts/list'), replies[1])
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  relay.singlePost(ann, note('notifications/x'))
  await turn()
  t.equal(dialect.sessions.length, 1)
  t.same(dialect.last.methods.slice(0, 2), ['initialize', 'notifications/initialized'])
  dialect.last.answer('prompts/list', { prompts: [] })
  dialect.last.answer('tools/list', { tools: [] })
  t.match(replies[0].finished, [{ idText: '"a"', value: { result: { tools: [] } } }])
  t.match(replies[1].finished, [{ idText: '"a"', value: { result: { prompts: [] } } }])
  t.ok(dialect.last.methods.includes('notifications/x'))
})

t.test('a client that goes cancels what it asked without a session, not within one', async (t) => {
  const { relay, dialect } = setUp(t)
  const single = keptReply(false)
  relay.single(ann, req(1, 'tools/call'), single)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  await turn()
  relay.abandonSingle(single)
  t.equal(relay.exchanges, 0)
  await turn()
  t.equal(dialect.last.methods.at(-1), 'notifications/cancelled')

  const session = await relay.begin(ann, 'streamable')
  const reply = keptReply()
  session.request(ann, initialize(), reply)
  session.abandon(reply)
  t.equal(relay.exchanges, 1)
})

t.test('where no backend is to be had, a request is told and a notification is not', async (t) => {
  const error = new ProxyError('BACKEND_REFUSED', 'speaks nothing known')
  const ways: [string, Resolve][] = [
    [
      'at once',
      () => {
        throw error
      },
    ],
    ['later', () => Promise.reject(error)],
  ]
  for (const [name, resolve] of ways) {
    const { relay } = setUp(t, 10, resolve)
    const reply = keptReply(false)
    relay.single(ann, req(1, 'ping'), reply)
    t.doesNotThrow(() => relay.singlePost(ann, note('notifications/x')))
    await turn()
    t.same(reply.failed, [error], name)
  }
})

t.test('backend sessions that nobody uses are closed after the idle time', async (t) => {
  const { relay, dialect, clock } = setUp(t)
  const reply = keptReply(false)
  relay.single(ann, req(1, 'ping'), reply)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  await turn()
  dialect.last.answer('ping')
  t.equal(reply.finished.length, 1)
  clock.advance(idleTime - 10_000)
  t.equal(dialect.last.closed, false)
  clock.advance(20_000)
  t.equal(dialect.last.closed, true)
})

t.test('while draining nothing new is taken, and what runs may finish', async (t) => {
  const { relay, dialect, clock } = setUp(t)
  const session = await relay.begin(ann, 'streamable')
  const reply = keptReply()
  session.request(ann, initialize(), reply)
  let drained = false
  const draining = relay.drain(10_000).then(() => (drained = true))
  await t.rejects(relay.begin(ann, 'streamable'), { code: 'SHUTTING_DOWN', retryAfter: 1 })
  const refused = keptReply(false)
  relay.single(ann, req(1, 'ping'), refused)
  t.match(refused.failed, [{ code: 'SHUTTING_DOWN', status: 503 }])
  clock.advance(5000)
  await turn()
  t.equal(drained, false)
  t.equal(relay.find(ann, session.id), session, 'sessions that stand are served')
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  clock.advance(50)
  await draining
  t.equal(reply.finished.length, 1)
})

t.test('draining ends when its time is up, whatever runs', async (t) => {
  const { relay, clock } = setUp(t)
  const session = await relay.begin(ann, 'streamable')
  const reply = keptReply()
  session.request(ann, initialize(), reply)
  const draining = relay.drain(10_000)
  clock.advance(10_000)
  await draining
  t.equal(relay.exchanges, 1)
  await relay.close()
  t.equal(reply.failed.length, 1, 'and closing tells whoever still waits')
})

t.test('draining waits for nothing where nothing runs', async (t) => {
  const { relay, clock } = setUp(t)
  const before = clock.waiting
  await relay.drain(10_000)
  t.equal(clock.waiting, before)
})

t.test('closing ends every session with a hint to come back, and leaves no timer', async (t) => {
  const { relay, dialect, clock } = setUp(t)
  const outlets = [keptOutlet(), keptOutlet()]
  for (const outlet of outlets) {
    const session = await relay.begin(ann, 'sse')
    session.attach(outlet)
    session.request(ann, initialize())
  }
  relay.single(ann, req(1, 'ping'), keptReply(false))
  await relay.close()
  t.same(
    outlets.map(({ closes }) => closes),
    [[1000], [1000]],
  )
  for (const session of dialect.sessions) t.equal(session.closed, true)
  t.equal(relay.sessions, 0)
  t.equal(relay.exchanges, 0)
  t.same(
    clock.due,
    [1000, 1000],
    'but those of the exchanges and parks which the test itself has made',
  )
})

t.test('the number of sessions stands in the metrics', async (t) => {
  const { relay, services } = setUp(t)
  await relay.begin(ann, 'sse')
  await relay.begin(ann, 'sse')
  t.equal(await services.metric('sessions'), 2)
})
