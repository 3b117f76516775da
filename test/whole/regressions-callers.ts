// What once went wrong and must not again, second part: clients that meet each other, and clients that go away.
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { fetchRaw } from '../fixtures/http.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { answer, scripted } from '../fixtures/scripted.ts'
import { startScriptedSse } from '../fixtures/scripted-sse-backend.ts'
import type { Posted } from '../fixtures/scripted-sse-backend.ts'
import { answerIn, ask, call, opening, serve, tell } from '../fixtures/serving.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** A backend of plain JSON-RPC that leaves the answers to messages of these methods to the test. */
async function startRpc(t: Test, held: readonly string[]) {
  const seen: string[] = []
  const waiting = new Map<string, () => void>()
  const backend = await scripted(t, ({ body }, response: ServerResponse) => {
    const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
    seen.push(method)
    const result = { protocolVersion: '2024-11-05', capabilities: {}, method }
    const give = (): void =>
      id === undefined
        ? answer(response, '', { status: 202 })
        : answer(response, JSON.stringify({ jsonrpc: '2.0', id, result }), {
            type: 'application/json',
          })
    if (held.includes(method)) waiting.set(method, give)
    else give()
  })
  return {
    url: backend.url,
    seen,
    /** Waits for a message of this method; answers it. */
    arrived: (method: string) => waitFor(() => waiting.get(method), { what: method }),
  }
}

const bearer = (claims: object): string =>
  `Bearer e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`

t.test('a caller without a session cannot cancel the request of another', async (t) => {
  const backend = await startRpc(t, ['tools/call'])
  const { post } = await serve(t, backend.url, { backend: { dialect: 'rpc' } })
  const victim = post(call(1, 'long'), { 'user-agent': 'victim' })
  const release = await backend.arrived('tools/call')
  const cancel = tell('notifications/cancelled', { requestId: 1 })
  t.equal((await post(cancel, { 'user-agent': 'mallory' })).status, 202)
  await post(ask(2), { 'user-agent': 'mallory' })
  release()
  t.match(answerIn(await victim), { result: { method: 'tools/call' } })
})

t.test('the session of another principal is a 404, as one that never was', async (t) => {
  const backend = await startScriptedSse(t)
  const { url, openSession } = await serve(t, backend.url)
  const ann = { iss: 'https://login.test', sub: 'ann' }
  const { headers } = await openSession({ headers: { authorization: bearer({ ...ann, exp: 1 }) } })
  const id = { 'mcp-session-id': headers['mcp-session-id'] ?? '' }
  await waitFor(() => backend.posted.length === 2)
  const strangers: Record<string, Record<string, string>> = {
    'without a token': id,
    'another subject': { ...id, authorization: bearer({ ...ann, sub: 'bob' }) },
    'another issuer': { ...id, authorization: bearer({ ...ann, iss: 'https://other.test' }) },
    'another scheme': { ...id, authorization: 'Basic YW5uOmFubg==' },
    'another user header': { ...headers, 'x-api-key': 'bob' },
  }
  const accept = 'application/json, text/event-stream'
  for (const [who, given] of Object.entries(strangers)) {
    for (const method of ['POST', 'GET', 'DELETE']) {
      const body = method === 'POST' ? JSON.stringify(ask(2)) : ''
      const all = { accept, 'content-type': 'application/json', ...given }
      const refused = await fetchRaw(url, { method, headers: all, body })
      const never = await fetchRaw(url, {
        method,
        headers: { ...all, 'mcp-session-id': 'never-was' },
        body,
      })
      t.equal(refused.status, 404, `${method} ${who}`)
      t.equal(refused.body, never.body, 'in the same words')
    }
  }
  t.equal(backend.posted.length, 2, 'nothing of it reached the backend')
  const refreshed = { ...headers, authorization: bearer({ ...ann, exp: 2 }) }
  const again = await fetchRaw(url, {
    method: 'POST',
    headers: { accept, 'content-type': 'application/json', ...refreshed },
    body: JSON.stringify(ask(3)),
  })
  t.match(answerIn(again), { result: { tools: [] } }, 'but a token may be refreshed')
  t.equal(backend.posted.at(-1)?.headers['authorization'], refreshed.authorization)
})

t.test('what a client asked that left while the dialect was found out is not run', async (t) => {
  const backend = await startRpc(t, ['initialize'])
  const { post, left } = await serve(t, backend.url, { backend: { dialect: 'auto' } })
  const going = new AbortController()
  post(call(1, 'dangerous'), {}, going.signal).catch(() => undefined)
  const release = await backend.arrived('initialize')
  going.abort()
  await left()
  release()
  t.match(answerIn(await post(ask(2))), { result: {} })
  t.ok(backend.seen.includes('tools/list'))
  t.notOk(backend.seen.includes('tools/call'))
})

