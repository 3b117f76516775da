import t from 'tap'
import { oneLine } from '../../src/event-stream/event.ts'
import { createLineBytes } from '../../src/event-stream/line-bytes.ts'

const text = '{\r\n  "a": "x\u2028y\u2029z\u0085 ä â € \u2027 \u00c2",\n "b": "😀\\n"\r}'

const cut = (bytes: Buffer, at: readonly number[]): string => {
  const line = createLineBytes()
  const out: Uint8Array[] = []
  let from = 0
  for (const to of [...at, bytes.length]) {
    out.push(line.push(bytes.subarray(from, to)))
    from = to
  }
  out.push(line.end())
  return Buffer.concat(out).toString()
}

t.test('what comes out is the one line that the text would make, wherever it is cut', async (t) => {
  const bytes = Buffer.from(text)
  const whole = cut(bytes, [])
  t.notMatch(whole, /[\n\r\u0085\u2028\u2029]/)
  t.same(JSON.parse(whole), JSON.parse(text))
  t.equal(whole.replace(/ +/g, ' '), oneLine(text).replace(/ +/g, ' '))
  for (let one = 0; one <= bytes.length; one++) {
    for (const two of [one, one + 1, one + 2])
      t.equal(cut(bytes, [one, two]), whole, `${one} ${two}`)
  }
  t.equal(cut(bytes, [...bytes.keys()]), whole)
})

t.test('a text that ends in the middle of a character is passed on to its last byte', async (t) => {
  const line = createLineBytes()
  const out = Buffer.concat([line.push(Buffer.from([0x41, 0xe2, 0x80])), line.end()])
  t.same([...out], [0x41, 0xe2, 0x80])
})

t.test('chunks with nothing to change are not copied', async (t) => {
  const chunk = Buffer.from('{"a":"bcd"}')
  t.equal(createLineBytes().push(chunk), chunk)
})
