import t from 'tap'
import {
  cleanEvent,
  dataStart,
  fieldLine,
  lineEnd,
  valueOf,
} from '../../src/event-stream/fields.ts'

t.test('the four fields and nothing else', async (t) => {
  for (const line of ['event: x', 'data:', 'data', 'id:1', 'retry: 5']) t.match(line, fieldLine)
  for (const line of [' data: x', 'datas: x', 'Data: x', ': data', '']) t.notMatch(line, fieldLine)
})

t.test('one space after the colon is not part of a value', async (t) => {
  t.equal(valueOf('data:  x '), ' x ')
  t.equal(valueOf('data:x:y'), 'x:y')
  t.equal(valueOf('data'), '')
})

t.test('a line ends at the first LF or CR', async (t) => {
  for (const [text, end] of [
    ['ab', -1],
    ['ab\ncd\n', 2],
    ['ab\rcd\n', 2],
    ['ab\ncd\r', 2],
    ['\r\n', 0],
  ] as const) {
    t.equal(lineEnd(Buffer.from(text)), end, JSON.stringify(text))
  }
})

t.test('where the value of a data line begins', async (t) => {
  t.equal(dataStart(Buffer.from('data: {}')), 6)
  t.equal(dataStart(Buffer.from('data:{}')), 5)
  t.equal(dataStart(Buffer.from('event: x')), undefined)
})

t.test('a clean event is one that no rule has anything to say about', async (t) => {
  const read = (text: string, at = 0): (string | undefined)[] | null => {
    cleanEvent.lastIndex = at
    const match = cleanEvent.exec(text)
    return match && [match[1], match[2]]
  }
  t.same(read('data: {"a":1}\n\n'), [undefined, '{"a":1}'])
  t.same(read('event: message\r\nid: 7\r\ndata: {}\r\n\r\n'), ['7', '{}'])
  t.same(read('x\ndata: {}\n\n', 2), [undefined, '{}'])
  for (const odd of [
    'x\ndata: {}\n\n',
    'data: {}\n',
    'data: {}\ndata: {}\n\n',
    'data: []\n\n',
    'event: other\ndata: {}\n\n',
    ' data: {}\n\n',
    'id: \0\ndata: {}\n\n',
    'data: {}\r\r',
  ]) {
    t.equal(read(odd), null, JSON.stringify(odd))
  }
})
