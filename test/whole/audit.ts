// The audit lines of a guarded route: who was let do what, and never with what.
import { createHash } from 'node:crypto'
import t from 'tap'
import { startCountingBackend } from '../fixtures/counting-backend.ts'
import { postJson } from '../fixtures/http.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const key = 'a-key-of-somebody'
const call = (id: number, name: string) => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: { key: 'k' } },
})

t.test('each request leaves one line', async (t) => {
  const backend = await startCountingBackend()
  t.teardown(() => backend.close())
  const proxy = await startProxy({
    config: { publicUrl: 'https://mcp.example.com', log: { format: 'json', principals: 'clear' } },
    routes: [
      {
        name: 'shop',
        path: '/mcp',
        backend: { url: `${backend.url}/mcp`, dialect: 'streamable' },
        auth: {
          type: 'verify',
          apiKeys: [{ sha256: createHash('sha256').update(key).digest('hex'), principal: 'robot' }],
          tools: { hold: ['admin'] },
        },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  const url = `${proxy.url}/mcp`
  const headers = { authorization: `Bearer ${key}` }
  t.equal((await postJson(url, call(1, 'count'), { headers })).status, 200)
  t.equal((await postJson(url, call(2, 'hold'), { headers })).status, 403)
  t.equal((await postJson(url, call(3, 'count'))).status, 401)
  const wrong = { authorization: 'Bearer another-key' }
  t.equal((await postJson(url, call(4, 'count'), { headers: wrong })).status, 401)
  const lines = await waitFor(() => {
    const all = proxy.logs().filter(({ msg }) => msg === 'audit')
    return all.length === 4 ? all : undefined
  })
  const robot = { principal: 'api-key|robot', route: 'shop', method: 'tools/call' }
  t.match(lines, [
    { ...robot, tool: 'count', decision: 'allowed', ms: Number },
    { ...robot, tool: 'hold', decision: 'refused', code: 'SCOPE_INSUFFICIENT' },
    { route: 'shop', method: 'POST', decision: 'refused', code: 'TOKEN_MISSING' },
    { route: 'shop', method: 'POST', decision: 'refused', code: 'TOKEN_INVALID' },
  ])
  const everything = JSON.stringify(proxy.logs())
  for (const secret of [key, 'another-key']) t.notOk(everything.includes(secret))
})
