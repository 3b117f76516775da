import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { check } from '../../src/cli/check.ts'
import type { Terminal } from '../../src/cli/terminal.ts'

const run = (t: Test, yaml: string) => {
  const file = join(t.testdir({ 'proxy.yaml': yaml }), 'proxy.yaml')
  const lines: string[] = []
  const terminal: Terminal = {
    out: (text) => void lines.push(text),
    err: (text) => t.fail(`nothing goes to standard error: ${text}`),
    colours: false,
    env: {},
    untilStopped: () => Promise.reject(new Error('check does not wait')),
    onCrash: () => {},
  }
  return { code: check(file, terminal), lines, file }
}

t.test('a good file is 0, with one line for each route', async (t) => {
  const { code, lines } = run(
    t,
    'routes:\n' +
      '  - { name: a, path: /mcp, clients: [rpc], backend: { url: "http://b/sse", dialect: sse } }\n' +
      '  - { name: rest, path: /api/*, passthrough: "http://b/base" }\n',
  )
  t.equal(code, 0)
  t.same(lines, [
    'a: /mcp -> http://b/sse (sse), for rpc',
    'rest: /api/* -> http://b/base (passed through as it is)',
  ])
})

t.test('a bad file is 2, with every problem on a line of its own', async (t) => {
  const { code, lines, file } = run(
    t,
    'routes:\n  - { name: a, path: mcp, backend: { url: foo } }\nkeepAlive: soon\n',
  )
  t.equal(code, 2)
  t.equal(lines.length, 3)
  for (const line of lines) t.ok(line.startsWith(`${file}:`), line)
})

t.test('what an authorization could not work with is said, route by route', (t) => {
  const key = 'a'.repeat(64)
  const route = (name: string, more: string) =>
    `  - name: ${name}\n    path: /${name}\n    backend: { url: "http://b/mcp" }\n` +
    `    auth: { type: verify, apiKeys: [{ sha256: ${key}, principal: p }], ${more} }\n`
  const { code, lines, file } = run(
    t,
    'publicUrl: https://mcp.example.com\nroutes:\n' +
      route('unknown', 'headers: { x-user: "{id}" }') +
      route('good', 'headers: { x-user: "{principal}" }') +
      route('word', 'headers: { x-user: "{nobody}" }') +
      route('short', 'credential: { type: jwt, key: short, issuer: us, audience: them }'),
  )
  t.equal(code, 2)
  t.equal(lines.length, 3, lines.join('\n'))
  t.match(lines[0], `${file}: route "unknown": auth: "{id}" is used`)
  t.match(lines[1], `${file}: route "word": `)
  t.match(lines[2], `${file}: route "short": credential.`)
  t.end()
})
