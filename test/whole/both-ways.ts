// Everything a server may say or ask beside its answers, behind the proxy, with real peers on both sides. The SSE client
// is also connected straight to the server, as a control of the fixtures themselves.
import t from 'tap'
import type { Test } from 'tap'
import { secondSdkClient, sseClient, streamableClient } from '../fixtures/clients.ts'
import type { ClientOptions, Driver, Received, TestClient } from '../fixtures/clients.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { resourceUri, startSdkSseServer } from '../fixtures/sdk-sse-server.ts'
import type { SdkSseServer } from '../fixtures/sdk-sse-server.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Stage {
  readonly server: SdkSseServer
  connect(options?: ClientOptions): Promise<TestClient>
}

type Scenario = (t: Test, stage: Stage) => Promise<void>

const heard = (client: TestClient, method: string): readonly Received[] =>
  client.notifications.filter((notification) => notification.method === method)

const scenarios: Readonly<Record<string, Scenario>> = {
  'tools are listed and called': async (t, { server, connect }) => {
    const client = await connect()
    t.ok((await client.listTools()).includes('echo'))
    t.equal(
      await client.callTool('echo', { message: 'hé \u2028 \u{1f600}' }),
      'hé \u2028 \u{1f600}',
    )
    t.equal(await client.callTool('add', { a: 2, b: 3 }), '5')
    t.equal(server.calls.get('add'), 1)
  },

  'an error of a tool reaches the client as it is': async (t, { connect }) => {
    const client = await connect()
    await t.rejects(client.callTool('fail', { reason: 'no such luck' }), {
      message: /no such luck/,
    })
    t.equal(await client.callTool('echo', { message: 'after' }), 'after')
  },

  'sampling reaches the client and its answer the server': async (t, { connect }) => {
    const client = await connect({ sampling: (prompt) => `${prompt}? blue` })
    t.equal(
      await client.callTool('sample', { prompt: 'colour' }),
      'test-model: {"type":"text","text":"colour? blue"}',
    )
  },

  'elicitation reaches the client and its answer the server': async (t, { connect }) => {
    const client = await connect({ elicitation: (question) => `${question} yes` })
    t.equal(
      await client.callTool('elicit', { question: 'sure?' }),
      'accept: {"answer":"sure? yes"}',
    )
  },

  'a refusal of the client reaches the server': async (t, { connect }) => {
    const sampling = (): string => {
      throw new Error('not today')
    }
    const client = await connect({ sampling })
    await t.rejects(client.callTool('sample', { prompt: 'colour' }), { message: /not today/ })
  },

  'roots reach the server': async (t, { connect }) => {
    const client = await connect({ roots: ['file:///one', 'file:///two'] })
    t.equal(await client.callTool('roots'), 'file:///one file:///two')
  },

  'what the client has not declared is not asked of it': async (t, { connect }) => {
    const client = await connect()
    for (const [tool, args] of [
      ['sample', { prompt: 'x' }],
      ['elicit', { question: 'x' }],
      ['roots', {}],
    ] as const) {
      await t.rejects(
        client.callTool(tool, args),
        { message: /not support|capab|not found/i },
        tool,
      )
    }
  },

  'both sides answer a ping': async (t, { connect }) => {
    const client = await connect()
    t.strictSame(await client.request('ping'), {})
    t.equal(await client.callTool('ping'), '{}')
  },

  'progress arrives in order, each at its own call': async (t, { server, connect }) => {
    const client = await connect()
    const calls = [20, 3, 7].map((count) => {
      const seen: number[] = []
      const onprogress = ({ progress }: { readonly progress: number }): void => {
        seen.push(progress)
      }
      const label = `${count}`
      return {
        count,
        seen,
        label,
        call: client.callTool('progress', { count, label }, { onprogress }),
      }
    })
    for (const { count, seen, label, call } of calls) {
      await waitFor(() => seen.length >= count, { what: `${count} steps of progress` })
      await waitFor(() => server.waiting().includes(label))
      server.release(label)
      t.equal(await call, `${count} steps`)
      t.strictSame(
        seen,
        Array.from({ length: count }, (_, index) => index + 1),
      )
    }
  },

  'log messages reach the client, as far as it wants them': async (t, { connect }) => {
    const client = await connect()
    const lines = (): unknown[] =>
      heard(client, 'notifications/message').map((line) => line.params?.['data'])
    await client.callTool('log', { count: 3 })
    await waitFor(() => lines().length >= 3, { what: 'three lines of log' })
    await client.request('logging/setLevel', { level: 'error' })
    await client.callTool('log', { count: 3 })
    t.strictSame(lines(), [{ line: 1 }, { line: 2 }, { line: 3 }])
  },

  'a cancelled call is cancelled at the server': async (t, { server, connect }) => {
    const client = await connect()
    const controller = new AbortController()
    const call = client.callTool('slow', { label: 'first' }, { signal: controller.signal })
    const other = client.callTool('slow', { label: 'second' })
    await waitFor(() => server.waiting().length === 2, { what: 'both calls at the server' })
    controller.abort('enough')
    await t.rejects(call)
    await waitFor(() => server.cancelled.length > 0, { what: 'the cancellation at the server' })
    t.strictSame(server.cancelled, ['first'])
    server.release('second')
    t.equal(await other, 'released second')
  },

  'a slow call holds up nobody': async (t, { server, connect }) => {
    const client = await connect()
    const call = client.callTool('slow', { label: 'snail' })
    await waitFor(() => server.waiting().includes('snail'))
    t.equal(await client.callTool('echo', { message: 'hare' }), 'hare')
    server.release('snail')
    t.equal(await call, 'released snail')
  },

  'changes reach the client on its standing stream': async (t, { server, connect }) => {
    const client = await connect()
    const updates = (): readonly Received[] => heard(client, 'notifications/resources/updated')
    const changes = (): readonly Received[] => heard(client, 'notifications/tools/list_changed')
    await waitFor(
      async () => {
        await server.toolsChanged()
        return changes().length > 0
      },
      { what: 'notifications/tools/list_changed' },
    )
    await server.resourceUpdated(resourceUri)
    await client.request('resources/subscribe', { uri: resourceUri })
    await server.resourceUpdated(resourceUri)
    await waitFor(() => updates().length > 0, { what: 'notifications/resources/updated' })
    await client.request('resources/unsubscribe', { uri: resourceUri })
    await server.resourceUpdated(resourceUri)
    const before = changes().length
    await server.toolsChanged()
    await waitFor(() => changes().length > before)
    t.strictSame(
      updates().map((update) => update.params?.['uri']),
      [resourceUri],
    )
  },

  'each client is asked for itself only': async (t, { connect }) => {
    const names = ['ann', 'bob', 'cat']
    const clients = await Promise.all(
      names.map((name) => connect({ sampling: (prompt) => `${name} on ${prompt}` })),
    )
    const rounds = Array.from({ length: 10 }, (_, round) => round)
    const answers = await Promise.all(
      clients.flatMap((client, index) =>
        rounds.map(async (round) => [
          await client.callTool('sample', { prompt: `${round}` }),
          `test-model: {"type":"text","text":"${names[index]} on ${round}"}`,
        ]),
      ),
    )
    for (const [answer, expected] of answers) t.equal(answer, expected)
  },

  'a client that has closed leaves nothing at the server': async (t, { server, connect }) => {
    const client = await connect()
    await client.listTools()
    t.equal(server.sessions(), 1)
    await client.close()
    await waitFor(() => server.sessions() === 0, { what: 'the end of the session at the server' })
  },
}

