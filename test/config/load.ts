import t from 'tap'
import { ruleTable } from '../../src/event-stream/rules.ts'
import { configForBackend, formatProblem, loadConfig } from '../../src/config/load.ts'
import type { Config, McpRoute } from '../../src/config/schema.ts'

const noFiles = (): string => {
  throw new Error('no file was to be read')
}
const load = (text: string, env: Record<string, string> = {}, readFile = noFiles) =>
  loadConfig(text, 'proxy.yaml', env, readFile)

function loaded(...args: Parameters<typeof load>): Config {
  const result = load(...args)
  if (!result.ok) throw new Error(result.problems.map((p) => formatProblem('f', p)).join('\n'))
  return result.config
}

function problems(...args: Parameters<typeof load>): string[] {
  const result = load(...args)
  return result.ok ? [] : result.problems.map((problem) => formatProblem('proxy.yaml', problem))
}

/** A file with one sound route and `more` at the top level. */
const file = (more: string): string => `${more}
routes: [{ name: a, path: /a, backend: { url: http://b } }]
`
/** A file with one route, whose backend has `more` besides its URL. */
const backend = (more: string, path = '/{user}'): string => `routes:
  - name: a
    path: "${path}"
    backend:
      url: http://b/x
${more.replace(/^/gm, '      ')}
`

t.test('a file with one route gets every default', async (t) => {
  const config = loaded(file(''))
  const { routes, ...rest } = config
  t.strictSame(rest, {
    listen: { host: '127.0.0.1', port: 8080 },
    admin: { host: '127.0.0.1', port: 9090 },
    publicUrl: undefined,
    store: { type: 'memory', prefix: 'causeway' },
    log: { level: 'info', format: 'auto', principals: 'digest' },
    origins: [
      'https://claude.ai',
      'https://claude.com',
      'https://chatgpt.com',
      'https://vscode.dev',
    ],
    hosts: [],
    keepAlive: 15_000,
    drainTime: 10_000,
    rateLimits: {},
    limits: {
      body: 16 * 1024 ** 2,
      event: 16 * 1024 ** 2,
      headerTime: 10_000,
      bodyTime: 30_000,
      requestTime: 600_000,
      idleTime: 1_800_000,
      sessions: 10_000,
      sessionsPerPrincipal: 1000,
      streams: 10_000,
      parked: 1000,
      parkTime: 300_000,
      replayEvents: 256,
      replayBytes: 1024 ** 2,
      buffer: 4 * 1024 ** 2,
      stallTime: 60_000,
    },
  })
  const [route] = routes as [McpRoute]
  t.match(route, {
    name: 'a',
    path: { text: '/a' },
    clients: ['sse', 'streamable', 'stateless', 'rpc'],
  })
  t.equal(route.messages, undefined)
  const { url, ...options } = route.backend
  t.equal(url.text, 'http://b')
  t.strictSame(options, {
    dialect: 'auto',
    messages: undefined,
    headers: {},
    stream: 'auto',
    endpointTime: 5000,
    connectTime: 10_000,
    wakeTime: 60_000,
    origins: [],
    repair: Object.fromEntries(ruleTable.map(({ name, on }) => [name, on])),
  })
})

t.test('the configuration is frozen all the way down', async (t) => {
  const config = loaded(backend('headers: { x-user: "{user}" }'))
  const frozen = (value: unknown): boolean =>
    typeof value !== 'object' ||
    value === null ||
    (Object.isFrozen(value) && Object.values(value).every(frozen))
  t.ok(frozen(config))
})

t.test('values are read into what the program uses', async (t) => {
  const config = loaded(
    file(`
publicUrl: https://h.example/prefix/
admin: false
origins: ["*", "HTTPS://A.example:443/", "vscode-webview://Abc"]
hosts: [Tunnel.Example, "[::1]"]
drainTime: 0
limits: { body: 1MB, idleTime: 500ms }`),
  )
  t.match(config, {
    publicUrl: 'https://h.example/prefix',
    admin: false,
    origins: ['*', 'https://a.example', 'vscode-webview://abc'],
    hosts: ['tunnel.example', '[::1]'],
    drainTime: 0,
    limits: { body: 1_000_000, idleTime: 500, event: 16_777_216 },
  })
})

