// Several replicas over a real Redis, as processes, behind a load balancer without stickiness.
import t from 'tap'
import { metricIs, outcome, sseClient, startFleet, streamableClient } from '../fixtures/fleet.ts'
import type { SessionClient, SessionDialect } from '../fixtures/fleet.ts'
import { openStream, fetchRaw } from '../fixtures/http.ts'
import { startMemoryBackend } from '../fixtures/memory-backend.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { anyRedis } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const dialects: readonly SessionDialect[] = ['streamable', 'sse']
/** Calls of each crossing, and clients that make them. */
const calls = 1250
const clients = 10

for (const dialect of dialects) {
  for (const client of dialects) {
    t.test(`${client} clients, ${dialect} backend: none lost, swapped or doubled`, async (t) => {
      const { backend, balancer, keys } = await startFleet(t, { dialect })
      const open = client === 'sse' ? sseClient : streamableClient
      const sessions: SessionClient[] = await Promise.all(
        Array.from({ length: clients }, () => open(balancer.url)),
      )
      const wrong: unknown[] = []
      await Promise.all(
        sessions.map(async (session, who) => {
          for (let round = 0; round < calls / clients; round++) {
            const key = `${who}-${round}`
            const got = outcome(await session.call('count', key))
            if (got !== key) wrong.push([key, got])
          }
        }),
      )
      t.same(wrong, [])
      t.equal(backend.runs.size, calls)
      t.same(
        [...backend.runs].filter(([, times]) => times !== 1),
        [],
      )
      await Promise.all(sessions.map((session) => session.close()))
      await waitFor(() => backend.openStreams() === 0, { what: 'the backend’s streams to close' })
      const left = await waitFor(
        async () => {
          const found = await keys()
          return [...found.keys()].some((key) => key.endsWith(':session')) ? undefined : found
        },
        { what: 'all sessions to end' },
      )
      t.ok(left.size > 0)
      t.same(
        [...left].filter(([, ms]) => ms < 0),
        [],
        'no key is without an end',
      )
    })
  }
}

t.test('a session is at home on every replica', async (t) => {
  const { replicas, backend } = await startFleet(t, { dialect: 'streamable' })
  const [a = '', b = '', c = ''] = replicas.map(({ url }) => url)
  const session = await streamableClient(a, { capabilities: { roots: {} } })

  const standing = await openStream(`${c}/mcp`, { headers: session.headers })
  t.equal(standing.status, 200)
  t.teardown(() => standing.destroy())

  const asked = await openStream(`${b}/mcp`, {
    method: 'POST',
    headers: { ...session.headers, 'content-type': 'application/json' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 9,
      method: 'tools/call',
      params: { name: 'ask', arguments: { key: 'q' } },
    }),
  })
  const question = await asked.find(({ data }) => data.includes('roots/list'))
  const { id } = JSON.parse(question.data) as { id: number }
  await session.post({ jsonrpc: '2.0', id, result: { roots: [] } }, c)
  const answered = await asked.find(({ data }) => data.includes('"result"'))
  t.match(answered.data, /roots.*\[\]/, 'an answer by way of a third replica')

  const stranger = { ...session.headers, 'x-api-key': 'another' }
  const refused = await fetchRaw(`${b}/mcp`, {
    method: 'POST',
    headers: { ...stranger, 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
  })
  t.equal(refused.status, 404, 'but only to its owner')

  await session.close(b)
  t.equal((await session.call('count', 'late', c)).status, 404)
  t.notOk(backend.runs.has('late'))
  await metricIs(replicas[0]!, 'causeway_sessions', 0)
})

