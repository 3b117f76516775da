import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { Forwarding } from '../../src/fleet/forwarding.ts'
import type { Forwarded } from '../../src/fleet/forwarding.ts'
import type { ToClient, ToOwner } from '../../src/fleet/letters.ts'
import { parseBody } from '../../src/frontends/body.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Call {
  /** The client's side of it. */
  readonly client: Promise<Response>
  readonly response: ServerResponse
  readonly outcome: Promise<Forwarded>
  leave(): void
}

/** Every request to a real server is forwarded to the owner that its path names; the test is the owner. */
async function make(t: Test, headers: Readonly<Record<string, string>> = {}) {
  const clock = manualClock()
  const sent: { to: string; letter: ToOwner; body: string | undefined }[] = []
  const dead = new Set<string>()
  const state = {
    refusal: undefined as Error | undefined,
    lives: async (id: string): Promise<boolean> => !dead.has(id),
  }
  const forwarding = new Forwarding({
    clock,
    async send(to, letter, body) {
      sent.push({ to, letter, body })
      if (state.refusal !== undefined) throw state.refusal
    },
    lives: (id) => state.lives(id),
  })
  const calls: { response: ServerResponse; outcome: Promise<Forwarded> }[] = []
  const server = await listen((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    const text = request.headers['x-body']
    const outcome = forwarding.forward(
      request.url?.slice(1) ?? '',
      {
        request,
        response,
        caller: { ...caller, principal: 'ann' },
        sessionId: 's1',
        body: typeof text === 'string' ? parseBody(text) : undefined,
        messagesPath: '/mcp',
      },
      'streamable',
    )
    // Whoever looks at it sees the rejection; until then it is nobody's.
    outcome.catch(() => undefined)
    calls.push({ response, outcome })
  })
  t.teardown(async () => {
    forwarding.close()
    await server.close()
  })
  return {
    forwarding,
    clock,
    sent,
    dead,
    state,
    /** What was sent besides the visits. */
    told: () => sent.filter(({ letter }) => letter.type !== 'visit'),
    async call(body?: string, owner = 'owner'): Promise<Call> {
      const leaving = new AbortController()
      const index = calls.length
      const client = fetch(`${server.url}/${owner}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { ...(body !== undefined && { 'x-body': body }), 'mcp-session-id': 's1' },
        signal: leaving.signal,
      })
      client.catch(() => undefined)
      const { response, outcome } = await waitFor(() => calls[index], { what: 'the request' })
      return { client, response, outcome, leave: () => leaving.abort() }
    },
    say: (letter: ToClient, body: string | Buffer = '') =>
      forwarding.receive(letter, Buffer.from(body)),
  }
}

const caller = {
  route: 'shop',
  parameters: { city: 'Ulm' },
  headers: { authorization: 'x' },
  address: '127.0.0.9',
}
const ping = (id: number) => `{"jsonrpc":"2.0","id":${id},"method":"ping"}`
const head = (call: number, type: string, end = false): ToClient => ({
  type: 'head',
  call,
  number: 0,
  status: 200,
  headers: { 'content-type': type },
  end,
})
const data = (call: number, number: number, end = false): ToClient => ({
  type: 'data',
  call,
  number,
  end,
})
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
const json = 'application/json'
const events = 'text/event-stream; charset=utf-8'

t.test('a request goes to the owner with all that it needs there', async (t) => {
  const { call, sent, forwarding } = await make(t)
  await call(ping(1))
  await call(`[${ping(1)}, ${ping(2)}]`)
  await call(undefined, 'another')
  t.strictSame(
    sent.map(({ to, body }) => ({ to, body })),
    [
      { to: 'owner', body: ping(1) },
      { to: 'owner', body: `[${ping(1)},${ping(2)}]` },
      { to: 'another', body: '' },
    ],
  )
  t.strictSame(sent[0]?.letter, {
    type: 'visit',
    call: 1,
    dialect: 'streamable',
    method: 'POST',
    headers: { accept: '*/*', 'mcp-session-id': 's1' },
    caller,
    sessionId: 's1',
    messagesPath: '/mcp',
  })
  t.match(sent[1]?.letter, { call: 2 })
  t.match(sent[2]?.letter, { call: 3, method: 'GET' })
  t.equal(forwarding.size, 3)
})

t.test('an answer in one part answers the client', async (t) => {
  const { call, say, forwarding, told } = await make(t)
  const { client, outcome } = await call(ping(1))
  say({ ...head(1, json, true), status: 418 } as ToClient, '{"ü":1}')
  t.equal(await outcome, 'answered')
  const response = await client
  t.equal(response.status, 418)
  t.equal(response.headers.get('content-type'), json)
  t.equal(await response.text(), '{"ü":1}')
  t.equal(forwarding.size, 0)
  t.same(told(), [], 'the owner need not hear that it has ended')
  t.doesNotThrow(() => say(data(1, 1)), 'what comes later is ignored')
})

t.test('a stream is passed on as it comes', async (t) => {
  const { call, say, forwarding } = await make(t)
  const { client, outcome } = await call()
  say(head(1, events))
  const response = await client
  t.equal(response.status, 200, 'the head does not wait for a body')
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  say(data(1, 1), 'one')
  t.same(await reader?.read(), { value: 'one', done: false })
  say(data(1, 2), 'two')
  t.same(await reader?.read(), { value: 'two', done: false })
  t.equal(forwarding.size, 1)
  say(data(1, 3, true), 'end')
  t.same(await reader?.read(), { value: 'end', done: false })
  t.same(await reader?.read(), { value: undefined, done: true })
  t.equal(await outcome, 'answered')
})

t.test('what breaks off before the head leaves the client unanswered', async (t) => {
  const { call, say, forwarding } = await make(t)
  const broken: readonly ToClient[] = [
    { type: 'cut', call: 1, number: 0 },
    { type: 'cut', call: 2, number: -1 },
    data(3, 1),
    { ...head(4, json, true), number: 1 } as ToClient,
  ]
  for (const letter of broken) {
    const { outcome, response } = await call(ping(1))
    say(letter)
    t.equal(await outcome, 'lost', JSON.stringify(letter))
    t.equal(response.headersSent, false, 'somebody else may answer')
    response.end()
  }
  t.equal(forwarding.size, 0)
})

t.test('where the session has moved that is said, and nothing else', async (t) => {
  const { call, say, told } = await make(t)
  const { outcome, response } = await call(ping(1))
  say({ type: 'moved', call: 1 })
  t.equal(await outcome, 'moved')
  t.equal(response.headersSent, false)
  response.end()
  await waitFor(() => response.closed, { what: 'the response to close' })
  t.same(told(), [], 'the owner has nothing to do with it any more')
})

t.test('an event stream that breaks off says so to the only request', async (t) => {
  // Only with a header of its own does a response of Node remember what `writeHead` was given.
  const { call, say } = await make(t, { vary: 'origin' })
  for (const { name, body, letter, lost } of [
    { name: 'a cut', body: ping(5), letter: { type: 'cut', call: 1, number: 2 }, lost: true },
    { name: 'a gap', body: ping(5), letter: data(2, 2), lost: true },
    { name: 'no request', body: undefined, letter: data(3, 2), lost: false },
    { name: 'several requests', body: `[${ping(5)},${ping(6)}]`, letter: data(4, 2), lost: false },
  ] as const) {
    const { client, outcome } = await call(body)
    say(head(letter.call, events), 'data: 1\n\n')
    say(letter as ToClient, 'data: 3\n\n')
    t.equal(await outcome, 'answered', name)
    const text = await (await client).text()
    if (!lost) {
      t.equal(text, 'data: 1\n\n', name)
      continue
    }
    const [, error = ''] = /^data: 1\n\n(?:event: message\n)?data: (.*)\n\n$/.exec(text) ?? []
    t.match(JSON.parse(error), { jsonrpc: '2.0', id: 5, error: { code: -32_000 } }, name)
  }
})

t.test('another answer that breaks off is cut', async (t) => {
  const { call, say, forwarding } = await make(t, { vary: 'origin' })
  const { client, outcome } = await call(ping(1))
  say(head(1, json), '{"a":')
  const response = await client
  say({ type: 'cut', call: 1, number: 1 })
  t.equal(await outcome, 'answered')
  await t.rejects(response.text())
  t.equal(forwarding.size, 0)
})

t.test('a client that leaves is reported', async (t) => {
  const { call, say, told, forwarding } = await make(t)
  const before = await call(ping(1))
  const within = await call()
  say(head(2, events))
  await within.client
  before.leave()
  t.equal(await before.outcome, 'answered')
  t.strictSame(told(), [{ to: 'owner', letter: { type: 'gone', call: 1 }, body: undefined }])
  within.leave()
  t.equal(await within.outcome, 'answered')
  t.match(told()[1], { to: 'owner', letter: { type: 'gone', call: 2 } })
  t.equal(told().length, 2)
  t.equal(forwarding.size, 0)
})

t.test('what has been passed on is told in steps', async (t) => {
  const { call, say, told } = await make(t)
  const { client } = await call()
  say(head(1, events), 'x'.repeat(16_384))
  const reader = (await client).body?.getReader()
  let read = 0
  const readAll = async (bytes: number): Promise<void> => {
    while (read < bytes) read += (await reader?.read())?.value?.length ?? 0
  }
  say(data(1, 1), 'x'.repeat(16_383))
  await readAll(32_767)
  t.same(told(), [], 'not yet')
  say(data(1, 2), 'x')
  await waitFor(() => told().length > 0, { what: 'the owner to hear' })
  t.same(told()[0], {
    to: 'owner',
    letter: { type: 'read', call: 1, bytes: 32_768 },
    body: undefined,
  })
  say(data(1, 3), 'x'.repeat(40_000))
  await readAll(72_768)
  await waitFor(() => told().length > 1, { what: 'the owner to hear again' })
  t.match(told()[1]?.letter, { type: 'read', bytes: 40_000 })
})

t.test('a client that does not read is not reported as reading', async (t) => {
  const { call, say, told } = await make(t)
  const { client, response } = await call()
  say(head(1, events))
  await client
  response.socket?.cork()
  say(data(1, 1), 'x'.repeat(40_000))
  await turn()
  t.same(told(), [])
  response.socket?.uncork()
  await waitFor(() => told().length > 0, { what: 'the owner to hear' })
})

t.test('an owner that is gone twice in a row loses its calls', async (t) => {
  const { call, clock, dead, forwarding } = await make(t)
  const one = await call(ping(1))
  const two = await call(ping(2))
  const third = await call(ping(3), 'another')
  const tick = async (): Promise<void> => {
    clock.advance(1000)
    await turn()
  }
  dead.add('owner')
  await tick()
  t.equal(forwarding.size, 3, 'a last letter may be on its way')
  dead.delete('owner')
  await tick()
  dead.add('owner')
  await tick()
  t.equal(forwarding.size, 3, 'once and once again is not in a row')
  await tick()
  t.equal(await one.outcome, 'lost')
  t.equal(await two.outcome, 'lost')
  t.equal(forwarding.size, 1)
  for (const { response } of [one, two, third]) response.end()
})

t.test('while the store is away nobody is said to be gone', async (t) => {
  const { call, clock, state, forwarding } = await make(t)
  await call(ping(1))
  state.lives = () => Promise.reject(new Error('away'))
  for (let ticks = 0; ticks < 3; ticks++) {
    clock.advance(1000)
    await turn()
  }
  t.equal(forwarding.size, 1)
})

t.test('a request that cannot be sent is refused', async (t) => {
  const { call, state, forwarding, told } = await make(t)
  state.refusal = new Error('away')
  const { outcome, response } = await call(ping(1))
  await t.rejects(outcome, { message: 'away' })
  t.equal(forwarding.size, 0)
  t.equal(response.headersSent, false)
  response.end()
  await waitFor(() => response.closed, { what: 'the response to close' })
  t.same(told(), [])
})

t.test('the close loses all calls', async (t) => {
  const { call, forwarding, clock } = await make(t)
  const { outcome, response } = await call(ping(1))
  forwarding.close()
  t.equal(await outcome, 'lost')
  t.equal(clock.waiting, 0)
  response.end()
})

t.test('an event stream that breaks off says so, without headers of its own', async (t) => {
  const { call, say } = await make(t)
  const { client } = await call(ping(5))
  say(head(1, events), 'data: 1\n\n')
  say({ type: 'cut', call: 1, number: 1 })
  t.match(await (await client).text(), /"id":5,"error"/)
})

t.test('after a gap the owner hears that nobody listens', async (t) => {
  const { call, say, told } = await make(t, { vary: 'origin' })
  const { client } = await call()
  say(head(1, events), 'data: 1\n\n')
  say(data(1, 2), 'data: 3\n\n')
  await (await client).text()
  t.match(told(), [{ letter: { type: 'gone', call: 1 } }])
})

t.test('a client that has left already is not waited for', async (t) => {
  const { call, forwarding, sent } = await make(t)
  const { leave, response, outcome } = await call()
  leave()
  await outcome
  const visit = {
    request: response.req,
    response,
    caller: { ...caller, principal: 'a' },
    sessionId: 's',
    body: undefined,
    messagesPath: '/',
  }
  const again = forwarding.forward('owner', visit, 'streamable')
  await turn()
  t.equal(forwarding.size, 0, JSON.stringify(sent))
  void again
})
