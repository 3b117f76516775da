import t from 'tap'
import type { Test } from 'tap'
import { createEnvelopeScan } from '../../src/protocol/envelope-scan.ts'
import { everyByte, randomCuts, whole } from '../fixtures/split.ts'

interface Found {
  readonly state: 'open' | 'closed' | 'none'
  readonly members: readonly (readonly [string, string])[]
  readonly repeats: boolean
}

function read(chunks: Iterable<Uint8Array>): Found {
  const scan = createEnvelopeScan()
  for (const chunk of chunks) scan.push(chunk)
  return { state: scan.state, members: [...scan.members], repeats: scan.repeats }
}

const cuts = { whole, 'split at every byte': everyByte, 'in random cuts': randomCuts }

type Members = Found['members']
type Case = readonly [text: string, state: Found['state'], members: Members, repeats?: boolean]

/** Each text however it is cut, and in two at every place. */
function check(t: Test, cases: readonly Case[]): void {
  for (const [text, state, members, repeats = false] of cases) {
    const expected: Found = { state, members, repeats }
    const bytes = Buffer.from(text)
    const name = JSON.stringify(text.slice(0, 80))
    for (const [how, cut] of Object.entries(cuts))
      t.same(read(cut(bytes)), expected, `${name}, ${how}`)
    if (bytes.length > 400) continue
    const odd = Array.from(bytes, (_, at) => at).filter((at) => {
      const found = read([bytes.subarray(0, at), new Uint8Array(), bytes.subarray(at)])
      return JSON.stringify(found) !== JSON.stringify(expected)
    })
    t.same(odd, [], `${name}, in two`)
  }
}

t.test('members of an object, in their order, short values with their text', async (t) => {
  check(t, [
    ['{}', 'closed', []],
    ['{"a":1}', 'closed', [['a', '1']]],
    [
      '\t{ "jsonrpc" : "2.0" ,\r\n"id":\n-1.0e+3 , "x":true,"y":null}',
      'closed',
      [
        ['jsonrpc', '"2.0"'],
        ['id', '-1.0e+3'],
        ['x', 'true'],
        ['y', 'null'],
      ],
    ],
    [
      '{"":"","id":" a b "}',
      'closed',
      [
        ['', '""'],
        ['id', '" a b "'],
      ],
    ],
  ])
})

t.test('objects and arrays have no text, and nothing in them is a member', async (t) => {
  const hidden = '{"id":1,"b":[{"id":2},"]}",[[]]],"c":{"d":{"id":3}}}'
  check(t, [
    [
      `{"result":${hidden},"id":7}`,
      'closed',
      [
        ['result', ''],
        ['id', '7'],
      ],
    ],
    [
      `{"a":[],"b":{},"c":[1,{"id":[":"]}],"id":7}`,
      'closed',
      [
        ['a', ''],
        ['b', ''],
        ['c', ''],
        ['id', '7'],
      ],
    ],
  ])
})

t.test('a value with brackets behind it is none of which the text is known', async (t) => {
  check(t, [
    ['{"id":7[8]}', 'closed', [['id', '']]],
    ['{"id":"a"{"id":7}}', 'closed', [['id', '']]],
  ])
})

t.test('brackets, quotes and commas within strings are text', async (t) => {
  const value = String.raw`"}],{[:\"\\"`
  check(t, [
    [
      `{"s":${value},"id":"x\\\\"}`,
      'closed',
      [
        ['s', value],
        ['id', String.raw`"x\\"`],
      ],
    ],
    [
      `{"r":{"s":${value}},"id":1}`,
      'closed',
      [
        ['r', ''],
        ['id', '1'],
      ],
    ],
  ])
})

t.test('a run of backslashes ends a string or does not, wherever it is cut', async (t) => {
  for (let count = 0; count < 9; count++) {
    const run = '\\'.repeat(count)
    const ends = count % 2 === 0
    const members: Members = ends
      ? [
          ['a', `"${run}"`],
          ['id', '1'],
        ]
      : [['a', '']]
    check(t, [
      [`{"a":"${run}","id":1}`, ends ? 'closed' : 'open', members],
      [
        `{"r":["${run}"],"id":1}`,
        ends ? 'closed' : 'open',
        ends
          ? [
              ['r', ''],
              ['id', '1'],
            ]
          : [['r', '']],
      ],
    ])
  }
  // Longer than any chunk, so that it begins and ends in others.
  const long = '\\'.repeat(1000)
  check(t, [
    [`{"a":"${long}"}`, 'closed', [['a', '']]],
    [`{"a":"${long}\\"}`, 'open', [['a', '']]],
  ])
})

t.test('keys are told by what they say, values by how they are written', async (t) => {
  check(t, [
    [
      String.raw`{"\u0069\u0064":"\u0061","é☃😀":"é☃😀","a\"b":1,"\ud83d\ude00x":2}`,
      'closed',
      [
        ['id', String.raw`"\u0061"`],
        ['é☃😀', '"é☃😀"'],
        ['a"b', '1'],
        ['😀x', '2'],
      ],
    ],
    // No keys: a word, a string with a raw line break, two strings.
    ['{a:1,"b\nc":2,"d" "e":3,"id":4}', 'closed', [['id', '4']]],
  ])
})

