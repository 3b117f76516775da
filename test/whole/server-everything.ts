// The reference server in its legacy mode, a process of its own, behind the proxy: every client uses it as if it spoke
// the client's dialect.
import t from 'tap'
import type { Test } from 'tap'
import { drivers, sseClient } from '../fixtures/clients.ts'
import type { Driver } from '../fixtures/clients.ts'
import { startEverythingServer } from '../fixtures/everything-server.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const use = async (t: Test, driver: Driver, url: string): Promise<void> => {
  const client = await driver.connect(url, {
    sampling: (prompt) => `heard ${prompt.length} letters`,
    elicitation: () => 'blue',
    roots: ['file:///root'],
  })
  t.teardown(() => client.close())

  const tools = await client.listTools()
  for (const tool of ['echo', 'get-sum', 'get-tiny-image']) t.ok(tools.includes(tool), tool)
  t.equal(await client.callTool('echo', { message: 'grüße' }), 'Echo: grüße')
  t.equal(await client.callTool('get-sum', { a: 2, b: 3 }), 'The sum of 2 and 3 is 5.')
  const image = await client.request('tools/call', { name: 'get-tiny-image', arguments: {} })
  t.match(image, { content: [{ type: 'text' }, { type: 'image', mimeType: 'image/png' }] })
  await t.rejects(client.request('no/such/method'), { code: -32601 })

  t.match(await client.request('prompts/list'), { prompts: Array })
  t.match(await client.request('prompts/get', { name: 'simple-prompt' }), { messages: Array })
  const uri = 'demo://resource/dynamic/text/1'
  t.match(await client.request('resources/read', { uri }), { contents: [{ uri }] })
  t.match(
    await client.request('completion/complete', {
      ref: { type: 'ref/prompt', name: 'completable-prompt' },
      argument: { name: 'department', value: 'E' },
    }),
    { completion: { values: ['Engineering'] } },
  )

  const seen: number[] = []
  const steps = await client.callTool(
    'trigger-long-running-operation',
    { duration: 0.2, steps: 4 },
    { onprogress: ({ progress }) => void seen.push(progress) },
  )
  t.match(steps, /completed/)
  if (!driver.bothWays) return

  // The last step may share a chunk with the result, and SDK clients then lose it.
  t.strictSame(seen.slice(0, 3), [1, 2, 3])
  t.match(await client.callTool('trigger-sampling-request', { prompt: 'x' }), /heard \d+ letters/)
  await waitFor(async () => (await client.callTool('get-roots-list')).includes('file:///root'), {
    what: 'the roots at the server',
  })
  await waitFor(
    () => client.notifications.some(({ method }) => method === 'notifications/tools/list_changed'),
    { what: 'notifications/tools/list_changed' },
  )
}

t.test('straight to the server, as a control', async (t) => {
  const server = await startEverythingServer()
  t.teardown(() => server.close())
  await use(t, sseClient, server.url)
})

for (const dialect of ['auto', 'sse']) {
  t.test(`behind the proxy, dialect ${dialect}`, async (t) => {
    const server = await startEverythingServer()
    t.teardown(() => server.close())
    const proxy = await startProxy({
      routes: [{ name: 'everything', path: '/mcp', backend: { url: server.url, dialect } }],
    })
    t.teardown(() => proxy.stop())
    for (const driver of drivers) {
      t.test(driver.name, async (t) => use(t, driver, `${proxy.url}/mcp`))
    }
    t.test('all of them at once', async (t) => {
      await Promise.all(drivers.map((driver) => use(t, driver, `${proxy.url}/mcp`)))
    })
  })
}
