import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** Runs the command in a process of its own, as a shell would. */
const launch = (t: Test, ...args: string[]) => {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => (out += String(chunk)))
  child.stderr.on('data', (chunk) => (err += String(chunk)))
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, out, err }))
  /** Resolves to the first line of the log that has `msg`. */
  const line = async (msg: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const found = out.split('\n').find((text) => text.includes(`"msg":"${msg}"`))
      if (found !== undefined) return JSON.parse(found) as Record<string, unknown>
      const more = await Promise.race([once(child.stdout, 'data'), ended])
      if ('code' in more) throw new Error(`ended without "${msg}": ${more.out}${more.err}`)
    }
  }
  return { child, ended, line }
}

const config = (t: Test, port: number): string =>
  join(
    t.testdir({
      'proxy.yaml':
        `listen: { port: ${port} }\nadmin: { port: 0 }\nlog: { format: json }\n` +
        'routes: [{ name: a, path: /mcp, backend: { url: "http://127.0.0.1:9/sse", dialect: sse } }]\n',
    }),
    'proxy.yaml',
  )

t.test('serve says in one line where it listens, and SIGTERM ends it with 0', async (t) => {
  const { child, ended, line } = launch(t, 'serve', '--config', config(t, 0))
  const listening = await line('listening')
  t.match(listening, { level: 'info', routes: [{ name: 'a', path: '/mcp' }] })
  const answer = await fetch(`${String(listening['adminUrl'])}/readyz`)
  t.equal(answer.status, 200)
  t.equal((await fetch(`${String(listening['url'])}/elsewhere`)).status, 404)
  child.kill('SIGTERM')
  const { code, out, err } = await ended
  t.equal(code, 0)
  t.match(out, '"msg":"stopped"')
  t.equal(err, '')
})

t.test('serve without a file listens for one backend and has no admin listener', async (t) => {
  const args = ['--backend', 'http://127.0.0.1:9/sse', '--port', '0', '--log-format', 'json']
  const { child, ended, line } = launch(t, 'serve', ...args)
  const listening = await line('listening')
  t.match(listening['url'], /^http:\/\/127\.0\.0\.1:\d+$/)
  t.notOk('adminUrl' in listening)
  child.kill('SIGINT')
  t.equal((await ended).code, 0)
})

t.test('a second signal ends it at once, in the middle of a drain', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  silent.on('connection', (socket) => t.teardown(() => socket.destroy()))
  const asked = once(silent, 'connection')
  const { port } = silent.address() as AddressInfo
  const yaml =
    'listen: { port: 0 }\nadmin: false\nlog: { format: json }\ndrainTime: 5m\n' +
    `routes: [{ name: a, path: /mcp, backend: { url: "http://127.0.0.1:${port}", dialect: rpc } }]\n`
  const file = join(t.testdir({ 'proxy.yaml': yaml }), 'proxy.yaml')
  const { child, ended, line } = launch(t, 'serve', file)
  const { url } = await line('listening')
  const waiting = fetch(`${String(url)}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
  }).catch(() => 'cut')
  await asked
  child.kill('SIGTERM')
  await line('stopping')
  t.equal(child.exitCode, null, 'the exchange keeps the process alive')
  child.kill('SIGTERM')
  t.equal((await ended).code, 1)
  t.equal(await waiting, 'cut')
})

t.test('a port that is taken is one clear sentence and 1', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { port } = holder.address() as AddressInfo
  const { code, err } = await launch(t, 'serve', '--config', config(t, port)).ended
  t.equal(code, 1)
  t.match(err, new RegExp(`^causeway: .*127\\.0\\.0\\.1:${port}.*\n$`))
})

t.test('wrong arguments and wrong files are 2, and say why', async (t) => {
  const cases: [args: string[], reason: RegExp][] = [
    [['serve', '--bakend', 'x'], /unknown option --bakend; did you mean "backend"\?/],
    [['serve', '--config', 'no-such.yaml'], /^no-such\.yaml: cannot be read: no such file\n$/],
    [['serve', '--backend', 'foo'], /^--backend: /],
    [[], /a command is needed/],
  ]
  for (const [args, reason] of cases) {
    const { code, out, err } = await launch(t, ...args).ended
    t.equal(code, 2, args.join(' '))
    t.match(err, reason)
    t.equal(out, '')
  }
  const checked = await launch(t, 'check', '--config', 'no-such.yaml').ended
  t.equal(checked.code, 2)
})

t.test('the version and help are 0', async (t) => {
  const version = await launch(t, '--version').ended
  t.match(version, { code: 0, out: /^\d+\.\d+\.\d+/, err: '' })
  const help = await launch(t, '--help').ended
  t.match(help, { code: 0, out: /Examples:/, err: '' })
})

t.test('the demo is right in every step', async (t) => {
  const { code, out, err } = await launch(t, 'demo', '--once').ended
  t.equal(code, 0, out + err)
  t.equal(out.match(/^ {2}ok: /gm)?.length, 7)
  t.notMatch(out, 'WRONG')
  t.notMatch(out, '\u001b', 'no colours in a pipe')
})
