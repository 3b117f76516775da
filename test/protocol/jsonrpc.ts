import t from 'tap'
import {
  failure,
  notification,
  readBody,
  readMessage,
  request,
  result,
  textAt,
  withId,
  withValueAt,
} from '../../src/protocol/jsonrpc.ts'
import type { Message, Request, Response } from '../../src/protocol/jsonrpc.ts'

const read = (text: string) => readMessage(text, JSON.parse(text))
const message = <T extends Message>(text: string): T => {
  const found = read(text)
  if (!found.ok) throw new Error(found.reason)
  return found.value as T
}

t.test('messages are told apart', async (t) => {
  const cases: [string, object][] = [
    ['{"jsonrpc":"2.0","id":1,"method":"a"}', { kind: 'request', idText: '1', method: 'a' }],
    ['{"jsonrpc":"2.0","id":"1","method":"a"}', { kind: 'request', idText: '"1"' }],
    ['{"jsonrpc":"2.0","id":1.0,"method":"a"}', { kind: 'request', idText: '1.0' }],
    ['{"jsonrpc":"2.0","id":0,"method":"a"}', { kind: 'request', idText: '0' }],
    [
      '{"jsonrpc":"2.0","id":12345678901234567890,"method":"a"}',
      { idText: '12345678901234567890' },
    ],
    ['{"jsonrpc":"2.0","method":"a"}', { kind: 'notification', method: 'a' }],
    ['{"jsonrpc":"2.0","id":1,"result":{}}', { kind: 'response', failed: false }],
    [
      '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}',
      { kind: 'response', failed: true },
    ],
    ['{"jsonrpc":"2.0","id":null,"result":{}}', { kind: 'response', idText: undefined }],
    ['{"jsonrpc":"2.0","error":{"code":1}}', { kind: 'response', idText: undefined }],
    ['{"id":1,"method":"x","result":{}}', { kind: 'response', idText: '1' }],
  ]
  for (const [text, expected] of cases) t.match(read(text), { ok: true, value: expected }, text)
})

t.test('what is no message is refused with a reason', async (t) => {
  for (const text of [
    '1',
    'null',
    '"x"',
    '[]',
    '{}',
    '{"id":1}',
    '{"id":null,"method":"a"}',
    '{"id":{},"method":"a"}',
    '{"id":true,"result":1}',
  ]) {
    t.match(read(text), { ok: false, reason: /./ }, text)
  }
})

t.test('the version member is always right, the rest of the text as it came', async (t) => {
  const cases = {
    '{"id":1,"method":"a"}': '{"jsonrpc":"2.0","id":1,"method":"a"}',
    ' {"id":1, "jsonrpc": "1.0","method":"a"}': ' {"id":1, "jsonrpc": "2.0","method":"a"}',
    '{"jsonrpc":2.0,"method":"a"}': '{"jsonrpc":"2.0","method":"a"}',
    '{"jsonrpc" : "2.0","method":"a"}': '{"jsonrpc" : "2.0","method":"a"}',
  }
  for (const [text, expected] of Object.entries(cases)) {
    t.match(read(text), { value: { text: expected } })
  }
})

t.test('a batch is taken apart with the text of each message', async (t) => {
  const body = readBody('[ {"jsonrpc":"2.0","id":1,"method":"a"} , {"jsonrpc":"2.0","method":"b"}]')
  t.match(body, {
    ok: true,
    value: {
      batch: true,
      messages: [{ text: '{"jsonrpc":"2.0","id":1,"method":"a"}' }, { kind: 'notification' }],
    },
  })
  t.match(readBody('[]'), { ok: false, reason: /empty/ })
  t.match(readBody('[{"jsonrpc":"2.0","method":"b"},7]'), { ok: false, reason: /message 1/ })
  t.match(readBody('{'), { ok: false, reason: /^not JSON/ })
})

t.test('ids and values are replaced inside the text', async (t) => {
  const asked = message<Request>('{"method":"a", "id":1,"params":{"_meta":{"progressToken":"x"}}}')
  t.equal(
    withId(asked, '"$&"').text,
    '{"jsonrpc":"2.0","method":"a", "id":"$&","params":{"_meta":{"progressToken":"x"}}}',
  )
  t.equal(textAt(asked, ['params', '_meta', 'progressToken']), '"x"')
  t.equal(textAt(asked, ['params', 'nothing']), undefined)
  t.match(withValueAt(asked, ['params', '_meta', 'progressToken'], '5').text, '"progressToken":5')
  const answer = message<Response>('{"result":{}}')
  t.same(JSON.parse(withId(answer, '9').text), { jsonrpc: '2.0', id: 9, result: {} })
})

t.test('messages of our own making are whole', async (t) => {
  t.same(JSON.parse(request('7', 'a', { b: 1 }).text), {
    jsonrpc: '2.0',
    id: 7,
    method: 'a',
    params: { b: 1 },
  })
  t.same(JSON.parse(notification('a').text), { jsonrpc: '2.0', method: 'a' })
  t.same(JSON.parse(result('"x"', {}).text), { jsonrpc: '2.0', id: 'x', result: {} })
  t.same(JSON.parse(failure(undefined, -1, 'm').text), {
    jsonrpc: '2.0',
    id: null,
    error: { code: -1, message: 'm' },
  })
  t.same(JSON.parse(failure('3', -1, 'm').text).id, 3)
})
