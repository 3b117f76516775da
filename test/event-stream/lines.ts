import t from 'tap'
import { createLines } from '../../src/event-stream/lines.ts'
import { everyByte, randomCuts, whole } from '../fixtures/split.ts'

const read = (chunks: Iterable<Uint8Array>) => {
  const found: [string, number][] = []
  const lines = createLines({
    line: (content, bytes) => found.push([content, bytes]),
    waits() {},
    skip: (_text, start) => start,
  })
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
  const lines = createLines({
    line: (content) => found.push(content),
    waits() {},
    skip: (_text, start) => start,
  })
  lines.feed(Buffer.from('a\r'))
  t.same(found, ['a'])
  lines.feed(Buffer.from('\nb\n'))
  t.same(found, ['a', 'b'])
})

/** Lines that have been heard, and what hears them. */
const listening = () => {
  const found: [string, number][] = []
  const grown: number[] = []
  const lines = createLines({
    line: (content, bytes) => found.push([content, bytes]),
    waits: () => grown.push(lines.waiting),
    skip: (_text, start) => start,
  })
  return { found, grown, lines }
}

t.test('a line under way can be given away, wherever its last chunk was cut', async (t) => {
  const before = Buffer.from('a: é\r\n')
  const line = Buffer.from('data: é☃😀\u2028 \\\u0000x')
  for (let at = 0; at <= line.length; at++) {
    const { found, lines } = listening()
    lines.feed(Buffer.concat([before, line.subarray(0, at)]))
    t.same(Buffer.from(lines.giveUp()), line.subarray(0, at), `the first ${at} bytes`)
    t.equal(lines.waiting, 0)
    lines.feed(Buffer.from('é\ndata: ☃\n'))
    t.same(found.slice(1), [
      ['é', 2],
      ['data: ☃', 9],
    ])
  }
})

t.test('it may have come in many chunks', async (t) => {
  const { grown, lines } = listening()
  const pieces = ['da', 'ta', ': é', '☃', '😀'].map((text) => Buffer.from(text))
  for (const piece of pieces) lines.feed(piece)
  t.same(grown, [2, 4, 8, 11, 15])
  t.same(Buffer.from(lines.giveUp()), Buffer.concat(pieces))
  t.same(Buffer.from(lines.giveUp()), Buffer.alloc(0), 'once')
})

t.test('what was given away can be fed again, as if nothing had happened', async (t) => {
  const text = Buffer.from('\uFEFFdata: é☃😀\r\n\uFEFFb\n')
  for (let at = 0; at <= text.length; at++) {
    const { found, lines } = listening()
    lines.feed(text.subarray(0, at))
    // A mark that is half here is no line yet.
    if (at > 2) lines.feed(lines.giveUp())
    lines.feed(text.subarray(at))
    lines.end()
    t.same(
      found,
      [
        ['data: é☃😀', 15],
        ['\uFEFFb', 4],
      ],
      `after ${at} bytes`,
    )
  }
})

t.test('a line end that was half seen still belongs to the line before', async (t) => {
  const { found, lines } = listening()
  lines.feed(Buffer.from('a\r'))
  t.equal(lines.giveUp().length, 0)
  lines.feed(Buffer.from('\nb\r\n'))
  t.same(found, [
    ['a', 1],
    ['b', 1],
  ])
})

t.test('whoever knows what follows may skip it, but only where a line begins', async (t) => {
  const found: string[] = []
  const offers: string[] = []
  const lines = createLines({
    line: (content) => found.push(content),
    waits() {},
    skip(text, start) {
      offers.push(text.slice(start))
      let at = start
      while (text.startsWith('skip\n', at)) at += 5
      return at
    },
  })
  lines.feed(Buffer.from('skip\nskip\na\n\nskip\nb'))
  lines.feed(Buffer.from('skip\n\r'))
  lines.feed(Buffer.from('\nskip\nc\n'))
  t.same(found, ['a', '', 'bskip', '', 'c'])
  t.same(offers, ['skip\nskip\na\n\nskip\nb', 'skip\nb', 'skip\nc\n'])
})
