import t from 'tap'
import { readArguments } from '../../src/cli/arguments.ts'
import { implementation } from '../../src/version.ts'

const words = (text: string): string[] => text.split(' ').filter((word) => word !== '')

t.test('a command line becomes a command', async (t) => {
  const cases: [line: string, command: object][] = [
    ['serve --config a.yaml', { name: 'serve', source: { file: 'a.yaml' }, log: {} }],
    ['serve -c a.yaml', { name: 'serve', source: { file: 'a.yaml' }, log: {} }],
    ['serve a.yaml', { name: 'serve', source: { file: 'a.yaml' }, log: {} }],
    [
      'serve a.yaml --log-level debug --log-format json',
      { name: 'serve', source: { file: 'a.yaml' }, log: { level: 'debug', format: 'json' } },
    ],
    [
      'serve --backend http://b/sse --path /x --port 0 --host ::1',
      {
        name: 'serve',
        source: { backend: 'http://b/sse', path: '/x', port: 0, host: '::1' },
        log: {},
      },
    ],
    ['check a.yaml', { name: 'check', file: 'a.yaml' }],
    ['check --config a.yaml', { name: 'check', file: 'a.yaml' }],
    ['demo', { name: 'demo', once: false, port: undefined }],
    ['demo --once --port 8000', { name: 'demo', once: true, port: 8000 }],
  ]
  for (const [line, command] of cases) t.same(await readArguments(words(line)), command, line)
})

t.test('what is not understood is refused with what may have been meant', async (t) => {
  const cases: [line: string, reason: string][] = [
    ['', 'a command is needed: serve, check or demo'],
    ['serv', 'unknown command "serv"; did you mean "serve"?'],
    ['serve', 'serve needs a configuration file (--config FILE) or --backend URL'],
    ['serve --bakend x', 'unknown option --bakend; did you mean "backend"?'],
    ['serve --logLevel debug', 'unknown option --logLevel; did you mean "log-level"?'],
    ['serve --config', 'Not enough arguments following: config'],
    ['serve a b', 'unexpected argument "b"'],
    ['serve a --config b', 'name the configuration file once, not with --config as well'],
    ['serve --config a --backend b', 'serve takes a configuration file or --backend, not both'],
    ['serve a --port 1', '--port goes with --backend; in a file it has a key of its own'],
    ['serve --backend b --port x', '--port: expected a whole number from 0 to 65535'],
    ['demo --port 65536', '--port: expected a whole number from 0 to 65535'],
    ['check', 'check needs a configuration file (--config FILE)'],
    ['check a --once', 'unknown option --once'],
    ['demo --onc', 'unknown option --onc; did you mean "once"?'],
  ]
  for (const [line, reason] of cases) {
    t.same(await readArguments(words(line)), { name: 'refuse', reason }, line)
  }
  t.match(await readArguments(words('serve a --log-level loud')), {
    name: 'refuse',
    reason: /loud/,
  })
})

t.test(
  'help shows the commands and examples, and the version is that of the package',
  async (t) => {
    const help = await readArguments(['--help'])
    t.match(help, { name: 'print', text: /causeway serve --backend https:/ })
    t.match(help, { text: /check/ })
    t.match(await readArguments(['serve', '--help']), { name: 'print', text: /--log-level/ })
    t.same(await readArguments(['--version']), { name: 'print', text: implementation.version })
  },
)
