import t from 'tap'
import {
  editObject,
  elements,
  findValue,
  members,
  replaceValue,
} from '../../src/protocol/json-text.ts'
import type { ObjectEdit } from '../../src/protocol/json-text.ts'

t.test('a value is found and replaced, and nothing else changes', async (t) => {
  const cases: [text: string, path: string[], replacement: string, expected: string][] = [
    ['{"id":1}', ['id'], '"x"', '{"id":"x"}'],
    [' { "id" : 1.0 , "a":2 } ', ['id'], '7', ' { "id" : 7 , "a":2 } '],
    ['{"a":{"id":1},"id":2}', ['id'], '3', '{"a":{"id":1},"id":3}'],
    ['{"a":"}{\\"id\\":9","id":2}', ['id'], '3', '{"a":"}{\\"id\\":9","id":3}'],
    ['{"a":"\\\\","id":[1,{"x":"]"}]}', ['id'], '3', '{"a":"\\\\","id":3}'],
    ['{"p":{"_meta":{"t":"a"}}}', ['p', '_meta', 't'], '12', '{"p":{"_meta":{"t":12}}}'],
    ['{"i\\u0064":1}', ['id'], '2', '{"i\\u0064":2}'],
    ['{"id":1,"id":2}', ['id'], '3', '{"id":1,"id":3}'],
    ['{"id":1e400,"n":12345678901234567890}', ['id'], '3', '{"id":3,"n":12345678901234567890}'],
    ['{"id":1}', ['nothing'], '3', '{"id":1}'],
    ['[1]', ['id'], '3', '[1]'],
    ['{"a":[],"b":{},"id":null}', ['id'], '1', '{"a":[],"b":{},"id":1}'],
    ['{}', ['id'], '1', '{}'],
  ]
  for (const [text, path, replacement, expected] of cases) {
    t.equal(replaceValue(text, path, replacement), expected, text)
  }
})

t.test('members and elements agree with JSON.parse on random values', async (t) => {
  let seed = 7
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % below
  }
  const strings = ['', 'a', '"', '\\', '{', '}', ']', 'é', '\u2028', 'a"b\\', ',:']
  const make = (depth: number): unknown => {
    const kind = random(depth > 3 ? 4 : 6)
    if (kind === 0) return null
    if (kind === 1) return random(2) === 0
    if (kind === 2) return (random(2000) - 1000) / 8
    if (kind === 3) return strings[random(strings.length)]
    const size = random(4)
    if (kind === 4) return Array.from({ length: size }, () => make(depth + 1))
    return Object.fromEntries(
      Array.from({ length: size }, (_, i) => [
        `${strings[random(strings.length)]}${i}`,
        make(depth + 1),
      ]),
    )
  }
  let failed = 0
  for (let round = 0; round < 2000; round++) {
    const value = make(0)
    const text = JSON.stringify(value, null, random(3))
    if (Array.isArray(value)) {
      const found = [...elements(text)].map(({ start, end }) => JSON.parse(text.slice(start, end)))
      if (JSON.stringify(found) !== JSON.stringify(value)) failed++
    } else if (typeof value === 'object' && value !== null) {
      const found = [...members(text)].map(({ key, value: { start, end } }) => [
        key,
        JSON.parse(text.slice(start, end)),
      ])
      if (JSON.stringify(Object.fromEntries(found)) !== JSON.stringify(value)) failed++
    }
  }
  t.equal(failed, 0)
})

t.test('a path through a value that is no object leads nowhere', async (t) => {
  t.equal(findValue('{"a":1}', ['a', 'b']), undefined)
  t.equal(findValue('{"a":[{"b":1}]}', ['a', 'b']), undefined)
})

t.test('members of one object are dropped and added, and nothing else changes', async (t) => {
  const cases: [text: string, path: string[], edit: ObjectEdit, expected: string][] = [
    ['{"a":1,"b":2.0}', [], { drop: ['a'] }, '{"b":2.0}'],
    ['{"a":1}', [], { drop: ['a'] }, '{}'],
    ['{"a":1,"b":2,"a":3}', [], { drop: ['a'] }, '{"b":2}'],
    ['{"\\u0061":1,"b":2}', [], { drop: ['a'] }, '{"b":2}'],
    ['{"a":{"a":1},"b":[{"a":2}]}', ['a'], { drop: ['a'] }, '{"a":{},"b":[{"a":2}]}'],
    ['{}', [], { add: { a: '1.0' } }, '{"a":1.0}'],
    ['{ }', [], { add: { a: '1' } }, '{"a":1}'],
    ['{"b":1e400}', [], { add: { a: '[]' } }, '{"a":[],"b":1e400}'],
    ['{"a":1,"b":2}', [], { add: { a: '{}' } }, '{"a":{},"b":2}'],
    ['{"\\u0061":1}', [], { add: { a: '2' } }, '{"a":2}'],
    ['{"a":1,"c":3}', [], { drop: ['a'], add: { b: '2' } }, '{"b":2,"c":3}'],
    ['{"a":1}', [], { add: { 'x"y': '2' } }, '{"x\\"y":2,"a":1}'],
    ['[{"p" : {"q":{"a":1}} }]', [], { drop: ['p'] }, '[{"p" : {"q":{"a":1}} }]'],
    [
      '{"p" : {"q":{"a" : "}" , "b": 1 }} , "z":0}',
      ['p', 'q'],
      { drop: ['b'] },
      '{"p" : {"q":{"a" : "}"}} , "z":0}',
    ],
    ['{"p":{"a":1},"p":{"a":2}}', ['p'], { drop: ['a'] }, '{"p":{"a":1},"p":{}}'],
  ]
  for (const [text, path, edit, expected] of cases) {
    t.equal(editObject(text, path, edit), expected, `${text} ${JSON.stringify(edit)}`)
  }
})

t.test('where there is nothing to change, the text stays as it is', async (t) => {
  const cases: [string, string[], ObjectEdit][] = [
    [' { "a" : 1 } ', [], { drop: ['b'] }],
    [' { "a" : 1 } ', [], {}],
    ['{"a":1}', ['a'], { add: { b: '1' } }],
    ['{"a":null}', ['a'], { add: { b: '1' } }],
    ['{"a":[]}', ['a'], { add: { b: '1' } }],
    ['{"a":"{}"}', ['a'], { add: { b: '1' } }],
    ['{"a":1}', ['b'], { add: { b: '1' } }],
  ]
  for (const [text, path, edit] of cases) {
    t.equal(editObject(text, path, edit), text, `${text} ${JSON.stringify(edit)}`)
  }
})
