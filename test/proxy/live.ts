import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Message } from '../../src/protocol/jsonrpc.ts'
import type { Live } from '../../src/proxy/live.ts'
import type { LiveOptions, MemberPort } from '../../src/proxy/live-options.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import {
  caller,
  initialize,
  keptOutlet,
  keptReply,
  message,
  note,
  req,
  stagedDialect,
  stagedLive,
  stagedServices,
  turn,
} from '../fixtures/conversing.ts'
import type { KeptOutlet, StagedDialect, StagedServices } from '../fixtures/conversing.ts'

interface Member extends MemberPort {
  readonly outlets: KeptOutlet[]
  /** Exchanges that have started and not ended. */
  running: number
  revision: string | undefined
}

const member = (outlets: KeptOutlet[] = []): Member => ({
  outlets,
  headers: {},
  running: 0,
  revision: undefined,
  negotiated(revision) {
    this.revision = revision
  },
  exchangeStarted() {
    this.running++
  },
  exchangeEnded() {
    this.running--
  },
})

const text = ({ text }: Message): unknown => JSON.parse(text)
const progress = note('notifications/tools/list_changed').value
const call = (id: unknown) => req(id, 'tools/call', { name: 'pay' })
const lost = new ProxyError('BACKEND_STREAM_ENDED', 'the stream has ended')

interface Stage {
  readonly services: StagedServices
  readonly dialect: StagedDialect
  readonly live: Live
  readonly port: Member
  /** Sends a request of member `a`. */
  ask(message: ReturnType<typeof req>, carries?: boolean): ReturnType<typeof keptReply>
}

function stage(t: Test, over: Partial<LiveOptions> = {}, port = member()): Stage {
  const services = stagedServices()
  const dialect = stagedDialect()
  const live = stagedLive(services, dialect, over)
  live.join('a', port)
  t.teardown(() => live.close())
  return {
    services,
    dialect,
    live,
    port,
    ask(message, carries = true) {
      const reply = keptReply(carries)
      live.request('a', caller(), message, reply)
      return reply
    },
  }
}

/** Past the handshake, every send having been taken. */
async function opened(t: Test, over: Partial<LiveOptions> = {}, port = member()): Promise<Stage> {
  const it = stage(t, over, port)
  it.ask(initialize())
  it.dialect.last.answer('initialize', { protocolVersion: '2025-06-18', capabilities: {} })
  it.live.post('a', caller(), note('notifications/initialized'))
  await turn()
  return it
}

t.test('an exchange from request to response', async (t) => {
  const { dialect, ask, port, services, live } = stage(t)
  const reply = ask(initialize('mine'))
  t.equal(port.running, 1)
  t.equal(live.idle, false)
  t.equal(await services.metric('exchanges_open'), 1)
  const { last } = dialect
  t.match(last.sent, [{ options: { headers: { 'x-user-id': 'ann' }, repeatable: true } }])
  services.clock.advance(2000)
  last.answer('initialize', { protocolVersion: '2025-06-18' })
  t.match(reply.finished, [{ idText: '"mine"' }])
  t.equal(port.revision, '2025-06-18')
  t.equal(port.running, 0)
  t.equal(live.idle, true)
  t.equal(services.pending.size, 0)
  t.equal(await services.metric('exchanges_open'), 0)
  t.equal(await services.metric('exchanges_total', 'outcome="result"'), 1)
  t.equal(await services.metric('exchange_seconds_sum'), 2)
})

t.test('what belongs to an exchange goes to it, the rest to the newest stream', async (t) => {
  const outlets = [keptOutlet(), keptOutlet()]
  const { dialect, ask, services } = await opened(t, {}, member(outlets))
  const reply = ask(req(5, 'tools/call', { name: 'x', _meta: { progressToken: 'p' } }))
  const { idText } = dialect.last.find('tools/call')
  dialect.last.say(note('notifications/progress', { progressToken: Number(idText) }).value)
  t.match(reply.messages.map(text), [{ params: { progressToken: 'p' } }])
  dialect.last.answer('tools/call')
  dialect.last.say(progress)
  t.equal(outlets[0]?.messages.length, 0)
  t.match(outlets[1]?.messages.map(text), [progress])
  t.equal(await services.metric('dropped_messages_total'), 0)
})

