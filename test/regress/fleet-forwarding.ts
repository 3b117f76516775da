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
const events = 'text/event-stream; charset=utf-8'

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
