import t from 'tap'
import {
  encodeEndpoint,
  encodeMessage,
  encodeRetry,
  oneLine,
} from '../../src/event-stream/event.ts'

t.test('what we write is one line, safe for every reader, and of the same value', async (t) => {
  const cases: [string, string][] = [
    ['{"a":1}', '{"a":1}'],
    ['{\n  "a": 1,\r\n  "b": 2\n}', '{   "a": 1,   "b": 2 }'],
    ['"\u2028\u2029\u0085"', '"\\u2028\\u2029\\u0085"'],
    ['"\\ud83d"', '"\\ufffd"'],
    ['"\\uDE00x"', '"\\ufffdx"'],
    ['"\\ud83d\\ude00"', '"\\ud83d\\ude00"'],
    ['"\\ud83d\\ud83d\\ude00"', '"\\ufffd\\ud83d\\ude00"'],
    ['"\\\\ud83d"', '"\\\\ud83d"'],
    ['"\\\\\\ud83d"', '"\\\\\\ufffd"'],
    ['"😀"', '"😀"'],
    ['"\ud83d"', '"\ufffd"'],
    ['"é☃"', '"é☃"'],
  ]
  for (const [json, expected] of cases) {
    t.equal(oneLine(json), expected, encodeURI(expected))
    t.doesNotThrow(() => JSON.parse(expected))
  }
})

t.test('events have the form that every client reads', async (t) => {
  t.equal(encodeMessage('{"a":\n1}'), 'event: message\ndata: {"a": 1}\n\n')
  t.equal(encodeMessage('{}', '1-2'), 'event: message\nid: 1-2\ndata: {}\n\n')
  t.equal(encodeEndpoint('/m?s=1'), 'event: endpoint\ndata: /m?s=1\n\n')
  t.equal(encodeRetry(1000), 'retry: 1000\n\n')
})