t.test('an answer that nobody waits for is dropped and counted', async (t) => {
  const { dialect, services } = await opened(t)
  dialect.last.say({ jsonrpc: '2.0', id: 99, result: {} })
  dialect.last.say({ jsonrpc: '2.0', id: null, result: {} })
  t.equal(await services.metric('dropped_messages_total'), 2)
})

t.test('a request without a reply is answered on the stream', async (t) => {
  const outlet = keptOutlet()
  const { dialect, live } = await opened(t, {}, member([outlet]))
  live.request('a', caller(), req('one', 'tools/list'), undefined)
  dialect.last.answer('tools/list', { tools: [] })
  live.request('a', caller(), call('two'), undefined)
  dialect.last.listener.gone(lost)
  t.match(outlet.messages.map(text), [
    { id: 'one', result: { tools: [] } },
    { id: 'two', error: { code: lost.rpc } },
  ])
})

t.test('each request carries the headers of the client that sent it', async (t) => {
  const { dialect, live } = await opened(t)
  live.request('a', caller({ headers: { authorization: 'new' } }), call(1), keptReply())
  t.match(dialect.last.sent.at(-1)?.options.headers, { authorization: 'new' })
  live.post('a', caller({ headers: { authorization: 'newer' } }), note('notifications/x'))
  t.match(dialect.last.sent.at(-1)?.options.headers, { authorization: 'newer' })
})

t.test('a request does not overtake the notification before it', async (t) => {
  const { dialect, ask, live } = await opened(t)
  const { last } = dialect
  dialect.holds = ({ kind }) => kind === 'notification'
  live.post('a', caller(), note('notifications/one'))
  live.post('a', caller(), note('notifications/two'))
  ask(call(1))
  ask(req(2, 'tools/list'))
  await turn()
  t.same(last.methods.slice(2), ['notifications/one'])
  last.sent.at(-1)?.settle()
  await turn()
  t.same(last.methods.slice(3), ['notifications/two'])
  last.sent.at(-1)?.settle()
  await turn()
  t.same(last.methods.slice(4), ['tools/call', 'tools/list'])
  ask(req(3, 'ping'))
  t.same(last.methods.slice(6), ['ping'], 'and afterwards nothing waits')
})

t.test('it waits for a notification that is not taken two seconds, no longer', async (t) => {
  const { dialect, ask, live, services } = await opened(t)
  dialect.holds = ({ kind }) => kind === 'notification'
  live.post('a', caller(), note('notifications/one'))
  ask(call(1))
  services.clock.advance(1999)
  await turn()
  t.same(dialect.last.methods.slice(2), ['notifications/one'])
  services.clock.advance(1)
  await turn()
  t.same(dialect.last.methods.slice(3), ['tools/call'])
})

t.test('one member does not wait for the notification of another', async (t) => {
  const { dialect, live } = await opened(t)
  live.join('b', member())
  dialect.holds = ({ kind }) => kind === 'notification'
  live.post('a', caller(), note('notifications/one'))
  live.request('b', caller(), call(1), keptReply())
  t.same(dialect.last.methods.slice(2), ['notifications/one', 'tools/call'])
})

t.test('a notification that is not taken fails nothing', async (t) => {
  const { dialect, ask, live } = await opened(t)
  dialect.holds = ({ kind }) => kind === 'notification'
  const reply = ask(call(1))
  live.post('a', caller(), note('notifications/one'))
  const error = new ProxyError('BACKEND_REFUSED', 'no')
  dialect.last.sent.at(-1)?.settle({ error, mayHaveRun: false })
  await turn()
  t.same(reply.failed, [])
  dialect.last.answer('tools/call')
  t.equal(reply.finished.length, 1)
})

t.test('a request that is not taken fails with the reason', async (t) => {
  const { dialect, ask, port, services } = await opened(t)
  dialect.holds = () => true
  const reply = ask(call(1))
  const error = new ProxyError('BACKEND_NO_ENDPOINT', 'no endpoint')
  dialect.last.sent.at(-1)?.settle({ error, mayHaveRun: false })
  await turn()
  t.same(reply.failed, [error])
  t.equal(port.running, 0)
  t.equal(await services.metric('backend_connects_total', 'outcome="failed"'), 1)
  t.equal(await services.metric('exchanges_total', 'outcome="failed"'), 1)
})

