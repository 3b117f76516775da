import t from 'tap'
import type { Test } from 'tap'
import { Hosting } from '../../src/fleet/hosting.ts'
import type { ToClient, VisitLetter } from '../../src/fleet/letters.ts'
import type { Caller, Visit } from '../../src/frontends/exchange.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

interface Sent {
  readonly to: string
  readonly letter: ToClient
  readonly body: string | undefined
}

/** Another replica's requests come in here; what is sent back is kept. */
function make(t: Test) {
  const clock = manualClock()
  const sent: Sent[] = []
  const served: { readonly visit: Visit; readonly dialect: string }[] = []
  const gone = new Set<string>()
  const state = {
    hosts: (id: string, _caller: Caller): boolean | Promise<boolean> => id === 'here',
    /** Which letters cannot be sent. */
    fails: (_letter: ToClient): boolean => false,
    lives: async (id: string): Promise<boolean> => !gone.has(id),
  }
  const hosting = new Hosting({
    clock,
    async send(to, letter, body) {
      if (state.fails(letter)) throw new Error('away')
      sent.push({ to, letter, body: body === undefined ? undefined : Buffer.from(body).toString() })
    },
    lives: (id) => state.lives(id),
    hosts: (id, caller) => state.hosts(id, caller),
    principalOf: (headers) => `who sent ${headers['authorization']}`,
    serve: (visit, dialect) => void served.push({ visit, dialect }),
  })
  t.teardown(() => hosting.close())
  return {
    hosting,
    clock,
    sent,
    served,
    gone,
    state,
    letters: () => sent.map(({ letter }) => letter),
    visit(letter: Partial<VisitLetter> = {}, body = '', from = 'other') {
      hosting.receive(from, { ...visitLetter, ...letter }, Buffer.from(body))
      return served.at(-1)?.visit.response
    },
  }
}

const visitLetter: VisitLetter = {
  type: 'visit',
  call: 7,
  dialect: 'streamable',
  method: 'GET',
  headers: { accept: 'text/event-stream', 'last-event-id': '3' },
  caller: {
    route: 'shop',
    parameters: { city: 'Ulm' },
    headers: { authorization: 'x' },
    address: '127.0.0.9',
  },
  sessionId: 'here',
  messagesPath: '/mcp',
}
const moved = { type: 'moved', call: 7 }
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

t.test('a request for a session of ours is served like one of our own', async (t) => {
  const { visit, served, sent } = make(t)
  visit({ method: 'POST', dialect: 'sse' }, '{"jsonrpc":"2.0","id":1,"method":"ping"}')
  t.equal(served.length, 1)
  t.equal(served[0]?.dialect, 'sse')
  t.match(served[0]?.visit, {
    request: { method: 'POST', headers: visitLetter.headers },
    sessionId: 'here',
    messagesPath: '/mcp',
    body: { batch: false, messages: [{ kind: 'request', method: 'ping', idText: '1' }] },
  })
  t.same({ ...served[0]?.visit.caller }, { ...visitLetter.caller, principal: 'who sent x' })
  t.same(sent, [], 'it answers when it likes')
})

t.test('whose a session is may depend on the caller', async (t) => {
  const { visit, served, state } = make(t)
  const asked: unknown[] = []
  state.hosts = (id, { principal, route }) => asked.push([id, principal, route]) > 0
  visit()
  t.same(asked, [['here', 'who sent x', 'shop']])
  visit({ sessionId: '', call: 8 })
  t.equal(served.length, 2)
  t.equal(served[1]?.visit.sessionId, undefined, 'the session is to be opened')
})

t.test('a batch stays one, and what has no body gets none', async (t) => {
  const { visit, served } = make(t)
  visit({ method: 'POST' }, '[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b"}]')
  t.match(served[0]?.visit.body, { batch: true, messages: [{ method: 'a' }, { method: 'b' }] })
  visit({ method: 'GET', call: 8 })
  visit({ method: 'DELETE', call: 9 })
  t.equal(served[1]?.visit.body, undefined)
  t.equal(served[2]?.visit.body, undefined)
})

t.test('a session that is not here has moved', async (t) => {
  const { visit, served, sent } = make(t)
  visit({ sessionId: 'there' })
  t.same(sent, [{ to: 'other', letter: moved, body: undefined }])
  t.same(served, [])
})

t.test('a session that is being taken over is waited for', async (t) => {
  for (const { name, outcome, serves, answers } of [
    { name: 'won', outcome: async () => true, serves: 1, answers: [] },
    { name: 'lost', outcome: async () => false, serves: 0, answers: [moved] },
    {
      name: 'failed',
      outcome: () => Promise.reject(new Error('away')),
      serves: 0,
      answers: [moved],
    },
  ]) {
    const { visit, served, state, letters } = make(t)
    let settle = (): void => undefined
    const settled = new Promise<void>((resolve) => (settle = resolve))
    state.hosts = () => settled.then(outcome)
    visit()
    await turn()
    t.same([served.length, letters()], [0, []], `${name}: nothing is done before that is known`)
    settle()
    await turn()
    t.equal(served.length, serves, name)
    t.same(letters(), answers, name)
  }
})

t.test('the parts of an answer are numbered from 0, each answer for itself', async (t) => {
  const { visit, sent } = make(t)
  const first = visit()
  const second = visit({}, '', 'third')
  first?.writeHead(200, { a: 'b' })
  first?.flushHeaders()
  first?.write('x')
  second?.writeHead(202)
  second?.end()
  first?.end('y')
  const head = { type: 'head', call: 7, number: 0 }
  t.strictSame(sent, [
    { to: 'other', letter: { ...head, status: 200, headers: { a: 'b' }, end: false }, body: '' },
    { to: 'other', letter: { type: 'data', call: 7, number: 1, end: false }, body: 'x' },
    { to: 'third', letter: { ...head, status: 202, headers: {}, end: true }, body: '' },
    { to: 'other', letter: { type: 'data', call: 7, number: 2, end: true }, body: 'y' },
  ])
})