t.test('a passthrough route has a path, a URL and nothing else', async (t) => {
  const config = loaded('routes: [{ name: a, path: /*, passthrough: https://b/ }]')
  t.strictSame(Object.keys(config.routes[0] ?? {}), ['name', 'path', 'passthrough'])
  t.match(config.routes[0], { path: { rest: true }, passthrough: 'https://b' })
})

t.test('every problem is reported at once, in the order of the file', async (t) => {
  const text = `listen: { hots: 127.0.0.1, port: 70000 }
publicUrl: foo
keepAlive: 15
routes:
  - name: a
    path: mcp
    backnd: { url: http://b }
  - name: a
    path: /b
    backend:
      url: foo
      dialect: websocket
      headers: { x: "\${NOWHERE}" }
`
  t.strictSame(problems(text), [
    'proxy.yaml:1:11: listen.hots: unknown key "hots"; did you mean "host"?',
    'proxy.yaml:1:34: listen.port: must be at most 65535',
    'proxy.yaml:2:12: publicUrl: not an absolute URL: "foo"',
    'proxy.yaml:3:12: keepAlive: 15 has no unit; write 500ms, 15s, 10m or 1h',
    'proxy.yaml:5:5: routes[0]: needs either "backend" (an MCP server) or "passthrough" (any other server)',
    'proxy.yaml:6:11: routes[0].path: a path must begin with "/": "mcp"',
    'proxy.yaml:7:5: routes[0].backnd: unknown key "backnd"; did you mean "backend"?',
    'proxy.yaml:8:11: routes[1].name: routes[0] is named "a" too; names must be unique',
    'proxy.yaml:11:12: routes[1].backend.url: not an absolute URL: "foo"',
    'proxy.yaml:12:16: routes[1].backend.dialect: expected one of auto, sse, streamable, stateless, rpc but found "websocket"',
    'proxy.yaml:13:21: routes[1].backend.headers.x: the environment variable NOWHERE is not set and has no default',
  ])
})

t.test('problems say what was expected, found and meant', async (t) => {
  const cases: [string, RegExp][] = [
    ['', /^proxy.yaml:1:1: routes: missing$/],
    ['- a', /: expected a map but found a list$/],
    ['routes: []', /: routes: must have at least one entry$/],
    [file('listen: { port: x }'), /listen.port: expected a number but found a text/],
    [file('listen: { port: 1.5 }'), /listen.port: expected a whole number but found a number/],
    [file('listen: { host: "" }'), /listen.host: must not be empty/],
    [file('admin: true'), /admin: expected false or a map/],
    [file('admin: { hst: a }'), /admin.hst: unknown key "hst"; did you mean "host"\?/],
    [
      file('log: { level: wran }'),
      /log.level: expected one of .* found "wran"; did you mean "warn"\?/,
    ],
    [file('store: { type: redis }'), /store: needs one of "url", "cluster" and "sentinels"/],
    [file('store: { type: disk }'), /store.type: expected one of memory, redis but found "disk"/],
    [
      file('store: { url: "redis://h" }'),
      /store.url: "url" means something only with "type: redis"/,
    ],
    [
      file('store: { type: redis, url: "redis://h", cluster: ["redis://h"] }'),
      /store: has "url" and "cluster", which exclude each other/,
    ],
    [
      file('store: { type: redis, sentinels: ["redis://h"] }'),
      /store: "sentinels" and "sentinelName" belong together/,
    ],
    [file('store: { type: redis, url: "http://h" }'), /store.url: not a URL like redis:/],
    [
      file('store: { type: redis, url: "redis://:pass@h/one" }'),
      /store.url: the path of a Redis URL is the number of its database$/,
    ],
    [file('store: { type: redis, url: "redis://h", password: 1 }'), /password: expected a text in/],
    [file('store: { type: redis, url: "redis://h", prefix: "a b" }'), /store.prefix: a prefix is/],
    [file('limits: { sessions: 0 }'), /limits.sessions: must be at least 1/],
    [file('limits: { body: 16 }'), /limits.body: 16 has no unit; write 64KiB/],
    [file('keepAlive: 0'), /keepAlive: must be more than 0/],
    [file('keepAlive: 0s'), /keepAlive: must be more than 0/],
    [file('keepAlive: 600h'), /keepAlive: must be less than 24 days/],
    [file('publicUrl: { a: b }'), /publicUrl: expected a text but found a map; .* needs quotes/],
    [file('publicUrl: https://h/?a'), /publicUrl: this URL must not carry a query/],
    [file('origins: [example.com]'), /origins\[0\]: not an origin like/],
    [file('origins: ["https://a/b"]'), /origins\[0\]: not an origin like/],
    [file('hosts: ["a:80"]'), /hosts\[0\]: not a host name without scheme and port/],
    [file('constructor: 1'), /constructor: unknown key "constructor"/],
    [
      backend('dialect: websocket'),
      /dialect: expected one of auto, sse, streamable, stateless, rpc/,
    ],
    [backend('origins: ["*"]'), /origins\[0\]: not an origin/],
    [
      backend('repair: { Indented_Fields: true }'),
      /repair.*: unknown key "Indented_Fields"; did you mean "indented-field"\?/,
    ],
    [backend('repair: { field-case: 1 }'), /repair\.\S+: expected true or false/],
  ]
  for (const [text, problem] of cases) t.match(problems(text).join('\n'), problem, text)
})