t.test('an exchange expires by the clock, and the backend is told', async (t) => {
  const { dialect, ask, services } = await opened(t)
  const reply = ask(call(1))
  const { idText } = dialect.last.find('tools/call')
  services.clock.advance(59_000)
  t.same(reply.failed, [])
  services.clock.advance(2000)
  t.match(reply.failed, [{ code: 'BACKEND_TIMEOUT', message: /"shop".*tools\/call/ }])
  await turn()
  t.match(text(dialect.last.sent.at(-1)?.message ?? call(0)), {
    method: 'notifications/cancelled',
    params: { requestId: Number(idText) },
  })
  t.match(dialect.last.aborted, [{ method: 'tools/call' }])
})

t.test('a message for an exchange gives it another full time', async (t) => {
  const { dialect, ask, services } = await opened(t)
  const reply = ask(req(1, 'tools/call', { _meta: { progressToken: 1 } }))
  const progressToken = Number(dialect.last.find('tools/call').idText)
  for (let step = 0; step < 4; step++) {
    services.clock.advance(50_000)
    dialect.last.say(note('notifications/progress', { progressToken, progress: step }).value)
  }
  t.same(reply.failed, [])
  services.clock.advance(61_000)
  t.match(reply.failed, [{ code: 'BACKEND_TIMEOUT' }])
})

t.test('a client that goes calls its request off where its dialect has it so', async (t) => {
  for (const cancels of [true, false]) {
    const { dialect, ask, services } = await opened(t)
    const reply = ask(call(1))
    services.pending.abandon(reply, cancels)
    t.equal(dialect.last.methods.at(-1), cancels ? 'notifications/cancelled' : 'tools/call')
    t.equal(services.pending.size, cancels ? 0 : 1)
    t.equal(await services.metric('exchanges_total', 'outcome="cancelled"'), cancels ? 1 : 0)
    t.same(reply.failed, [])
  }
})

t.test('a slow client stops its backend until it has caught up', async (t) => {
  const outlet = keptOutlet()
  const { dialect, ask } = await opened(t, {}, member([outlet]))
  outlet.slow = true
  dialect.last.say(progress)
  t.equal(dialect.last.paused, true)
  outlet.drain()
  t.equal(dialect.last.paused, false)
  const reply = ask(req(1, 'tools/call', { _meta: { progressToken: 1 } }))
  const progressToken = Number(dialect.last.find('tools/call').idText)
  reply.slow = true
  dialect.last.say(note('notifications/progress', { progressToken, progress: 1 }).value)
  t.equal(dialect.last.paused, true, 'on the stream of an exchange as well')
  reply.drain()
  t.equal(dialect.last.paused, false)
})

t.test('a slow client does not stop the backend of others', async (t) => {
  const outlet = keptOutlet()
  const { dialect, live } = await opened(t, {}, member([outlet]))
  live.join('b', member())
  outlet.slow = true
  dialect.last.say(progress)
  t.equal(dialect.last.paused, false)
})

t.test('a lost backend session is brought back, later each time it fails', async (t) => {
  const { dialect, live, services } = await opened(t, {}, member([keptOutlet()]))
  const { clock } = services
  const error = new ProxyError('BACKEND_UNREACHABLE', 'nobody there')
  dialect.holds = ({ kind }) => kind === 'request'
  dialect.last.listener.gone(lost)
  const waits: number[] = []
  for (let round = 0; round < 9; round++) {
    const start = clock.now()
    const before = dialect.sessions.length
    clock.advance(0)
    while (dialect.sessions.length === before && clock.now() < start + 60_000) clock.advance(250)
    waits.push(clock.now() - start)
    t.same(dialect.last.methods, ['initialize'], 'we initialize it')
    dialect.last.sent[0]?.settle({ error, mayHaveRun: false })
    await turn()
  }
  t.same(waits, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])

  dialect.holds = () => false
  clock.advance(30_000)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  await turn()
  dialect.last.listener.gone(lost)
  const before = dialect.sessions.length
  clock.advance(0)
  t.equal(dialect.sessions.length, before + 1, 'and at once again when it has worked')
  t.notOk(live.closed)
})

