import t from 'tap'
import type { Output } from '../../src/bridge/conversation.ts'
import { logLevels } from '../../src/protocol/metadata.ts'
import { answer, answerWith, hear, lost, only, sentAs, texts, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { greeting, joined, modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { note, req } from '../fixtures/conversing.ts'

const call = (id: unknown, logLevel?: string) =>
  modern(id, 'tools/call', { name: 'x' }, logLevel === undefined ? {} : { logLevel })
const log = (level: unknown) => note('notifications/message', { level, data: 'x' })
const methods = (outputs: readonly Output[]): string[] =>
  only(outputs, 'send').flatMap(({ message }) =>
    message.kind === 'request' ? [message.method] : [],
  )
/** A request that wants messages of `level` is on its way. */
const wanting = (it: Talk, number: number, level: string): void => {
  const outputs = it.request(call(number, level), number)
  if (methods(outputs)[0] === 'logging/setLevel') answer(it, sentAs(outputs, 'logging/setLevel'))
}

for (const dialect of ['sse', 'streamable'] as const) {
  t.test(`${dialect}: the level that a request wants is set before it goes`, async (t) => {
    const it = serving(dialect)
    const outputs = it.request(call('q', 'info'), 50)
    t.match(texts(outputs), [{ method: 'logging/setLevel', params: { level: 'info' } }])
    t.equal(outputs.length, 1)
    const more = answer(it, sentAs(outputs, 'logging/setLevel'))
    t.match(only(more, 'send'), [{ exchange: 50, message: { method: 'tools/call' } }])
    t.same(methods(it.request(call('r', 'info'), 51)), ['tools/call'], 'and not again')
    t.same(methods(it.request(call('s'), 52)), ['tools/call'], 'nor for who wants none')
    t.same(methods(it.request(call('u', 'debug'), 53)), ['logging/setLevel'])
  })
}

t.test(
  'a backend that cannot log, or refuses the level, gets the request all the same',
  async (t) => {
    const silent = serving('sse', {}, { ...greeting, capabilities: { logging: null } })
    t.same(methods(silent.request(call('q', 'info'), 50)), ['tools/call'])
    const refusing = serving('sse')
    const outputs = refusing.request(call('q', 'info'), 50)
    const number = sentAs(outputs, 'logging/setLevel')
    t.same(methods(answerWith(refusing, number, '"error":{"code":-32601,"message":"no"}')), [
      'tools/call',
    ])
    const late = serving('sse')
    const waiting = sentAs(late.request(call('q', 'info'), 50), 'logging/setLevel')
    t.same(methods(late.feed({ type: 'expired', exchange: waiting, error: lost })), ['tools/call'])
  },
)

t.test(
  'requests that want different levels at once all go, after one setting each at most',
  async (t) => {
    const it = serving('sse')
    const outputs: Output[] = []
    for (const [index, level] of ['debug', 'info', 'error', 'debug'].entries()) {
      outputs.push(...it.request(call(index, level), 50 + index))
    }
    const calls: (number | undefined)[] = []
    let settings = 0
    while (outputs.length > 0 && settings < 20) {
      const output = outputs.shift()
      if (output?.type !== 'send' || output.message.kind !== 'request') continue
      if (output.message.method === 'logging/setLevel') {
        settings++
        outputs.push(...answer(it, output.exchange ?? 0))
      } else calls.push(output.exchange)
    }
    t.same(calls.toSorted(), [50, 51, 52, 53])
    t.ok(settings <= 4, `${settings} settings`)
  },
)

t.test('nothing is sent in a session that ended while the level was being set', async (t) => {
  for (const dialect of ['sse', 'streamable'] as const) {
    const it = serving(dialect)
    const number = sentAs(it.request(call('q', 'info'), 50), 'logging/setLevel')
    it.feed({ type: 'delivered', exchange: number })
    t.same(types(it.feed({ type: 'gone', error: lost })), ['reopen'], dialect)
    const opened = answer(it, sentAs(it.feed({ type: 'reopened' }), 'initialize'), greeting)
    const set = methods(opened).includes('logging/setLevel')
    const more = set ? answer(it, sentAs(opened, 'logging/setLevel')) : opened
    t.match(only(more, 'send').at(-1), { exchange: 50, message: { method: 'tools/call' } })
  }
})

t.test('a new backend session has no level: it is set again', async (t) => {
  const it = serving('sse')
  it.request(call('q', 'info'), 50)
  it.feed({ type: 'gone', error: lost })
  const opened = answer(it, sentAs(it.feed({ type: 'reopened' }), 'initialize'), greeting)
  t.same(methods(opened).at(-1), 'logging/setLevel')
})

t.test('a request that is called off while its level is being set never goes', async (t) => {
  const it = serving('sse')
  const number = sentAs(it.request(call('q', 'info'), 50), 'logging/setLevel')
  t.same(it.feed({ type: 'abandoned', exchange: 50, cancels: true }), [])
  t.same(answer(it, number), [])
})

t.test('messages go with the request that wants them, from its level on', async (t) => {
  for (const [least, ...others] of [
    ['debug', 'info'],
    ['error', 'critical'],
    ['emergency', 'x'],
  ] as const) {
    const it = serving('streamable')
    wanting(it, 50, least)
    for (const level of logLevels) {
      const heard = logLevels.indexOf(level) >= logLevels.indexOf(least)
      const outputs = hear(it, log(level), 50)
      t.same(
        types(outputs),
        [heard ? 'deliver' : 'dropped'],
        `${level} for ${least}, not ${others}`,
      )
      if (heard) t.match(outputs, [{ exchange: 50, member: 'm' }])
    }
  }
})

t.test('who did not ask for messages gets none', async (t) => {
  const it = serving('streamable')
  it.request(call('q'), 50)
  t.match(hear(it, log('emergency'), 50), [{ type: 'dropped', reason: 'not-asked-for' }])
  for (const odd of [undefined, null, 5, 'loud', {}]) {
    wanting(it, 51, 'debug')
    t.match(hear(it, log(odd), 51), [{ type: 'dropped' }], String(odd))
  }
})

t.test("where it is not said whose a message is, it is nobody's but the only one's", async (t) => {
  const it = serving('sse')
  wanting(it, 50, 'info')
  t.match(hear(it, log('error')), [{ type: 'deliver', exchange: 50 }])
  wanting(it, 51, 'error')
  t.same(only(hear(it, log('error')), 'deliver'), [], 'two may be meant')
  t.match(hear(it, log('info')), [{ type: 'deliver', exchange: 50 }], 'only one wants this')
})

t.test('a session client keeps the level that it has set on a stream that it shares', async (t) => {
  const it = serving('sse')
  joined(it, 'a')
  it.request(req('l', 'logging/setLevel', { level: 'error' }), 20, 'a')
  answer(it, 20)
  t.same(methods(it.request(call('q', 'debug'), 50)), ['tools/call'])
  t.match(it.conversation.logLevel?.text, '"error"')
})

t.test('a modern server hears the level with each request of a session client', async (t) => {
  const it = translated()
  const level = () => {
    const [{ params }] = texts(it.request(req('q', 'tools/call'), 50)) as [
      { params: { _meta: object } },
    ]
    return params['_meta']
  }
  const key = 'io.modelcontextprotocol/logLevel'
  t.notOk(key in level())
  for (const each of logLevels) {
    const outputs = it.request(req('l', 'logging/setLevel', { level: each }), 51)
    t.same(texts(outputs), [{ jsonrpc: '2.0', id: 'l', result: {} }])
    t.match(level(), { [key]: each })
  }
  for (const odd of ['loud', undefined, null, 5, {}, 'Debug']) {
    const outputs = it.request(req('l', 'logging/setLevel', { level: odd }), 51)
    t.match(texts(outputs), [{ id: 'l', error: { code: -32602 } }], String(odd))
    t.match(level(), { [key]: 'emergency' }, 'as it was')
  }
  t.match(hear(it, log('error'), 50), [{ type: 'deliver', member: 'a', exchange: 50 }])
})