t.test('a syntax error is reported once per line, and alone', async (t) => {
  t.strictSame(problems('bad: 1\nroutes: [\n'), [
    'proxy.yaml:3:1: flow sequence in block collection must be sufficiently indented and end with a ]',
  ])
  t.match(problems('a: 1\na: 2'), ['proxy.yaml:2:1: map keys must be unique'])
  const [first, ...more] = problems('routes: [{ path: /{a}, name: b }]')
  t.match(first, /needs quotes/)
  t.strictSame(more, [])
})

t.test('variables are put in before values are checked', async (t) => {
  const config = loaded(
    `listen: { host: "\${HOST:-0.0.0.0}", port: "\${PORT}" }
admin: \${ADMIN}
publicUrl: https://\${NAME}.\${ZONE:-example}
routes:
  - name: \${NUMBER}
    path: /$\${x}
    backend:
      url: \${URL}
      repair: { field-case: "\${OFF}" }
`.replace('/$${x}', '/a'),
    { PORT: '0', ADMIN: 'false', NAME: 'n', ZONE: '', NUMBER: '12', URL: 'http://b', OFF: 'false' },
  )
  t.match(config, {
    listen: { host: '0.0.0.0', port: 0 },
    admin: false,
    publicUrl: 'https://n.example',
    routes: [{ name: '12', backend: { url: { text: 'http://b' } } }],
  })
  t.match((config.routes[0] as McpRoute).backend.repair, {
    'field-case': false,
    'indented-field': true,
  })
})

t.test(
  'header values come from text, variables and files; only text takes parameters',
  async (t) => {
    const read: string[] = []
    const text = backend(`headers:
  X-User: "{user}"
  x-env: \${TOKEN}
  x-escaped: $\${{a}}
  authorization: { file: "\${DIR}/token" }`)
    const result = loadConfig(
      text,
      '/etc/causeway/proxy.yaml',
      { TOKEN: 'a{user}', DIR: 'secrets' },
      (path) => {
        read.push(path)
        return 'Bearer {user}\n'
      },
    )
    t.ok(result.ok)
    t.strictSame(read, ['/etc/causeway/secrets/token'])
    const headers = result.ok ? (result.config.routes[0] as McpRoute).backend.headers : {}
    t.strictSame(
      Object.fromEntries(Object.entries(headers).map(([name, { parts }]) => [name, parts])),
      {
        'x-user': [{ parameter: 'user' }],
        'x-env': ['a{user}'],
        'x-escaped': ['${a}'],
        authorization: ['Bearer {user}'],
      },
    )
  },
)

t.test('no problem shows a header value', async (t) => {
  const cases = [
    'headers: { x: "s3cret{" }',
    'headers: { x: "s3cret{s3cret}" }',
    'headers: { x: "s3cret\\r\\nx: y" }',
    'headers: { x: "s3cret\u20ac" }',
    'headers: { x: ["s3cret"] }',
    'headers: { x: "s3cret ${NOWHERE}" }',
    'headers: { x: "s3cret ${" }',
    'headers: { x: "s3cret", X: "s3cret" }',
    'headers: { host: "s3cret" }',
    'headers: { x: { file: "a" } }',
    'headers: { x: "${BAD}" }',
  ]
  for (const more of cases) {
    const found = problems(backend(more), { BAD: 's3cret\n' }, () => 's3cret\0')
    t.ok(found.length > 0, more)
    t.notMatch(found.join('\n'), /s3cret/, more)
  }
  t.notMatch(problems(backend('origins: []').replace('http://b', 'http://u:s3cret@b')), /s3cret/)
})

