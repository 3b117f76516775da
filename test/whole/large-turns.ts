// Large answers that take an unusual turn: they come on a stream that has opened, turn out to be another's, or lose
// their client.
import t from 'tap'
import type { ServerResponse } from 'node:http'
import { openCaller } from '../fixtures/large-client.ts'
import { megabyte, runOf, startLargeStage, stillWorks } from '../fixtures/large-stage.ts'
import { listen, readText } from '../fixtures/listen.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { waitFor } from '../fixtures/wait-for.ts'

t.setTimeout(120_000)

t.test(
  'JSON of known length that turns out to have answered another request is broken off',
  async (t) => {
    const stage = await startLargeStage(t)
    const caller = await stage.caller({ dialect: 'streamable' })
    for (const size of [megabyte, 20 * megabyte]) {
      const args = { seed: size, size, idLast: true, answerAs: 2, form: 'json' }
      t.notOk((await (await caller.call(1, 'large', args)).digest()).whole)
    }
    await stillWorks(t, caller)
  },
)

const json = { 'content-type': 'application/json' }
const progress = JSON.stringify({
  jsonrpc: '2.0',
  method: 'notifications/progress',
  params: { progressToken: 'm', progress: 1 },
})

for (const first of ['a comment, because nothing came for long', 'a progress notification']) {
  t.test(`a result of 50 MB passes on a stream that opened with ${first}`, async (t) => {
    const quiet = first.startsWith('a comment')
    const calls: ServerResponse[] = []
    const server = await listen((request, response) => {
      void readText(request).then((body) => {
        if (request.method !== 'POST') return response.writeHead(405).end()
        const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
        if (id === undefined) return response.writeHead(202).end()
        if (method === 'tools/call') {
          calls.push(response)
          if (quiet) return undefined
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          return response.write(`data: ${progress}\n\n`)
        }
        const serverInfo = { name: 'x', version: '1' }
        const result = { protocolVersion: '2025-06-18', capabilities: {}, serverInfo }
        response.writeHead(200, { ...json, 'mcp-session-id': 'a' })
        return response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })
    })
    t.teardown(() => server.close())
    const backend = { url: server.url, dialect: 'streamable' }
    const routes = [{ name: 'a', path: '/mcp', backend }]
    const proxy = await startProxy({ routes, config: { keepAlive: '1s' } })
    t.teardown(() => proxy.stop())
    const caller = await openCaller(`${proxy.url}/mcp`)
    const answer = await caller.call(1, 'any', {}, { progressToken: 'm' })
    t.equal(answer.headers['content-type'], 'text/event-stream', 'the stream has opened')
    const fill = 'x\u2028'.repeat(12 * megabyte)
    const text = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { fill } }, null, 1)
    if (quiet) calls[0]?.writeHead(200, json).end(text)
    else calls[0]?.end(`data: ${text.replaceAll('\n', '')}\n\n`)
    const body = await answer.text()
    t.notMatch(body, /\u2028/)
    const messages = [...body.matchAll(/^data: (.+)$/gm)].map(([, data = '']) => data)
    const last = JSON.parse(messages.at(-1) ?? '') as { id: unknown; result: { fill: string } }
    t.equal(messages.length, quiet ? 1 : 2)
    t.equal(last.id, 1)
    t.ok(last.result.fill === fill, 'all of it is there')
  })
}

t.test(
  'a client that goes while the backend is silent in the middle is not waited for',
  async (t) => {
    const stage = await startLargeStage(t)
    const caller = await stage.caller({ dialect: 'streamable' })
    const args = { seed: 2, size: 20 * megabyte, holdAt: megabyte }
    const answer = await caller.call(1, 'large', args)
    const run = await runOf(stage, 2)
    void answer.digest()
    await waitFor(() => run.written >= megabyte && answer.bytes >= run.written - 1)
    answer.destroy()
    await waitFor(() => run.closed, { what: 'the end of the backend request' })
    await stillWorks(t, caller)
  },
)