t.test(
  'what a client asked that left while it waited behind a notification is not run',
  async (t) => {
    const method = 'notifications/roots/list_changed'
    const backend = await startRpc(t, [method])
    const clock = manualClock()
    const { post, left, metrics } = await serve(t, backend.url, {
      backend: { dialect: 'rpc' },
      clock,
    })
    await post(tell(method))
    const release = await backend.arrived(method)
    const going = new AbortController()
    post(call(1, 'dangerous'), {}, going.signal).catch(() => undefined)
    const patient = post(ask(2))
    await waitFor(async () => (await metrics()).includes('exchanges_open 2'))
    going.abort()
    await left()
    release()
    t.match(answerIn(await patient), { result: {} })
    t.same(backend.seen, [method, 'tools/list'])
  },
)

t.test('the messages of a batch reach the backend in their order', async (t) => {
  const backend = await startScriptedSse(t)
  const { openSession } = await serve(t, backend.url)
  const client = await openSession({ revision: '2025-03-26', announce: false })
  const batch = [tell('notifications/initialized'), ask(2), tell('notifications/x'), ask(3)]
  const { body } = await client.post(batch)
  t.match(
    JSON.parse(body)
      .map(({ id }: { id: number }) => id)
      .sort(),
    [2, 3],
  )
  await waitFor(() => backend.posted.length === 5)
  const before = (one: string, other: string): boolean =>
    backend.methods().indexOf(one) < backend.methods().indexOf(other)
  t.same(backend.methods().slice(0, 2), ['initialize', 'notifications/initialized'])
  t.ok(before('tools/list', 'notifications/x'))
  t.equal(backend.methods().at(-1), 'tools/list')
})

t.test('an endpoint that a restarted backend names again is no shared stream', async (t) => {
  let before = 0
  const backend = await startScriptedSse(t, { session: (count) => String(count - before) })
  const { openSession, said } = await serve(t, backend.url)
  const ann = await openSession()
  const bob = await openSession()
  t.same([...backend.streams.keys()], ['1', '2'])
  // The counter of the restarted backend begins anew.
  before = 2
  backend.dropStreams()
  await waitFor(() => said().filter((line) => line === 'backend session ended').length === 2)
  const streams = []
  for (const next of [() => bob, () => ann, () => openSession()]) {
    const client = await next()
    t.match(answerIn(await client.post(ask(2))), { result: {} })
    streams.push(await client.listen())
  }
  t.same([...backend.streams.keys()], ['1', '2', '3'], 'each has a stream of its own')
  for (const [session, stream] of backend.streams) {
    stream.write(`data: ${JSON.stringify(tell('notifications/x', { session }))}\n\n`)
  }
  for (const [index, stream] of streams.entries()) {
    await stream.find(({ data }) => data.includes('notifications/x'))
    t.same(
      stream.events.map(({ data }) => data.match(/"session":"(\d)"/)?.[1]),
      [String(index + 1)],
      'and hears what is for it alone',
    )
  }
})

t.test('a client on a stream that is shared gets the refusal that names no id', async (t) => {
  let openings = 0
  const held: Posted[] = []
  const error = { code: -32602, message: 'no more clients' }
  const backend = await startScriptedSse(t, {
    session: () => 'same',
    onPost(posted) {
      const { method } = posted.message
      if (method === 'initialize' && ++openings === 2) {
        posted.refuse(400, JSON.stringify({ jsonrpc: '2.0', id: null, error }))
      } else if (method === 'tools/call') {
        posted.accept()
        held.push(posted)
      } else return false
      return true
    },
  })
  const { openSession, post } = await serve(t, backend.url)
  const ann = await openSession()
  const running = [ann.post(call(1, 'long')), ann.post(call(2, 'long'))]
  await waitFor(() => held.length === 2)
  t.match(answerIn(await post({ ...opening(), id: 'z' })), { id: 'z', error })
  for (const each of held) each.answer()
  for (const answer of await Promise.all(running)) t.match(answerIn(answer), { result: {} })
})

t.test('what a server asks after a POST was dropped reaches the standing stream', async (t) => {
  let slow: Posted | undefined
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (posted.message.method !== 'tools/call') return false
      posted.accept()
      slow = posted
      return true
    },
  })
  const { openSession, left } = await serve(t, backend.url)
  const client = await openSession({ capabilities: { sampling: {} } })
  const going = new AbortController()
  client.post(call(5, 'slow'), {}, going.signal).catch(() => undefined)
  const { say } = await waitFor(() => slow)
  const standing = await client.listen()
  going.abort()
  await left()
  say({ id: 'q1', method: 'sampling/createMessage', params: { maxTokens: 1 } })
  const heard = await standing.find(({ data }) => data.includes('sampling/createMessage'))
  const { id } = JSON.parse(heard.data) as { id: number }
  await client.post({ jsonrpc: '2.0', id, result: { model: 'm' } })
  const back = await waitFor(() => backend.posted.find(({ message }) => message.id === 'q1'))
  t.match(JSON.parse(back.text), { id: 'q1', result: { model: 'm' } })
  t.notOk(backend.methods().includes('notifications/cancelled'), 'a drop is no cancel')
})