t.test('a header must be legal and no business of the connection', async (t) => {
  const cases: [string, RegExp][] = [
    ['{ "a b": x }', /not a header name: "a b"/],
    ['{ "": x }', /not a header name: ""/],
    ['{ Connection: x }', /"Connection" belongs to the connection/],
    ['{ host: x }', /belongs to the connection/],
    ['{ content-length: "1" }', /belongs to the connection/],
    ['{ Transfer-Encoding: x }', /belongs to the connection/],
    ['{ a: x, A: y }', /headers.A: the header "a" is set twice/],
    ['{ a: 5 }', /expected a text in quotes or \{ file: path \}/],
    ['{ a: { file: /x/y } }', /headers.a: cannot read the file "\/x\/y"/],
  ]
  for (const [headers, problem] of cases) {
    const found = problems(backend(`headers: ${headers}`))
    t.match(found, [problem], headers)
    t.equal(found.length, 1, headers)
  }
})

t.test('a backend URL is absolute, with parameters in path and query only', async (t) => {
  const good = ['http://b', 'https://b/{user}/x-{user}?u={user}', 'HTTP://b:81/', 'http://[::1]/a']
  const bad: Record<string, RegExp> = {
    '/relative': /not an absolute URL/,
    'b:80/x': /not an absolute URL/,
    'ftp://b': /not an http or https URL: "ftp:\/\/b"/,
    'http:b': /not an absolute URL/,
    'http://{user}/': /path and the query only/,
    'http://b{user}/': /path and the query only/,
    'http://b:{user}/': /not an absolute URL|query only/,
    '{user}://b/': /path and the query only|not an http/,
    'http://u:p@b/': /user name or password/,
    'http://b/#x': /fragment/,
    'http://b/a b': /white space/,
    'http://b/a/../c': /"\." or "\.\."/,
    'http://b/{nobody}': /uses \{nobody\} that the route's path does not have; it has \{user\}/,
    'http://b/{': /opens no parameter/,
  }
  const withUrl = (url: string): string => backend('').replace('http://b/x', JSON.stringify(url))
  for (const url of good) t.strictSame(problems(withUrl(url)), [], url)
  for (const [url, problem] of Object.entries(bad)) t.match(problems(withUrl(url)), [problem], url)
})

t.test('a place for messages is a path or an absolute URL', async (t) => {
  for (const text of ['/m/{user}?x', 'http://b/m/{user}']) {
    t.strictSame(problems(backend(`messages: "${text}"`)), [], text)
  }
  for (const text of ['messages', '//evil/m', '/a#b', '/a/../b', 'ftp://b/']) {
    t.equal(problems(backend(`messages: "${text}"`)).length, 1, text)
  }
})

t.test('an anchor that contains itself or does not exist is a problem, not a crash', async (t) => {
  t.match(problems(file('x: &a [*a]')).join(), /nested too deeply/)
  t.match(problems('routes: *nowhere').join(), /nothing is marked "&nowhere"/)
  const shared = `routes:
  - { name: a, path: /a, backend: &b { url: http://b } }
  - { name: b, path: /b, backend: *b }`
  t.match(loaded(shared).routes, [{ name: 'a' }, { backend: { url: { text: 'http://b' } } }])
})

t.test('a backend by itself makes a configuration', async (t) => {
  t.match(configForBackend({ backend: 'http://b/sse' }), {
    ok: true,
    config: {
      admin: false,
      listen: { host: '127.0.0.1', port: 8080 },
      routes: [{ path: { text: '/mcp' }, backend: { url: { text: 'http://b/sse' } } }],
    },
  })
  t.match(configForBackend({ backend: 'http://b/{u}', path: '/{u}', port: 0, host: '0.0.0.0' }), {
    ok: true,
    config: { listen: { host: '0.0.0.0', port: 0 }, routes: [{ path: { text: '/{u}' } }] },
  })
  const result = configForBackend({ backend: 'foo' })
  t.equal(result.ok, false)
  if (!result.ok) {
    t.strictSame(
      result.problems.map((problem) => formatProblem('causeway', problem)),
      ['causeway: routes[0].backend.url: not an absolute URL: "foo"'],
    )
  }
})
