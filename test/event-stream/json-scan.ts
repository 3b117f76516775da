import t from 'tap'
import { createJsonScan } from '../../src/event-stream/json-scan.ts'

t.test('it is told where a JSON text stands, however the text is cut', async (t) => {
  const cases: [text: string, state: string, inString: boolean][] = [
    ['', 'empty', false],
    [' \n', 'empty', false],
    ['{', 'open', false],
    ['{"a":"}', 'open', true],
    ['{"a":"\\"}', 'open', true],
    ['{"a":"\\\\"}', 'closed', false],
    ['[{"a":[]}, {}] \n', 'closed', false],
    ['{} {}', 'none', false],
    ['{}x', 'none', false],
    ['7', 'none', false],
  ]
  for (const [text, state, inString] of cases) {
    const whole = createJsonScan()
    whole.push(text)
    t.equal(whole.state, state, text)
    t.equal(whole.inString, inString, text)
    // An escape is never cut: pieces are lines, and JSON allows no line break inside a string.
    const pieces = createJsonScan()
    for (const piece of text.match(/\\.|[^\\]/gs) ?? []) pieces.push(piece)
    t.equal(pieces.state, state, `piece by piece: ${text}`)
  }
})
