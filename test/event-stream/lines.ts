import t from 'tap'
import { createLines } from '../../src/event-stream/lines.ts'
import { everyByte, randomCuts, whole } from '../fixtures/split.ts'

const read = (chunks: Iterable<Uint8Array>) => {
  const found: [string, number][] = []
  const lines = createLines(
    (content, bytes) => found.push([content, bytes]),
    () => {},
  )
  for (const chunk of chunks) lines.feed(chunk)
  lines.end()
  return found
}

t.test('every kind of line end ends one line, and lines are measured in bytes', async (t) => {
  const cases: [text: string, lines: [string, number][]][] = [
    [
      'a\nb\r\nc\rd',
      [
        ['a', 1],
        ['b', 1],
        ['c', 1],
        ['d', 1],
      ],
    ],
    [
      'a\n\nb\r\n\r\nc\r\r',
      [
        ['a', 1],
        ['', 0],
        ['b', 1],
        ['', 0],
        ['c', 1],
        ['', 0],
      ],
    ],
    ['é☃😀x\n', [['é☃😀x', 10]]],
    [
      '\uFEFFa\n\uFEFFb\n',
      [
        ['a', 1],
        ['\uFEFFb', 4],
      ],
    ],
  ]
  for (const [text, lines] of cases) {
    for (const cut of [whole, everyByte, randomCuts]) {
      t.same(read(cut(Buffer.from(text))), lines, JSON.stringify(text))
    }
  }
})

t.test('a CR ends its line before anything follows it', async (t) => {
  const found: string[] = []
  const lines = createLines(
    (content) => found.push(content),
    () => {},
  )
  lines.feed(Buffer.from('a\r'))
  t.same(found, ['a'])
  lines.feed(Buffer.from('\nb\n'))
  t.same(found, ['a', 'b'])
})
