import t from 'tap'
import {
  expandHeader,
  expandPath,
  literalText,
  matchPath,
  parsePathPattern,
  parseTemplate,
  splitPath,
  type PathPattern,
  type Template,
} from '../../src/config/template.ts'

function template(text: string): Template {
  const parsed = parseTemplate(text)
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.template
}

function pattern(text: string): PathPattern {
  const parsed = parsePathPattern(text)
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.pattern
}

t.test('a template is cut at its parameters, each of which is named once', async (t) => {
  const parsed = template('/a/{user}/{client-id}?u={user}&b={{x}}')
  t.strictSame(parsed.parameters, ['user', 'client-id'])
  t.strictSame(parsed.parts, [
    '/a/',
    { parameter: 'user' },
    '/',
    { parameter: 'client-id' },
    '?u=',
    { parameter: 'user' },
    '&b={x}',
  ])
  t.strictSame(template('').parts, [])
})

t.test('a brace that belongs to no parameter is refused by place, without its text', async (t) => {
  for (const text of [
    'secret{',
    'secret{}',
    'secret{1a}',
    'secret{a b}',
    'secret{__proto__}',
    'secret}',
  ]) {
    const parsed = parseTemplate(text)
    t.match(parsed, { ok: false, reason: /^character 7: / }, text)
    t.notMatch(parsed, { reason: /secret/ }, text)
  }
})

t.test('text made literal comes out as it was', async (t) => {
  for (const text of ['', 'a{b}c', '{{', '}{', 'plain']) {
    t.equal(expandHeader(template(literalText(text)), {}), text)
  }
})

t.test('a value stays inside its segment or its piece of the query', async (t) => {
  const cases: Record<string, string> = {
    'plain-1.2_~': 'plain-1.2_~',
    'a/b': 'a%2Fb',
    'a\\b': 'a%5Cb',
    'a?b#c': 'a%3Fb%23c',
    '%2e%2e': '%252e%252e',
    'a&b=c;d': 'a%26b%3Dc%3Bd',
    'a b': 'a%20b',
    'a\r\n\0b': 'a%0D%0A%00b',
    'é€😀': '%C3%A9%E2%82%AC%F0%9F%98%80',
    '...': '...',
    '{x}': '%7Bx%7D',
  }
  for (const [value, encoded] of Object.entries(cases)) {
    const text = expandPath(template('http://h/p/{v}/q?v={v}'), { v: value })
    t.equal(text, `http://h/p/${encoded}/q?v=${encoded}`)
    const url = new URL(text)
    t.equal(url.pathname, `/p/${encoded}/q`, 'and URL parsers leave it where it is')
    t.equal(decodeURIComponent(url.pathname.slice(3, -2)), value)
    t.equal(url.searchParams.get('v'), value)
    t.equal(url.hash, '')
  }
})

t.test('values that no encoding can keep in place are refused', async (t) => {
  const cases: [string, Record<string, string>][] = [
    ['/a/{x}', {}],
    ['/a/{x}', { x: '' }],
    ['/a/{x}/b', { x: '.' }],
    ['/a/{x}/b', { x: '..' }],
    ['/a/{x}', { x: '..' }],
    ['/a/{x}?q=1', { x: '..' }],
    ['/a/{x}{y}', { x: '.', y: '.' }],
    ['/a/.{x}', { x: '.' }],
    ['/a/%2e{x}', { x: '.' }],
    ['/a/{x}', { x: '\ud800' }],
    ['/a/{constructor}', {}],
  ]
  for (const [text, values] of cases) {
    t.throws(() => expandPath(template(text), values), { code: 'ROUTE_UNKNOWN', status: 404 }, text)
  }
  t.equal(expandPath(template('/a?x={x}'), { x: '..' }), '/a?x=..', 'dots mean nothing in a query')
})

