import t from 'tap'
import type { Message } from '../../src/protocol/jsonrpc.ts'
import { answer, answerWith, hear, only, parsed, sentAs, texts } from '../fixtures/bridged.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, req } from '../fixtures/conversing.ts'

/** None of them is text or a number, and the language can make neither of the last two. */
const odd = {
  null: 'null',
  false: 'false',
  array: '[]',
  object: '{}',
  unspeakable: '{"toString":1,"valueOf":1}',
  deep: '['.repeat(100_000) + ']'.repeat(100_000),
}
const key = '"io.modelcontextprotocol/protocolVersion":"2026-07-28"'
const note = (method: string, params: string): Message =>
  parsed(`{"jsonrpc":"2.0","method":"notifications/${method}","params":${params}}`)

/** What may stand where text or a number is meant. */
const places: Record<string, (value: string) => unknown> = {
  'a progress token, and what names it': (value) => {
    const it = serving('streamable')
    const token = `"params":{"_meta":{"progressToken":${value},${key}}}`
    it.request(parsed(`{"jsonrpc":"2.0","id":1,"method":"tools/call",${token}}`), 50)
    hear(it, note('progress', `{"progressToken":${value}}`), 50)
    const other = translated()
    other.request(req(1, 'tools/call'), 5)
    return hear(other, note('progress', `{"progressToken":${value}}`), 5)
  },
  'the level of a log message': (value) => {
    const it = serving('streamable')
    const outputs = it.request(modern(1, 'tools/call', {}, { logLevel: 'info' }), 50)
    answer(it, sentAs(outputs, 'logging/setLevel'))
    return hear(it, note('message', `{"level":${value}}`), 50)
  },
  'the level that a client sets': (value) =>
    translated().request(
      parsed(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":${value}}}`),
      5,
    ),
  'why a client refuses a question': (value) => {
    const it = translated({ roots: {} })
    it.request(req(1, 'tools/call'), 5)
    const inputRequests = { a: { method: 'roots/list' } }
    const asked = answer(it, 5, { resultType: 'input_required', inputRequests })
    const [{ id }] = texts(asked) as [{ id: number }]
    const error = `{"code":${value},"message":${value},"data":${value}}`
    const message: Message = parsed(`{"jsonrpc":"2.0","id":${id},"error":${error}}`)
    return message.kind === 'response' && it.feed({ type: 'post', member: 'a', message })
  },
  'an error of the backend': (value) => {
    const it = serving('sse', { elicitation: {} })
    it.request(modern(1, 'tools/call', {}, { capabilities: { elicitation: {} } }), 50)
    answerWith(it, 50, `"error":{"code":-32042,"message":${value},"data":${value}}`)
    const other = translated()
    other.request(req(1, 'resources/read', { uri: 'x' }), 5)
    return answerWith(other, 5, `"error":{"code":${value},"message":${value},"data":${value}}`)
  },
  'the names of tools': (value) => {
    const faulty = '{"type":"object","properties":{"a":{"type":"object","x-mcp-header":"A"}}}'
    const it = translated()
    it.request(req(1, 'tools/list'), 5)
    answerWith(it, 5, `"result":{"tools":[{"name":${value},"inputSchema":${faulty}}]}`)
    const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":${value}`
    it.request(parsed(`${call}}}`), 6)
    return serving('sse').request(parsed(`${call},"_meta":{${key}}}}`), 50)
  },
  'the address of a resource': (value) => {
    const it = translated()
    const params = `"params":{"uri":${value}}`
    it.request(parsed(`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe",${params}}`), 5)
    it.request(parsed(`{"jsonrpc":"2.0","id":2,"method":"resources/unsubscribe",${params}}`), 6)
    const number = sentAs(
      it.request(req(3, 'resources/subscribe', { uri: 'x' }), 7),
      'subscriptions/listen',
    )
    const notifications = `{"notifications":{"resourceSubscriptions":[${value}]}}`
    hear(it, note('subscriptions/acknowledged', notifications), number)
    return hear(it, note('resources/updated', `{"uri":${value}}`), number)
  },
  'what is called off': (value) => {
    const it = serving('sse')
    const message = note('cancelled', `{"requestId":${value}}`)
    if (message.kind === 'notification') it.feed({ type: 'post', member: 'm', message })
    return hear(it, message)
  },
  'what a server says of itself': (value) => {
    const each = [
      'protocolVersion',
      'capabilities',
      'serverInfo',
      'instructions',
      'supportedVersions',
    ]
    const said = `"result":{${each.map((name) => `"${name}":${value}`).join(',')}}`
    const it = serving('sse')
    it.request(initialize('i'), 5)
    answerWith(it, 5, said)
    it.request(modern('d', 'server/discover'), 6)
    const other = translated()
    other.request(initialize('i'), 5)
    return answerWith(other, 5, said)
  },
  'a filter of changes': (value) => {
    const filter = `{"toolsListChanged":${value},"vendor":${value},"resourceSubscriptions":[]}`
    const params = `"params":{"notifications":${filter},"_meta":{${key}}}`
    const message = `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen",${params}}`
    return serving('sse').request(parsed(message), 50)
  },
}

for (const [place, put] of Object.entries(places)) {
  t.test(`${place} may be of any type`, async (t) => {
    for (const [name, value] of Object.entries(odd)) t.doesNotThrow(() => put(value), name)
  })
}

t.test('where there is nothing to say of an error, nothing is said of it', async (t) => {
  const it = translated({ roots: {} })
  it.request(req(1, 'tools/call'), 5)
  const inputRequests = { a: { method: 'roots/list' } }
  const [{ id }] = texts(answer(it, 5, { resultType: 'input_required', inputRequests })) as [
    { id: number },
  ]
  const message = parsed<Message>(`{"jsonrpc":"2.0","id":${id},"error":{"code":-7}}`)
  if (message.kind !== 'response') throw new Error('no response')
  const [finished] = only(it.feed({ type: 'post', member: 'a', message }), 'finish')
  t.notMatch(finished?.response.text, /undefined|object Object/)
})
