import t from 'tap'
import { loadConfig } from '../../src/config/load.ts'
import { createRouter } from '../../src/proxy/router.ts'

const text = `routes:
  - { name: rest, path: /api/*, passthrough: http://b }
  - { name: any, path: "/mcp/{a}/sse/{b}", messages: "/mcp/{a}/messages/{b}", backend: { url: http://b } }
  - { name: me, path: "/mcp/me/sse/{b}", backend: { url: http://b } }
  - { name: both, path: /mcp/me/sse/me, backend: { url: http://b } }
  - { name: dead-end, path: /mcp/you/other, backend: { url: http://b } }
  - { name: api, path: /api/, backend: { url: http://b } }
  - { name: one, path: "/api/{x}/mcp", backend: { url: http://b } }
  - { name: escaped, path: /a%20b, backend: { url: http://b } }
`
const result = loadConfig(text, 'proxy.yaml', {}, () => '')
if (!result.ok) throw new Error(JSON.stringify(result.problems))
const { routes } = result.config
const match = createRouter(routes)

t.test('a path finds its most exact route, whatever the order of the file', async (t) => {
  const cases: Record<string, [string, Record<string, string>, string?] | undefined> = {
    '/mcp/x/sse/y': ['any', { a: 'x', b: 'y' }],
    '/mcp/x/sse/y/': ['any', { a: 'x', b: 'y' }],
    '/mcp/x/messages/y': ['any', { a: 'x', b: 'y' }, 'messages'],
    '/mcp/me/sse/y': ['me', { b: 'y' }],
    '/mcp/m%65/sse/y': ['me', { b: 'y' }],
    '/mcp/me/sse/me': ['both', {}],
    '/mcp/me/messages/y': ['any', { a: 'me', b: 'y' }, 'messages'],
    '/mcp/you/sse/y': ['any', { a: 'you', b: 'y' }],
    '/mcp/a%20b/sse/%E2%82%AC': ['any', { a: 'a b', b: '€' }],
    '/mcp/%2561/sse/y': ['any', { a: '%61', b: 'y' }],
    '/api': ['api', {}],
    '/api/': ['api', {}],
    '/api/x/mcp': ['one', { x: 'x' }],
    '/api//mcp': ['rest', {}],
    '/api/a%2Fb/mcp': ['rest', {}],
    '/api/x': ['rest', {}],
    '/api/x/y/z/': ['rest', {}],
    '/a b': ['escaped', {}],
    '/a%20b/': ['escaped', {}],
    '/': undefined,
    '/mcp': undefined,
    '/mcp//sse/y': undefined,
    '/mcp/x/sse/': undefined,
    '/mcp/x%2Fz/sse/y': undefined,
    '/mcp/x/sse/y/z': undefined,
    '/MCP/x/sse/y': undefined,
    '/apis': undefined,
    '/api/%zz': undefined,
    '/api/../mcp/x/sse/y': undefined,
    '/api/%2e%2e/secret': undefined,
    '/api/..%2fsecret': undefined,
    '/mcp/%2e%2e/sse/y': undefined,
    '*': undefined,
    '': undefined,
  }
  for (const [path, expected] of Object.entries(cases)) {
    const found = match(path)
    const [name, parameters, place = 'path'] = expected ?? []
    t.equal(found?.route.name, name, path)
    t.strictSame(found?.parameters, parameters, path)
    if (found !== undefined) t.equal(found.place, place, path)
  }
})

t.test('a match hands out the very route of the configuration', async (t) => {
  t.equal(match('/api/x')?.route, routes[0])
})

t.test('a route of /* takes whatever no other takes', async (t) => {
  const all = loadConfig(
    'routes: [{ name: mcp, path: /mcp, backend: { url: http://b } }, { name: rest, path: /*, passthrough: http://b }]',
    'proxy.yaml',
    {},
    () => '',
  )
  const find = createRouter(all.ok ? all.config.routes : [])
  const cases: Record<string, string> = {
    '/': 'rest',
    '/x/y': 'rest',
    '/mcp': 'mcp',
    '/mcp/x': 'rest',
  }
  for (const [path, name] of Object.entries(cases)) t.equal(find(path)?.route.name, name, path)
})

t.test('no routes match nothing', async (t) => {
  t.equal(createRouter([])('/'), undefined)
})
