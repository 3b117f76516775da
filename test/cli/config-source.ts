import { join } from 'node:path'
import t from 'tap'
import { readConfig } from '../../src/cli/config-source.ts'

t.test('a file is read, with the environment put in', async (t) => {
  const yaml =
    'routes:\n  - { name: a, path: /mcp, backend: { url: "${BACKEND}/sse" } }\nlisten: { port: 0 }\n'
  const file = join(t.testdir({ 'proxy.yaml': yaml }), 'proxy.yaml')
  const reading = readConfig({ file }, { BACKEND: 'http://127.0.0.1:1' })
  t.match(reading, {
    ok: true,
    config: { routes: [{ backend: { url: { text: 'http://127.0.0.1:1/sse' } } }] },
  })
})

t.test('every problem of a file comes with its place', async (t) => {
  const yaml = 'routes:\n  - { name: a, path: /mcp, backend: { url: foo } }\nlisen: { port: 0 }\n'
  const file = join(t.testdir({ 'proxy.yaml': yaml }), 'proxy.yaml')
  const reading = readConfig({ file }, {})
  if (reading.ok) throw new Error('must be refused')
  t.equal(reading.problems.length, 2)
  t.match(reading.problems[0], `${file}:2:`)
  t.match(reading.problems[0], 'routes[0].backend.url')
  t.match(reading.problems[1], `${file}:3:1: `)
  t.match(reading.problems[1], 'did you mean "listen"?')
})

t.test('a file that cannot be read is one clear sentence', async (t) => {
  const folder = t.testdir()
  const missing = join(folder, 'none.yaml')
  t.same(readConfig({ file: missing }, {}), {
    ok: false,
    problems: [`${missing}: cannot be read: no such file`],
  })
  t.same(readConfig({ file: folder }, {}), {
    ok: false,
    problems: [`${folder}: cannot be read: it is a directory`],
  })
})

t.test('options make a configuration of one route, and problems name the option', async (t) => {
  const good = readConfig({ backend: 'http://127.0.0.1:1/sse', path: '/x', port: 0 }, {})
  t.match(good, { ok: true, config: { listen: { port: 0 }, routes: [{ path: { text: '/x' } }] } })
  for (const [source, option] of [
    [{ backend: 'foo' }, '--backend: '],
    [{ backend: 'http://127.0.0.1:1', path: 'x' }, '--path: '],
    [{ backend: 'http://127.0.0.1:1', port: 70_000 }, '--port: '],
  ] as const) {
    const reading = readConfig(source, {})
    if (reading.ok) throw new Error('must be refused')
    t.equal(reading.problems.length, 1)
    t.match(reading.problems[0], new RegExp(`^${option}`))
  }
})