t.test('a conversation that closes is not brought back', async (t) => {
  const { dialect, live, services } = await opened(t, {}, member([keptOutlet()]))
  dialect.last.listener.gone(lost)
  live.close()
  services.clock.advance(60_000)
  t.equal(dialect.sessions.length, 1)
})

t.test('closing fails everything that waits', async (t) => {
  let closed = 0
  const { dialect, ask, live, port } = await opened(t, { onClosed: () => closed++ })
  const replies = [ask(call(1)), ask(req(2, 'tools/list'))]
  live.close()
  live.close()
  for (const { failed } of replies) t.match(failed, [{ code: 'SHUTTING_DOWN' }])
  t.equal(port.running, 0)
  t.equal(dialect.last.closed, true)
  t.equal(closed, 1)
  dialect.last.answer('tools/call')
  t.same(replies[0]?.finished, [], 'and what still comes is for nobody')
})

t.test("closing fails an initialize that is answered in the backend's name", async (t) => {
  const it = stage(t, { traits: dialects.rpc })
  const reply = it.ask(initialize())
  const error = { code: -32601, message: 'Method not found' }
  const { listener, sent } = it.dialect.last
  listener.message(message({ jsonrpc: '2.0', id: 'i', error }), sent[0]?.message)
  t.ok(it.dialect.last.methods.includes('tools/list'), 'it is being probed')
  it.live.close()
  t.match(reply.failed, [{ code: 'SHUTTING_DOWN' }])
})

t.test('the last member to leave closes the conversation', async (t) => {
  const { live, dialect, ask } = await opened(t)
  live.join('b', member())
  const reply = ask(call(1))
  live.leave('a')
  t.match(reply.failed, [{ code: 'SESSION_UNKNOWN' }])
  t.equal(live.closed, false)
  t.equal(dialect.last.methods.at(-1), 'notifications/cancelled')
  live.leave('b')
  t.equal(live.closed, true)
  t.equal(dialect.last.closed, true)
})

t.test('a session that is given up is closed when its sends have ended', async (t) => {
  const { dialect, ask, services } = await opened(t)
  const [first] = dialect.sessions
  dialect.holds = ({ kind }) => kind === 'request'
  const one = ask(call(1))
  const two = ask(call(2))
  const error = new ProxyError('BACKEND_SESSION_LOST', 'unknown session')
  const [, , sentOne, sentTwo] = first?.sent ?? []
  sentOne?.settle({ error, mayHaveRun: false })
  await turn()
  services.clock.advance(0)
  t.equal(dialect.sessions.length, 2)
  t.equal(first?.closed, false, 'the other request is still on its way there')
  sentTwo?.settle({ error, mayHaveRun: false })
  await turn()
  t.equal(first?.closed, true)
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  await turn()
  t.same([...dialect.last.methods].sort(), [
    'initialize',
    'notifications/initialized',
    'tools/call',
    'tools/call',
  ])
  t.same([...one.failed, ...two.failed], [])
})

t.test('streams are counted once each, while they stand', async (t) => {
  const { dialect, live, services } = await opened(t)
  const streams = () => services.metric('open_streams', 'side="backend"')
  const { listener } = dialect.last
  listener.endpoint?.('http://backend.test/m?1')
  listener.endpoint?.('http://backend.test/m?2')
  t.equal(await streams(), 1)
  t.equal(await services.metric('backend_connects_total', 'outcome="ok"'), 1)
  listener.gone(lost)
  t.equal(await streams(), 0)
  live.request('a', caller(), call(1), keptReply())
  services.clock.advance(0)
  dialect.last.listener.endpoint?.('http://backend.test/m?3')
  live.close()
  t.equal(await streams(), 0)
})