t.test('a client that comes back on another replica misses nothing', async (t) => {
  const { replicas, backend } = await startFleet(t, { dialect: 'streamable' })
  const [a = '', b = '', c = ''] = replicas.map(({ url }) => url)
  const session = await streamableClient(a)
  const headers = {
    ...session.headers,
    accept: 'text/event-stream',
    'content-type': 'application/json',
  }
  const call = (name: string, id: number) => ({
    jsonrpc: '2.0',
    id,
    method: 'tools/call',
    params: { name, arguments: { key: name, steps: 3 }, _meta: { progressToken: id } },
  })
  const told = await openStream(`${b}/mcp`, {
    method: 'POST',
    headers,
    body: JSON.stringify(call('tell', 1)),
  })
  await told.find(({ data }) => data.includes('"result"'))
  const ids = told.events.flatMap(({ lines }) => lines.filter((line) => line.startsWith('id: ')))
  t.equal(ids.length, 4)
  const again = await openStream(`${c}/mcp`, {
    headers: { ...session.headers, 'last-event-id': (ids[1] ?? '').slice(4) },
  })
  await waitFor(() => again.ended !== 'no', { what: 'the stream to end' })
  t.same(
    again.events.map(({ data }) => data),
    told.events.slice(2).map(({ data }) => data),
  )
  t.equal(backend.runs.get('tell'), 1)
})

t.test('the death of the owner', async (t) => {
  const { replicas, backend, balancer, start } = await startFleet(t, { dialect: 'streamable' })
  const rounds = Number(process.env['FLEET_ROUNDS'] ?? 1)
  for (let round = 0; round < rounds; round++) {
    backend.hold()
    const owner = replicas.shift()!
    const [b = '', c = ''] = replicas.map(({ url }) => url)
    balancer.targets = [b, c]
    const session = await streamableClient(owner.url)
    const flying = Array.from({ length: 50 }, (_, index) =>
      session.call('hold', `${round}-${index}`, index % 2 === 0 ? b : c),
    )
    await waitFor(() => backend.held >= 50, { what: 'fifty calls at the backend' })
    const killed = performance.now()
    await owner.stop('SIGKILL')
    const ends = await Promise.all(flying)
    const took = performance.now() - killed
    t.ok(took < 10_000, `all have ended after ${Math.round(took)} ms`)
    t.same(
      ends.filter((end) => typeof outcome(end) !== 'number'),
      [],
      'each with an error, since nobody knows what became of it',
    )
    backend.release()
    t.equal(outcome(await session.call('count', `after-${round}`, b)), `after-${round}`)
    t.equal(outcome(await session.call('count', `then-${round}`, c)), `then-${round}`)
    t.same(
      [...backend.runs].filter(([, times]) => times !== 1),
      [],
      'nothing has run twice',
    )
    replicas.push(await start())
  }
})

t.test('reads go on when the owner dies', async (t) => {
  const { replicas } = await startFleet(t, { dialect: 'sse' })
  const [a, b] = replicas
  const session = await streamableClient(a!.url)
  await a!.stop('SIGKILL')
  const answer = await session.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' }, b!.url)
  t.match(answer, { status: 200, message: { id: 1, result: { tools: [] } } })
})

t.test('a backend that keeps one queue for a user has one replica for that user', async (t) => {
  const backend = await startMemoryBackend()
  t.teardown(() => backend.close())
  const redis = await anyRedis(t)
  const replicas = await Promise.all(
    [1, 2, 3].map(() =>
      startProxy({
        config: { store: { type: 'redis', ...redis } },
        routes: [
          {
            name: 'memory',
            path: '/mcp/{client}/sse/{user}',
            backend: {
              url: `${backend.url}/mcp/{client}/sse/{user}`,
              headers: { 'x-user-id': '{user}', 'x-client-name': '{client}' },
              dialect: 'sse',
            },
          },
        ],
      }),
    ),
  )
  for (const replica of replicas) t.teardown(() => replica.stop('SIGKILL'))
  const origins = replicas.map(({ url }) => url)
  const path = '/mcp/desk/sse/ann'
  const sessions = await Promise.all(
    [...origins, ...origins].map((origin) => streamableClient(origin, { path })),
  )
  const wrong: unknown[] = []
  await Promise.all(
    sessions.map(async (session, who) => {
      for (let round = 0; round < 20; round++) {
        const key = `${who}-${round}`
        const answer = await session.post(
          {
            jsonrpc: '2.0',
            id: key,
            method: 'tools/call',
            params: { name: 'echo', arguments: { message: key } },
          },
          origins[(who + round) % 3],
        )
        if (!JSON.stringify(answer.message).includes(`"id":"${key}"`)) wrong.push([key, answer])
        if (!JSON.stringify(answer.message?.result ?? '').includes(key)) wrong.push([key, answer])
      }
    }),
  )
  t.same(wrong, [])
})