const runAll = (
  t: Test,
  driver: Driver,
  stage: (t: Test) => Promise<{ server: SdkSseServer; url: string }>,
) => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    t.test(name, async (t) => {
      const { server, url } = await stage(t)
      await scenario(t, {
        server,
        async connect(options) {
          const client = await driver.connect(url, options)
          t.teardown(() => client.close())
          return client
        },
      })
    })
  }
}

const startServer = async (t: Test): Promise<SdkSseServer> => {
  const server = await startSdkSseServer()
  t.teardown(() => server.close())
  return server
}

const behindProxy = async (t: Test): Promise<{ server: SdkSseServer; url: string }> => {
  const server = await startServer(t)
  const proxy = await startProxy({
    routes: [{ name: 'fixture', path: '/mcp', backend: { url: server.url, dialect: 'sse' } }],
  })
  t.teardown(() => proxy.stop())
  return { server, url: `${proxy.url}/mcp` }
}

t.setTimeout(180_000)

t.test('straight to the server, as a control', async (t) => {
  runAll(t, sseClient, async (t) => {
    const server = await startServer(t)
    return { server, url: server.url }
  })
})

for (const driver of [sseClient, streamableClient, secondSdkClient]) {
  t.test(`${driver.name}, behind the proxy`, async (t) => runAll(t, driver, behindProxy))
}

/** Only the proxy can promise this: straight at the server, a client hangs or must connect anew. */
const restarts: Readonly<Record<string, (server: SdkSseServer) => Promise<void>>> = {
  'forgets its sessions': (server) => server.killSessions(),
  'starts anew': (server) => server.restart(),
}

for (const driver of [sseClient, streamableClient, secondSdkClient]) {
  for (const [what, restart] of Object.entries(restarts)) {
    t.test(`${driver.name} outlives a server that ${what}`, async (t) => {
      const { server, url } = await behindProxy(t)
      const client = await driver.connect(url, { timeout: 10_000 })
      t.teardown(() => client.close())
      const id = client.sessionId()
      const call = client.callTool('slow', { label: 'lost' })
      const refused = t.rejects(call, { code: /^-32\d{3}$/ }, 'a running call ends with an error')
      await waitFor(() => server.waiting().includes('lost'))
      await restart(server)
      await refused
      t.equal(await client.callTool('echo', { message: 'again' }), 'again')
      t.equal(server.calls.get('slow'), 1, 'and no call runs twice')
      t.equal(client.sessionId(), id)
    })
  }
}