t.test('conversations whose streams are one go on as one', async (t) => {
  const services = stagedServices()
  const dialect = stagedDialect()
  const closed: string[] = []
  const [one, two] = ['one', 'two'].map((name) =>
    stagedLive(services, dialect, { onClosed: () => closed.push(name) }),
  ) as [Live, Live]
  const ports = [member([keptOutlet()]), member([keptOutlet()])] as const
  one.join('a', ports[0])
  two.join('b', ports[1])
  const replies = [keptReply(), keptReply()] as const
  one.request('a', caller(), initialize('a'), replies[0])
  two.request('b', caller(), initialize('b'), replies[1])
  const [first, second] = dialect.sessions
  first?.listener.endpoint?.('http://backend.test/m')
  second?.listener.endpoint?.('http://backend.test/m')
  one.absorb(two)
  t.same(closed, ['two'])
  t.equal(two.current, one)
  t.same([one.members, one.has('b')], [2, true])

  // The backend has put each answer where it pleased.
  const idOf = (index: 0 | 1) => Number(dialect.sessions[index]?.find('initialize').idText)
  const result = { protocolVersion: '2025-06-18' }
  first?.say({ jsonrpc: '2.0', id: idOf(1), result })
  second?.say({ jsonrpc: '2.0', id: idOf(0), result })
  t.match(replies[0].finished, [{ idText: '"a"' }])
  t.match(replies[1].finished, [{ idText: '"b"' }])
  t.equal(services.pending.size, 0)

  second?.listener.gone(lost)
  t.equal(one.idle, true)
  const reply = keptReply()
  one.request('b', caller(), call(1), reply)
  t.equal(dialect.sessions.length, 2, 'one stream is enough')
  first?.answer('tools/call')
  t.equal(reply.finished.length, 1)
  t.equal(await services.metric('open_streams', 'side="backend"'), 1)

  two.close()
  t.equal(one.closed, false, 'what has been merged has nothing left to close')
  one.close()
  t.same(closed, ['two', 'one'])
  t.equal(await services.metric('open_streams', 'side="backend"'), 0)
})

t.test('an exchange of a merged conversation still expires and is still abandoned', async (t) => {
  const services = stagedServices()
  const dialect = stagedDialect()
  const one = stagedLive(services, dialect)
  const two = stagedLive(services, dialect)
  t.teardown(() => one.close())
  one.join('a', member())
  two.join('b', member())
  one.request('a', caller(), initialize(), keptReply())
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  two.request('b', caller(), initialize(), keptReply())
  dialect.last.answer('initialize', { protocolVersion: '2025-06-18' })
  const replies = [keptReply(), keptReply()] as const
  two.request('b', caller(), call(1), replies[0])
  two.request('b', caller(), call(2), replies[1])
  one.absorb(two)
  services.pending.abandon(replies[0], true)
  t.equal(services.pending.size, 1)
  services.clock.advance(61_000)
  t.match(replies[1].failed, [{ code: 'BACKEND_TIMEOUT' }])
  t.same(replies[0].failed, [])
})

t.test('it knows whether client sessions need it, and when it was used last', async (t) => {
  const { live, services } = await opened(t)
  t.equal(live.onlySingles, false)
  const pool = stagedLive(services, stagedDialect())
  t.teardown(() => pool.close())
  pool.join('single', member(), { single: true })
  t.equal(pool.onlySingles, true)
  services.clock.advance(7000)
  pool.request('single', caller(), call(1), keptReply(false))
  t.equal(pool.used, 7000)
})

t.test('an answer in answer to a notification is for nobody', async (t) => {
  const { dialect, ask, live, services } = await opened(t)
  const reply = ask(call(1))
  live.post('a', caller(), note('notifications/one'))
  const { last } = dialect
  const answer = { jsonrpc: '2.0', id: null, error: { code: -32601, message: 'no' } }
  last.listener.message(message(answer), last.sent.at(-1)?.message)
  t.same(reply.finished, [])
  t.equal(await services.metric('dropped_messages_total', 'reason="answer-to-notification"'), 1)
})

t.test('what waits for a stream is delivered when one opens', async (t) => {
  const { dialect, live, port } = await opened(t)
  dialect.last.say(progress)
  const outlet = keptOutlet()
  port.outlets.push(outlet)
  live.stream('a', true)
  t.match(outlet.messages.map(text), [progress])
})

t.test('what the backend says beside messages changes nothing', async (t) => {
  const { dialect, ask, services } = await opened(t)
  const reply = ask(call(1))
  dialect.last.listener.trouble?.('out of memory')
  dialect.last.listener.stray?.('{"status":"acknowledged"}')
  t.same([...reply.finished, ...reply.failed], [])
  t.equal(services.pending.size, 1)
})