t.test('what the client does reaches its answer and no other', async (t) => {
  const { visit, hosting } = make(t)
  const one = visit()
  const two = visit({}, '', 'third')
  const told: string[] = []
  for (const name of ['drain', 'close']) {
    one?.on(name, () => told.push(`one ${name}`))
    two?.on(name, () => told.push(`two ${name}`))
  }
  for (const answer of [one, two]) {
    answer?.writeHead(200)
    t.equal(answer?.write('x'.repeat(70_000)), false)
  }
  hosting.receive('other', { type: 'read', call: 7, bytes: 70_000 }, Buffer.alloc(0))
  t.same(told, ['one drain'])
  t.equal(one?.writableLength, 0)
  hosting.receive('third', { type: 'gone', call: 7 }, Buffer.alloc(0))
  t.same(told, ['one drain', 'two close'])
  t.equal(two?.destroyed, true)
  hosting.receive('third', { type: 'read', call: 7, bytes: 70_000 }, Buffer.alloc(0))
  hosting.receive('nobody', { type: 'gone', call: 7 }, Buffer.alloc(0))
  t.same(told, ['one drain', 'two close'], 'what belongs to no answer is ignored')
})

t.test('while it is held nothing is served, and then it has moved', async (t) => {
  const { visit, hosting, served, sent, letters } = make(t)
  const before = visit()
  hosting.hold()
  visit({ call: 8 })
  hosting.hold()
  visit({ call: 9 }, '', 'third')
  t.equal(served.length, 1)
  t.same(sent, [])
  before?.writeHead(200).end('x')
  t.match(letters(), [{ type: 'head', call: 7 }], 'what was served before goes on')
  sent.length = 0
  hosting.release()
  const released = [
    { to: 'other', letter: { type: 'moved', call: 8 }, body: undefined },
    { to: 'third', letter: { type: 'moved', call: 9 }, body: undefined },
  ]
  t.same(sent, released)
  visit({ call: 10 })
  t.same(letters().at(-1), { type: 'moved', call: 10 }, 'at once')
  hosting.release()
  t.equal(sent.length, 3, 'each is told once')
  t.equal(served.length, 1)
})

t.test('the answers to a replica that does not live any more are closed', async (t) => {
  const { visit, clock, gone, sent } = make(t)
  const one = visit()
  const two = visit({}, '', 'third')
  clock.advance(1000)
  await turn()
  t.equal(one?.destroyed, false)
  gone.add('other')
  clock.advance(1000)
  await turn()
  t.equal(one?.destroyed, true)
  t.equal(two?.destroyed, false)
  t.same(sent, [], 'nobody would hear of it')
})

t.test('while the store is away nobody is said to be gone', async (t) => {
  const { visit, clock, state } = make(t)
  const one = visit()
  state.lives = () => Promise.reject(new Error('away'))
  clock.advance(3000)
  await turn()
  t.equal(one?.destroyed, false)
})

t.test('a part that cannot be sent closes the answer, and is told until it is heard', async (t) => {
  const { visit, clock, state, letters } = make(t)
  const answer = visit()
  answer?.writeHead(200)
  answer?.flushHeaders()
  state.fails = () => true
  let closed = 0
  answer?.on('close', () => closed++)
  answer?.write('x')
  await turn()
  t.equal(closed, 1)
  t.equal(answer?.destroyed, true)
  for (let tries = 0; tries < 5; tries++) {
    clock.advance(500)
    await turn()
  }
  t.equal(letters().length, 1, 'not yet')
  state.fails = () => false
  clock.advance(500)
  await turn()
  t.match(letters().slice(1), [{ type: 'cut', call: 7 }])
  clock.advance(5000)
  await turn()
  t.equal(letters().length, 2, 'then it is left at that')
})

t.test('whoever cannot be told at all is given up in the end', async (t) => {
  const { visit, clock, state, letters } = make(t)
  state.fails = () => true
  visit({ sessionId: 'there' })
  await turn()
  t.equal(clock.waiting, 2, 'the watch, and the next try')
  for (let tries = 0; tries < 60; tries++) {
    clock.advance(500)
    await turn()
  }
  t.equal(clock.waiting, 1)
  t.same(letters(), [])
})

t.test('the end of the hosting closes all answers', async (t) => {
  const { visit, hosting, clock } = make(t)
  const answers = [visit(), visit({ call: 8 }, '', 'third')]
  hosting.close()
  for (const answer of answers) t.equal(answer?.destroyed, true)
  t.equal(clock.waiting, 0)
})

t.test('a client that leaves while its session is being taken over is not served', async (t) => {
  const { visit, served, state, hosting } = make(t)
  state.hosts = async () => true
  visit()
  hosting.receive('other', { type: 'gone', call: 7 }, Buffer.alloc(0))
  await turn()
  t.ok(served.length === 0 || served[0]?.visit.response.destroyed, 'served to nobody')
})

t.test('a visit that comes twice is served once', async (t) => {
  const { visit, served } = make(t)
  visit()
  visit()
  t.equal(served.length, 1)
})

t.test('a body that is no message is answered', async (t) => {
  const { visit, sent } = make(t)
  t.doesNotThrow(() => visit({ method: 'POST' }, ''))
  await turn()
  t.equal(sent.length, 1)
})
