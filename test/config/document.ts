import t from 'tap'
import { readDocument, type Source } from '../../src/config/document.ts'

const source = (more: Partial<Source> = {}): Source => ({
  env: { SET: 'value', EMPTY: '', BRACES: '{x}' },
  readFile: (path) => `contents of ${path}\r\n`,
  file: '/etc/causeway/proxy.yaml',
  isSecret: (path) => path[0] === 'secrets',
  convert: (_, text) => text,
  ...more,
})

function read(text: string, more?: Partial<Source>) {
  const reading = readDocument(text, source(more))
  if (!reading.ok) throw new Error(JSON.stringify(reading.faults))
  return reading
}

t.test('variables are put in as a shell would', async (t) => {
  const cases: Record<string, string> = {
    'a ${SET} b ${SET}': 'a value b value',
    '${EMPTY}': '',
    '${EMPTY:-other}': 'other',
    '${NONE:-other}': 'other',
    '${NONE:-}': '',
    '${SET:-other}': 'value',
    '$${SET}': '${SET}',
    '$SET $ {SET}': '$SET $ {SET}',
    '${BRACES}': '{x}',
  }
  for (const [text, expected] of Object.entries(cases)) {
    t.strictSame(read(JSON.stringify({ a: text })).value, { a: expected }, text)
  }
})

t.test('a variable that cannot be put in leaves nothing behind but a finding', async (t) => {
  const cases: Record<string, RegExp> = {
    '${NONE}': /NONE is not set/,
    '${constructor}': /constructor is not set/,
    '${': /write a variable as/,
    '${a-b}': /write a variable as/,
  }
  for (const [text, message] of Object.entries(cases)) {
    const { value, findings } = read(JSON.stringify({ a: text }))
    t.strictSame(value, { a: undefined }, text)
    t.match(findings, [{ path: ['a'], message }], text)
  }
})

t.test('only a text with a variable is converted', async (t) => {
  const convert: Source['convert'] = (path, text) => `${path.join('.')}=${text}`
  t.strictSame(read('{ a: plain, b: ["${SET}"], c: 1 }', { convert }).value, {
    a: 'plain',
    b: ['b.0=value'],
    c: 1,
  })
})

t.test('a secret is read from a file beside the configuration, and is literal', async (t) => {
  const text = 'secrets: { a: { file: token }, b: { file: "/run/${SET}" }, c: "${BRACES}" }'
  t.strictSame(read(text).value, {
    secrets: {
      a: { file: 'contents of /etc/causeway/token' },
      b: { file: 'contents of /run/value' },
      c: '{{x}}',
    },
  })
})

t.test('a file is read only where a secret may stand', async (t) => {
  const readFile = (): string => t.fail('nothing is to be read') as never
  t.strictSame(read('a: { file: b }', { readFile }).value, { a: { file: 'b' } })
  t.strictSame(read('secrets: { a: { file: b, more: c } }', { readFile }).findings, [])
})

t.test('a file that cannot be read is a finding with the reason', async (t) => {
  const readFile = (): string => {
    throw Object.assign(new Error('secret detail'), { code: 'ENOENT' })
  }
  t.strictSame(read('secrets: { a: { file: b } }', { readFile }).findings, [
    { path: ['secrets', 'a'], message: 'cannot read the file "b" (ENOENT)' },
  ])
})

t.test('a finding is located at its value, its key, or what is around it', async (t) => {
  const { locate } = read('a:\n  b: 1\n  list:\n    - x\n    - y\n')
  const cases: [Parameters<typeof locate>[0], number, number][] = [
    [{ path: ['a', 'b'], message: '' }, 2, 6],
    [{ path: ['a', 'b'], message: '', key: true }, 2, 3],
    [{ path: ['a', 'list', 1], message: '' }, 5, 7],
    [{ path: ['a', 'nothing', 'here'], message: '' }, 2, 3],
    [{ path: [], message: '' }, 1, 1],
  ]
  for (const [finding, line, column] of cases) t.strictSame(locate(finding), { line, column })
})

t.test('a key of any name is only a key', async (t) => {
  const { value } = read('{ __proto__: 1, 5: x }')
  t.strictSame(Object.keys(value as object), ['5', '__proto__'])
  t.match(read('{ ? [a] : b }').findings, [{ message: /a key must be a plain text/ }])
})

t.test('nothing behind a key is nothing at all', async (t) => {
  t.strictSame(read('a:\nb: null\nc: ~').value, { a: undefined, b: undefined, c: undefined })
  t.equal(read('').value, undefined)
})
