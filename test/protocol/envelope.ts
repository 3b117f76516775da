import t from 'tap'
import { repairEnvelope } from '../../src/protocol/envelope.ts'
import type { Json } from '../../src/protocol/jsonrpc.ts'
import type { RuleName, RuleSwitches } from '../../src/event-stream/rules.ts'

function repair(text: string, rules: RuleSwitches = {}) {
  const fired: RuleName[] = []
  const read = repairEnvelope(text, JSON.parse(text) as Json, rules, (rule) => fired.push(rule))
  return { read, fired, text: read.ok ? read.value.text : undefined }
}

t.test('what is right passes as it came, to the letter', async (t) => {
  for (const text of [
    '{ "jsonrpc":"2.0", "id":1, "result":{"timestamp":1e400} }',
    '{"result":null,"id":"a","jsonrpc":"2.0"}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x","data":{"a":[1]}}}',
    '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}',
    '{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}',
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{}}',
    '{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{},"extra":1}',
  ]) {
    const { read, fired, text: got } = repair(text)
    t.ok(read.ok)
    t.equal(got, text)
    t.same(fired, [], text)
  }
})

/** A rule, a broken envelope, and what becomes of it. */
const cases: [RuleName, string, string][] = [
  ['jsonrpc-version', '{"id":1,"result":{}}', '{"jsonrpc":"2.0","id":1,"result":{}}'],
  ['jsonrpc-version', '{"jsonrpc":"1.0","method":"x"}', '{"jsonrpc":"2.0","method":"x"}'],
  ['jsonrpc-version', '{"jsonrpc":2.0,"id":1,"result":{}}', '{"jsonrpc":"2.0","id":1,"result":{}}'],
  ['id-spelling', '{"jsonrpc":"2.0","ID":1,"result":{}}', '{"jsonrpc":"2.0","result":{},"id":1}'],
  ['id-spelling', '{"jsonrpc":"2.0","Id":"a","result":1}', '{"jsonrpc":"2.0","result":1,"id":"a"}'],
  [
    'result-and-error',
    '{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
    '{"jsonrpc":"2.0","id":1,"result":{}}',
  ],
  [
    'result-and-error',
    '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
  ],
  [
    'extra-members',
    '{"jsonrpc":"2.0","id":1,"result":{"timestamp":1},"timestamp":1,"_meta":{}}',
    '{"jsonrpc":"2.0","id":1,"result":{"timestamp":1}}',
  ],
  [
    'echoed-method',
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{},"result":{}}',
    '{"jsonrpc":"2.0","id":1,"result":{}}',
  ],
  [
    'error-shape',
    '{"jsonrpc":"2.0","id":1,"error":"boom"}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"boom"}}',
  ],
  [
    'error-shape',
    '{"jsonrpc":"2.0","id":1,"error":{"code":"E1","message":"boom","data":7}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"boom","data":7}}',
  ],
  [
    'error-shape',
    '{"jsonrpc":"2.0","id":1,"error":{"code":5}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"{\\"code\\":5}"}}',
  ],
  [
    'error-shape',
    '{"jsonrpc":"2.0","id":1,"error":"Method foo not found"}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method foo not found"}}',
  ],
  [
    'error-shape',
    '{"jsonrpc":"2.0","id":1,"error":["a",1]}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"[\\"a\\",1]"}}',
  ],
  [
    'framework-envelope',
    '{"detail":"Not authenticated"}',
    '{"error":{"code":-32603,"message":"Not authenticated"},"jsonrpc":"2.0"}',
  ],
  [
    'framework-envelope',
    '{"detail":["field required","too long"]}',
    '{"error":{"code":-32603,"message":"field required; too long"},"jsonrpc":"2.0"}',
  ],
  [
    'framework-envelope',
    '{"errors":[{"message":"unknown method x"}],"data":null}',
    '{"error":{"code":-32601,"message":"unknown method x"},"jsonrpc":"2.0"}',
  ],
  [
    'framework-envelope',
    '{"code":"not_found","message":"no such thing","id":4}',
    '{"id":4,"error":{"code":-32603,"message":"no such thing"},"jsonrpc":"2.0"}',
  ],
  [
    'framework-envelope',
    '{"raw":"event: message\\r\\ndata: {\\"jsonrpc\\":\\"2.0\\",\\"id\\":1,\\"result\\":{}}\\r\\n\\r\\n"}',
    '{"jsonrpc":"2.0","id":1,"result":{}}',
  ],
  [
    'framework-envelope',
    '{"raw":"{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1,\\"result\\":{}}"}',
    '{"jsonrpc":"2.0","id":1,"result":{}}',
  ],
]

t.test('each rule mends what it is for, and only when it is on', async (t) => {
  for (const [rule, broken, expected] of cases) {
    const { fired, text } = repair(broken)
    t.equal(text, expected, `${rule}: ${broken}`)
    t.same(fired, [rule])
    const off = repair(broken, { [rule]: false })
    t.not(off.text, expected, 'and not when it is off')
    t.notOk(off.fired.includes(rule))
  }
})

t.test('several rules may be needed at once', async (t) => {
  const broken = '{"ID":1,"method":"x","result":null,"error":"boom","took":3}'
  const { read, fired, text } = repair(broken)
  t.equal(text, '{"error":{"code":-32603,"message":"boom"},"id":1,"jsonrpc":"2.0"}')
  t.same(fired, [
    'id-spelling',
    'result-and-error',
    'echoed-method',
    'error-shape',
    'extra-members',
  ])
  t.match(read, { ok: true, value: { kind: 'response', idText: '1', failed: true } })
})

t.test('what is mended and what is not keep their text', async (t) => {
  const { text } = repair('{"id": 1.0 ,"result":{"n":1e400,"u":"\\u00e9"},"took":3}')
  t.match(text, /"id":1\.0,"result":\{"n":1e400,"u":"\\u00e9"\}/)
})

t.test('the members of a request are its own affair', async (t) => {
  const text = '{"id":1,"method":"x","ID":2,"took":3}'
  t.match(repair(text).read, { ok: true, value: { kind: 'request', idText: '1' } })
  t.same(repair(text).fired, ['jsonrpc-version'])
})

t.test('what no rule makes a message is none, and counts for nothing', async (t) => {
  for (const text of [
    '{}',
    '{"status":"acknowledged"}',
    '{"message":"hello"}',
    '{"detail":7}',
    '{"detail":[]}',
    '{"raw":"hello"}',
    '{"raw":"{\\"status\\":1}"}',
    '{"id":[],"result":{}}',
    '7',
    '"x"',
    'null',
    '[]',
  ]) {
    const { read, fired } = repair(text)
    t.equal(read.ok, false, text)
    t.same(fired, [])
  }
})

t.test('the text of an error is looked at for a bounded time, however long it is', async (t) => {
  const broken = (error: string): string => JSON.stringify({ jsonrpc: '2.0', id: 1, error })
  const codeIn = (text = ''): unknown => {
    const { error } = JSON.parse(text) as { error: { code: number; message: string } }
    return error.code
  }
  const cases: [string, number][] = [
    ['Method foo not found', -32601],
    ['unknown method', -32601],
    ['the method tools/call is not supported', -32601],
    [`Method ${'x'.repeat(100)} not found`, -32603],
    [`${'x'.repeat(500)} method foo not found`, -32603],
    ['method '.repeat(40_000), -32603],
  ]
  const start = performance.now()
  for (const [message, code] of cases) {
    t.equal(codeIn(repair(broken(message)).text), code, message.slice(0, 60))
  }
  t.ok(performance.now() - start < 1000, 'at once')
})
