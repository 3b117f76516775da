import t from 'tap'
import type { z } from 'zod'
import {
  baseUrl,
  duration,
  durationOrZero,
  headerMap,
  headerValue,
  hostName,
  origin,
  pathOrUrlTemplate,
  pathPattern,
  size,
  urlTemplate,
} from '../../src/config/values.ts'

const good: [string, z.ZodType, [unknown, unknown][]][] = [
  [
    'duration',
    duration(),
    [
      ['500ms', 500],
      ['1h', 3_600_000],
      ['576h', 2_073_600_000],
    ],
  ],
  [
    'durationOrZero',
    durationOrZero(),
    [
      [0, 0],
      ['0', 0],
      ['0s', 0],
      ['1s', 1000],
    ],
  ],
  [
    'size',
    size(),
    [
      ['1KiB', 1024],
      ['1KB', 1000],
    ],
  ],
  [
    'baseUrl',
    baseUrl(),
    [
      ['https://h//', 'https://h'],
      ['http://h:1/a/', 'http://h:1/a'],
    ],
  ],
  [
    'origin',
    origin(false),
    [
      ['https://H.example:443/', 'https://h.example'],
      ['http://[::1]:80', 'http://[::1]'],
      ['chrome-extension://AbC', 'chrome-extension://abc'],
    ],
  ],
  ['origin or *', origin(true), [['*', '*']]],
  [
    'hostName',
    hostName(),
    [
      ['A.b_c', 'a.b_c'],
      ['[::1]', '[::1]'],
    ],
  ],
]

for (const [name, schema, cases] of good) {
  t.test(`${name} reads what it takes`, async (t) => {
    for (const [input, output] of cases) {
      t.strictSame(schema.safeParse(input).data, output, String(input))
    }
  })
}

const bad: [string, z.ZodType, unknown[]][] = [
  ['duration', duration(), [0, '0', '0s', 5, '5', '5 s', '-1s', '597h', true, null]],
  ['durationOrZero', durationOrZero(), [1, '', '5', '1d', '-0s']],
  ['size', size(), [0, '0', '0B', 1, '1', '1mb', '9007199254740993B']],
  [
    'baseUrl',
    baseUrl(),
    ['', '/a', 'h', 'h:80', 'ws://h', 'http://h?', 'http://h#', 'http://u@h', 'http://h h'],
  ],
  [
    'origin',
    origin(false),
    ['*', 'null', 'h', 'https://h/a', 'https://h?a', 'https://u@h', 'https://'],
  ],
  ['hostName', hostName(), ['', 'a:80', 'http://a', 'a/b', '::1', 'a b']],
  ['pathPattern', pathPattern(), ['', 'a', '/a?b', 5]],
  [
    'urlTemplate',
    urlTemplate(),
    ['/a', 'http://{h}/', 'http://h{x}', 'http://h/{', 'http://h/../a'],
  ],
  ['pathOrUrlTemplate', pathOrUrlTemplate(), ['a', '//h/a', '/a/..', '/a#b', 'ftp://h/']],
  ['headerValue', headerValue, ['a\nb', 'a{', 'a\u20ac', 5, null, {}, { file: 'a\nb' }]],
  ['headerMap', headerMap(), [{ 'a b': 'x' }, { te: 'x' }, { Upgrade: 'x' }, { a: 'x', A: 'y' }]],
]

for (const [name, schema, cases] of bad) {
  t.test(`${name} refuses what it cannot read, once`, async (t) => {
    for (const input of cases) {
      const { error } = schema.safeParse(input)
      t.equal(error?.issues.length, 1, JSON.stringify(input))
    }
  })
}

t.test('templates keep their text and know their parameters', async (t) => {
  t.match(urlTemplate().parse('http://h/{a}?b={b}'), { parameters: ['a', 'b'] })
  t.match(pathOrUrlTemplate().parse('/m/{a}'), { text: '/m/{a}' })
  t.match(pathPattern().parse('/a/{b}'), { parameters: ['b'], rest: false })
})

t.test('header names are lower-cased, file contents are literal', async (t) => {
  const headers = headerMap().parse({ 'X-A': '{a}', 'x-b': { file: '{b}' } })
  t.match(headers, { 'x-a': { parameters: ['a'] }, 'x-b': { parameters: [], parts: ['{b}'] } })
})
