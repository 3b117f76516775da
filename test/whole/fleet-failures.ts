// What a fleet does when something it stands on fails: Redis, a node of its Cluster, the server its Sentinels know, and
// every replica in turn, as in a rolling restart.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { outcome, startFleet, streamableClient } from '../fixtures/fleet.ts'
import type { SessionClient } from '../fixtures/fleet.ts'
import { fetchRaw } from '../fixtures/http.ts'
import { freePort } from '../fixtures/free-port.ts'
import { ownRedis, redisCommand, redisProgram } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** Clients that call without a pause until they are told to stop; what each call came to, by its key. */
function load(sessions: readonly SessionClient[], origins: () => readonly string[]) {
  const ends = new Map<string, string>()
  const wish = { going: true }
  const running = sessions.map(async (session, who) => {
    for (let round = 0; wish.going; round++) {
      const key = `${who}-${round}`
      const all = origins()
      const answer = await session.call('count', key, all[round % all.length])
      const end = outcome(answer)
      ends.set(key, end === key ? end : JSON.stringify(answer))
    }
  })
  return {
    ends,
    /** Calls that did not come back with their own key. */
    failed: () => [...ends].filter(([key, end]) => key !== end),
    succeeded: () => [...ends].filter(([key, end]) => key === end).length,
    async stop() {
      wish.going = false
      await Promise.all(running)
    },
  }
}

const openAll = (count: number, origin: string): Promise<SessionClient[]> =>
  Promise.all(Array.from({ length: count }, () => streamableClient(origin)))

/** It is another server's replica, and has all that that one has. */
const isSynced = (port: number): boolean =>
  redisCommand(['-p', String(port), 'info', 'replication']).includes('master_link_status:up')

const noDoubles = (t: Test, runs: ReadonlyMap<string, number>): unknown =>
  t.same(
    [...runs].filter(([, times]) => times !== 1),
    [],
    'nothing has run twice',
  )

t.test('a rolling restart of all replicas under load loses nothing', async (t) => {
  const { replicas, backend, balancer, start } = await startFleet(t, { dialect: 'streamable' })
  const working = load(await openAll(6, balancer.url), () => [balancer.url])
  for (let turn = 0; turn < 3; turn++) {
    const fresh = await start()
    const old = replicas.shift()!
    replicas.push(fresh)
    balancer.targets = [...balancer.targets, fresh.url]
    const before = working.succeeded()
    await waitFor(() => working.succeeded() > before + 20, { what: 'calls to go on' })
    const stopped = old.stop('SIGTERM')
    // As an orchestrator does: a replica that is not ready gets nothing new.
    await waitFor(async () => (await fetchRaw(`${old.adminUrl}/readyz`)).status === 503, {
      what: 'the replica to say that it leaves',
    })
    balancer.targets = balancer.targets.filter((url) => url !== old.url)
    t.equal(await stopped, 0)
  }
  await working.stop()
  t.ok(working.succeeded() > 100)
  t.same(working.failed(), [])
  noDoubles(t, backend.runs)
})

