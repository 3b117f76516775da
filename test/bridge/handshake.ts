import t from 'tap'
import { newestRevision } from '../../src/protocol/dialects.ts'
import type { Response } from '../../src/protocol/jsonrpc.ts'
import { talk, texts, types } from '../fixtures/bridged.ts'
import { message, req, res } from '../fixtures/conversing.ts'

const begin = (protocolVersion: unknown) => req('i', 'initialize', { protocolVersion })
const refusal = (text: string, data?: unknown): Response =>
  message({ jsonrpc: '2.0', id: 1, error: { code: -32602, message: text, data } })

t.test('only a refusal that speaks of versions is tried again with an older one', async (t) => {
  const cases: [string, unknown, string, string | undefined][] = [
    ['Unsupported protocol version', undefined, '2025-11-25', '2025-03-26'],
    ['Bad Version', undefined, '2025-03-26', '2024-11-05'],
    ['no', { supported: ['2024-11-05'], protocolVersion: 'x' }, '2025-06-18', '2025-03-26'],
    ['Unsupported protocol version', undefined, '2024-11-05', undefined],
    ['not authorized', undefined, '2025-11-25', undefined],
  ]
  for (const [text, data, asked, expected] of cases) {
    const it = talk()
    it.request(begin(asked), 1)
    const outputs = it.feed({ type: 'backend', message: refusal(text, data) })
    t.same(types(outputs), [expected === undefined ? 'finish' : 'send'], text)
    if (expected !== undefined) {
      t.match(texts(outputs), [{ id: 1, params: { protocolVersion: expected } }])
    }
  }
})

t.test('a session settles on what both know', async (t) => {
  const cases: [unknown, unknown, string][] = [
    ['2025-06-18', '2025-06-18', '2025-06-18'],
    ['2025-06-18', '2024-11-05', '2024-11-05'],
    ['2024-11-05', '2025-11-25', '2025-11-25'],
    ['2099-01-01', '2099-01-01', '2099-01-01'],
    ['2099-01-01', '1.0', newestRevision],
    ['2025-03-26', '1.0', '2025-03-26'],
    ['2025-03-26', 7, '2025-03-26'],
    [undefined, undefined, newestRevision],
  ]
  for (const [asked, answered, expected] of cases) {
    const it = talk()
    it.request(begin(asked), 1)
    const outputs = it.feed({
      type: 'backend',
      message: res(1, { protocolVersion: answered, serverInfo: { name: 's' } }),
    })
    const name = `${String(asked)} answered with ${String(answered)}`
    t.match(outputs[0], { type: 'negotiated', member: 'a', revision: expected }, name)
    t.match(texts(outputs), [
      { id: 'i', result: { protocolVersion: expected, serverInfo: { name: 's' } } },
    ])
    t.equal(it.conversation.members.get('a')?.revision, expected)
    t.equal(it.conversation.phase, 'open')
  }
})

t.test('what was asked for first is remembered, for a session to be restored', async (t) => {
  const it = talk()
  it.request(begin('2025-11-25'), 1)
  it.feed({ type: 'backend', message: refusal('Unsupported protocol version') })
  it.feed({ type: 'backend', message: res(1, { protocolVersion: '2025-03-26' }) })
  t.match(it.conversation.initialize?.value, { params: { protocolVersion: '2025-11-25' } })
})
