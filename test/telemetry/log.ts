import t from 'tap'
import { createLog, safeUrl, shortId } from '../../src/telemetry/log.ts'
import type { LogFormat, LogLevel } from '../../src/telemetry/log.ts'

const lines = (level: LogLevel, format: LogFormat, isTTY = false) => {
  const written: string[] = []
  const stream = { isTTY, write: (line: string) => void written.push(line) }
  return { log: createLog({ level, format, stream }), written }
}

t.test('a line is JSON with the level as a word and an ISO time', async (t) => {
  const { log, written } = lines('info', 'json')
  log.info({ url: 'http://127.0.0.1:1' }, 'listening')
  const line = JSON.parse(written[0] ?? '') as Record<string, string>
  t.match(line, { level: 'info', msg: 'listening', url: 'http://127.0.0.1:1' })
  t.match(line['time'], /^\d{4}-\d\d-\d\dT/)
  t.notOk('pid' in line || 'hostname' in line)
})

t.test('lines below the level are not written', async (t) => {
  const { log, written } = lines('warn', 'json')
  log.info('quiet')
  log.warn('loud')
  t.equal(written.length, 1)
})

t.test('the automatic format is JSON in a pipe and readable on a terminal', async (t) => {
  const pipe = lines('info', 'auto')
  pipe.log.info('hello')
  t.match(pipe.written[0], /^\{.*\}\n$/)
  const terminal = lines('info', 'auto', true)
  terminal.log.info({ a: 1 }, 'hello')
  t.match(terminal.written.join(''), /INFO.*hello/)
  t.notMatch(terminal.written.join(''), /^\{/)
})

t.test('credentials never reach a line', async (t) => {
  const names = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key']
  for (const name of [...names, 'mcp-session-id', 'token']) {
    const { log, written } = lines('trace', 'json')
    const secret = { [name]: 'SECRET' }
    log.info(secret, 'at the top')
    log.info({ headers: secret }, 'in headers')
    log.info({ request: secret }, 'one level down')
    log.info({ request: { headers: secret } }, 'in the headers of something')
    t.equal(written.length, 4)
    t.notMatch(written.join(''), /SECRET/, name)
    t.match(written.join(''), /\[redacted\]/, name)
  }
})

t.test('an error is logged with its cause', async (t) => {
  const { log, written } = lines('info', 'json')
  log.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'failed')
  t.match(written[0], /outer.*inner/)
})

t.test('a session id is cut to eight characters', async (t) => {
  t.equal(shortId('0123456789abcdef'), '01234567')
  t.equal(shortId('short'), 'short')
})

t.test('a URL is shown without query, fragment and credentials', async (t) => {
  const cases = {
    'https://host/a/b?token=SECRET': 'https://host/a/b',
    'https://host/a#SECRET': 'https://host/a',
    'https://user:SECRET@host/a': 'https://host/a',
    '/a/b?x=SECRET': '/a/b',
    '/a/b': '/a/b',
    '/a/user@example.com': '/a/user@example.com',
    'https://host/a/user@example.com': 'https://host/a/user@example.com',
    '?SECRET': '',
  }
  for (const [url, shown] of Object.entries(cases)) t.equal(safeUrl(url), shown, url)
  t.equal(safeUrl(new URL('http://u:SECRET@h/x?y')), 'http://h/x')
})