t.test(
  'while Redis is away the sessions of a replica go on there, and it heals by itself',
  async (t) => {
    const redis = await ownRedis(t)
    const store = { type: 'redis', url: redis.url }
    const { replicas, backend } = await startFleet(t, { dialect: 'streamable', store, size: 2 })
    const [a, b] = replicas
    const session = await streamableClient(a!.url)
    backend.hold()
    const running = [session.call('hold', 'here'), session.call('hold', 'there', b!.url)]
    await waitFor(() => backend.held === 2, { what: 'both calls at the backend' })
    const working = load(await openAll(4, a!.url), () => [a!.url])
    await waitFor(() => working.succeeded() > 20, { what: 'calls to begin' })
    await redis.kill()
    backend.release()
    t.equal(outcome(await running[0]!), 'here')
    t.equal(outcome(await session.call('count', 'more')), 'more', 'whose sessions are here')
    const refused = await fetchRaw(`${b!.url}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'initialize',
        params: {
          protocolVersion: '2025-06-18',
          capabilities: {},
          clientInfo: { name: 'c', version: '1' },
        },
      }),
    })
    t.equal(refused.status, 503)
    t.equal(refused.headers['retry-after'], '2')
    const readiness = () => fetchRaw(`${a!.adminUrl}/readyz`)
    await waitFor(async () => (await readiness()).status === 503, { what: 'readiness to be false' })
    t.match((await readiness()).body, /session store cannot be reached/)
    const before = working.succeeded()
    await waitFor(() => working.succeeded() > before + 20, { what: 'calls to go on without Redis' })
    await redis.start()
    await waitFor(async () => (await readiness()).status === 200, { what: 'readiness to be true' })
    const healed = await waitFor(
      async () => outcome(await session.call('count', 'elsewhere', b!.url)) === 'elsewhere',
      { timeout: 10_000, what: 'the other replica to serve the session' },
    )
    t.ok(healed)
    await working.stop()
    t.same(working.failed(), [])
    const last = outcome(await running[1]!)
    t.equal(last, -32000, 'the call between both has ended with an error')
    noDoubles(t, backend.runs)
  },
)

t.test('a Cluster that loses a node goes on with its replica', { timeout: 90_000 }, async (t) => {
  const options = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1500']
  const nodes = await Promise.all(Array.from({ length: 6 }, () => ownRedis(t, options)))
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
  redisCommand(['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes'])
  const state = (): string => redisCommand(['-p', String(nodes[1]!.port), 'cluster', 'info'])
  await waitFor(() => state().includes('cluster_state:ok'), {
    timeout: 20_000,
    what: 'the Cluster',
  })
  await waitFor(() => nodes.filter(({ port }) => isSynced(port)).length === 3, {
    timeout: 20_000,
    what: 'the replicas of the Cluster to have all data',
  })
  const store = { type: 'redis', cluster: nodes.map(({ url }) => url) }
  const { replicas, backend } = await startFleet(t, { dialect: 'streamable', store, size: 2 })
  const [a = '', b = ''] = replicas.map(({ url }) => url)
  const sessions = await openAll(8, a)
  const round = async (name: string): Promise<unknown[]> =>
    Promise.all(
      sessions.map(async (session, who) => {
        const key = `${name}-${who}`
        return outcome(await session.call('count', key, who % 2 === 0 ? a : b)) === key
      }),
    )
  t.notOk((await round('before')).includes(false))
  await nodes[0]!.kill()
  await waitFor(
    () => state().includes('cluster_state:ok') && !/cluster_slots_fail:[1-9]/.test(state()),
    {
      timeout: 20_000,
      what: 'the Cluster to heal',
    },
  )
  let attempt = 0
  await waitFor(async () => !(await round(`after-${attempt++}`)).includes(false), {
    timeout: 30_000,
    what: 'all sessions to be served on both replicas',
  })
  noDoubles(t, backend.runs)
})

t.test('Sentinels lead to the next server', { timeout: 90_000 }, async (t) => {
  const primary = await ownRedis(t)
  const second = await ownRedis(t, ['--replicaof', `127.0.0.1 ${primary.port}`])
  const port = await freePort()
  const file = `${t.testdir()}/sentinel.conf`
  writeFileSync(
    file,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor shop 127.0.0.1 ${primary.port} 1`,
      'sentinel down-after-milliseconds shop 1000',
      'sentinel failover-timeout shop 5000',
    ].join('\n'),
  )
  const sentinel = spawn(redisProgram(), [file, '--sentinel'], { stdio: 'ignore' })
  t.teardown(() => sentinel.kill('SIGKILL'))
  const ask = (...words: string[]): string =>
    redisCommand(['-p', String(port), 'sentinel', ...words])
  await waitFor(() => isSynced(second.port), { what: 'the second server to have all data' })
  await waitFor(() => ask('replicas', 'shop').includes(String(second.port)), {
    timeout: 30_000,
    what: 'the Sentinel to know both servers',
  })
  const store = { type: 'redis', sentinels: [`redis://127.0.0.1:${port}`], sentinelName: 'shop' }
  const { replicas, backend } = await startFleet(t, { dialect: 'streamable', store, size: 2 })
  const [a = '', b = ''] = replicas.map(({ url }) => url)
  const session = await streamableClient(a)
  t.equal(outcome(await session.call('count', 'before', b)), 'before')
  await primary.kill()
  await waitFor(() => ask('get-master-addr-by-name', 'shop').includes(String(second.port)), {
    timeout: 30_000,
    what: 'the failover',
  })
  let attempt = 0
  await waitFor(
    async () => {
      const key = `after-${attempt++}`
      return outcome(await session.call('count', key, b)) === key
    },
    { timeout: 30_000, what: 'the session to be served on both replicas' },
  )
  noDoubles(t, backend.runs)
})