t.test('a header carries every value apart from all others', async (t) => {
  const cases: Record<string, string> = {
    alice: 'alice',
    'a b': 'a b',
    é: 'é',
    ' alice ': '%20alice%20',
    '50%': '50%25',
    '%41': '%2541',
    Łukasz: '%C5%81ukasz',
    '😀': '%F0%9F%98%80',
    '"a",b': '"a",b',
  }
  for (const [value, expected] of Object.entries(cases)) {
    t.equal(expandHeader(template('{v}'), { v: value }), expected)
  }
  t.equal(expandHeader(template('u={v}; x'), { v: 'a' }), 'u=a; x')
})

t.test('a header takes no controls and no empty value', async (t) => {
  for (const value of ['', 'a\rb', 'a\nb', 'a\0b', 'a\tb', 'a\x7f', 'a\x85', '\udc00']) {
    t.throws(() => expandHeader(template('{v}'), { v: value }), { code: 'ROUTE_UNKNOWN' })
  }
})

t.test('a path pattern is made of literal and parameter segments', async (t) => {
  t.match(pattern('/mcp/{user}/sse/'), {
    segments: ['mcp', { parameter: 'user' }, 'sse'],
    rest: false,
  })
  t.match(pattern('/'), { segments: [], rest: false })
  t.match(pattern('/*'), { segments: [], rest: true })
  t.match(pattern('/api/*'), { segments: ['api'], rest: true })
  t.match(pattern('/a%20b/{{c}}'), { segments: ['a b', '{c}'] })
})

t.test('paths that have no one reading are refused', async (t) => {
  const cases: Record<string, RegExp> = {
    '': /must begin with/,
    mcp: /must begin with/,
    '/a//b': /empty segment/,
    '//a': /empty segment/,
    '/a?b': /must not hold "\?"/,
    '/a#b': /must not hold "#"/,
    '/a b': /must not hold " "/,
    '/a\\b': /must not hold/,
    '/a/../b': /"\.\." as a segment/,
    '/a/%2e': /as a segment/,
    '/a/%zz': /percent-encoding/,
    '/a/*/b': /only as the last segment/,
    '/a*': /only as the last segment/,
    '/a/x{b}': /whole segment/,
    '/a/{b}{c}': /whole segment/,
    '/{a}/{a}': /occurs twice/,
    '/{a': /opens no parameter/,
  }
  for (const [text, reason] of Object.entries(cases)) {
    t.match(parsePathPattern(text), { ok: false, reason }, text)
  }
})

t.test('a request path is cut and decoded once, or matches nothing', async (t) => {
  const cases: Record<string, string[] | undefined> = {
    '/': [],
    '/a/b': ['a', 'b'],
    '/a/b/': ['a', 'b'],
    '/a//': ['a', ''],
    '/%2561': ['%61'],
    '/a%2Fb': ['a/b'],
    '/%E2%82%AC': ['€'],
    '/...': ['...'],
    '': undefined,
    '*': undefined,
    'http://h/': undefined,
    '/%': undefined,
    '/%ff': undefined,
    '/a/../b': undefined,
    '/a/%2e%2E/b': undefined,
    '/a/./b': undefined,
    '/a/..%2fb': undefined,
    '/a/x%5c..': undefined,
  }
  for (const [path, segments] of Object.entries(cases)) {
    t.strictSame(splitPath(path), segments, path)
  }
})

t.test('a parameter takes one whole, non-empty segment', async (t) => {
  const match = (text: string, path: string) => matchPath(pattern(text), splitPath(path) ?? [])
  t.strictSame(match('/a/{b}/c', '/a/x%20y/c/'), { b: 'x y' })
  t.equal(match('/a/{b}', '/a/'), undefined)
  t.equal(match('/a/{b}/c', '/a//c'), undefined)
  t.equal(match('/a/{b}', '/a/x%2Fy'), undefined)
  t.equal(match('/a/{b}', '/a/x/y'), undefined)
  t.equal(match('/a/{b}', '/A/x'), undefined)
  t.strictSame(match('/a/*', '/a'), {})
  t.strictSame(match('/a/*', '/a/x%2Fy/z'), {})
  t.equal(match('/a/*', '/ab'), undefined)
})