t.test('what is too long is not kept, and the rest is found all the same', async (t) => {
  const [fits, long] = ['k'.repeat(254), 'k'.repeat(255)]
  check(t, [
    [
      `{"${fits}":"${fits}","id":1}`,
      'closed',
      [
        [fits, `"${fits}"`],
        ['id', '1'],
      ],
    ],
    [`{"${long}":1,"id":1}`, 'closed', [['id', '1']]],
    [
      `{"s":"${long}","id":1}`,
      'closed',
      [
        ['s', ''],
        ['id', '1'],
      ],
    ],
    [
      `{"n":${'1'.repeat(256)},"m":${'1'.repeat(257)},"id":1}`,
      'closed',
      [
        ['n', '1'.repeat(256)],
        ['m', ''],
        ['id', '1'],
      ],
    ],
    // Bytes are counted, not characters.
    [`{"${'é'.repeat(127)}":1,"${'é'.repeat(128)}":2}`, 'closed', [['é'.repeat(127), '1']]],
  ])
})

t.test(
  'a member that stands twice is noticed, in whatever spelling, at the top only',
  async (t) => {
    check(t, [
      ['{"id":1,"id":2}', 'closed', [['id', '2']], true],
      ['{"id":1,"\\u0069d":{}}', 'closed', [['id', '']], true],
      [
        '{"id":1,"ID":2}',
        'closed',
        [
          ['id', '1'],
          ['ID', '2'],
        ],
        true,
      ],
      [
        '{"Éa":1,"éA":',
        'open',
        [
          ['Éa', '1'],
          ['éA', ''],
        ],
        true,
      ],
      [
        '{"id":1,"params":{"id":1,"id":2}}',
        'closed',
        [
          ['id', '1'],
          ['params', ''],
        ],
      ],
    ])
  },
)

t.test('a value has its text when it is over, and not before', async (t) => {
  const scan = createEnvelopeScan()
  const push = (text: string): string | undefined => {
    scan.push(Buffer.from(text))
    return scan.members.get('id')
  }
  t.equal(push('{"id"'), undefined)
  t.equal(push(' : 1'), '')
  t.equal(push('2'), '')
  t.equal(push(' '), '')
  t.equal(push(','), '12')
  t.equal(push('"result":{"id":3}'), '12')
  t.equal(scan.state, 'open')
  t.equal(push('}'), '12')
  t.equal(scan.state, 'closed')
})

t.test('white space may follow the object, anything else makes it none', async (t) => {
  const id: Members = [['id', '1']]
  check(t, [
    [' \t\r\n{"id":1} \t\r\n', 'closed', id],
    ['{"id":1}x', 'none', id],
    ['{"id":1}\n{"id":2}', 'none', id],
    ['{"id":1}"', 'none', id],
    ['{"id":1}}', 'none', id],
    ['{"id":1}\0', 'none', id],
  ])
  const scan = createEnvelopeScan()
  for (const text of ['{"id":1}', ' x', ' ', '{"id":2}']) scan.push(Buffer.from(text))
  t.equal(scan.state, 'none', 'and it stays none')
  t.same([...scan.members], id)
})

t.test('what is no object is none', async (t) => {
  for (const text of [
    '[{"id":1}]',
    '"{}"',
    '7',
    'null',
    'x{"id":1}',
    '\uFEFF{"id":1}',
    '}',
    '<p>',
  ]) {
    check(t, [[text, 'none', []]])
  }
  check(t, [
    ['', 'open', []],
    [' \n', 'open', []],
  ])
})

t.test('an object that breaks off stays open', async (t) => {
  for (const [text, members] of [
    ['{', []],
    ['{"id"', []],
    ['{"id":"1', [['id', '']]],
    [
      '{"id":1,"r":{}',
      [
        ['id', '1'],
        ['r', ''],
      ],
    ],
    ['{"r":"}', [['r', '']]],
    ['{"r":[}', [['r', '']]],
  ] as const) {
    check(t, [[text, 'open', members]])
  }
})

t.test('random objects have the members that JSON says they have', async (t) => {
  let seed = 3
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return (seed >> 8) % below
  }
  const strings = ['', 'a', 'id', '"', '\\', '\\"', '}', '[', 'é😀', '\u2028', '\ud83d', ' , : ']
  const string = (): string => {
    let text = ''
    for (let count = random(4); count > 0; count--) text += strings[random(strings.length)] ?? ''
    return text
  }
  const value = (depth: number): unknown => {
    const kind = random(depth > 3 ? 4 : 6)
    if (kind === 0) return string()
    if (kind === 1) return random(1000) / 8
    if (kind === 2) return null
    if (kind === 3) return random(2) === 0
    const inner = Array.from({ length: random(4) }, () => [string(), value(depth + 1)] as const)
    return kind === 4 ? inner.map(([, each]) => each) : Object.fromEntries(inner)
  }
  for (let round = 0; round < 300; round++) {
    // One of each letter case, so that nothing stands twice.
    const entries = Array.from({ length: random(6) }, (_, at) => [`${at}${string()}`, value(0)])
    const object = Object.fromEntries(entries) as Record<string, unknown>
    const bytes = Buffer.from(JSON.stringify(object, null, random(2)))
    const members = Object.entries(object).map(([key, each]) => {
      return [key, typeof each === 'object' && each !== null ? '' : JSON.stringify(each)]
    })
    const expected = { state: 'closed', members, repeats: false }
    const right = Object.values(cuts).every((cut) => t.same(read(cut(bytes)), expected))
    if (!right) {
      t.comment(bytes.toString())
      break
    }
  }
})
