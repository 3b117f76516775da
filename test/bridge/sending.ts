import t from 'tap'
import { isRepeatable, post, sendOwn } from '../../src/bridge/sending.ts'
import { answer, first, only, opened, sentAs, talk, types } from '../fixtures/bridged.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { note, req } from '../fixtures/conversing.ts'

t.test('what only reads may be sent twice, and tools that say so', async (t) => {
  const { conversation } = opened()
  conversation.repeatableTools.add('look')
  const cases: [string, object | undefined, boolean][] = [
    ['tools/list', undefined, true],
    ['resources/templates/list', undefined, true],
    ['resources/read', { uri: 'x' }, true],
    ['prompts/get', { name: 'x' }, true],
    ['completion/complete', {}, true],
    ['ping', undefined, true],
    ['initialize', {}, true],
    ['tools/call', { name: 'look' }, true],
    ['tools/call', { name: 'pay' }, false],
    ['tools/call', {}, false],
    ['tools/call', undefined, false],
    ['resources/subscribe', { uri: 'x' }, false],
    ['logging/setLevel', { level: 'debug' }, false],
    ['own/pinging', undefined, false],
    ['list', undefined, false],
  ]
  for (const [method, params, expected] of cases) {
    t.equal(isRepeatable(conversation, req(1, method, params)), expected, method)
  }
})

t.test('where one stream carries all answers, notifications are remembered', async (t) => {
  const { conversation } = talk('sse')
  for (let count = 0; count < 100; count++) post(conversation, 'a', note(`notifications/${count}`))
  t.equal(conversation.unanswered.length, 64, 'the latest of them')
  t.equal(conversation.unanswered.at(-1)?.method, 'notifications/99')
  const other = talk('rpc').conversation
  post(other, 'a', note('notifications/x'))
  t.same(other.unanswered, [])
})

t.test('a request of our own is an exchange under a number of ours', async (t) => {
  const { conversation } = talk()
  const { number, output } = sendOwn(conversation, 'probe', req('x', 'tools/list'))
  t.equal(number, first)
  t.same(types([output]), ['send'])
  t.match(output, { member: 'a', exchange: first, message: { idText: String(first) } })
  t.match(conversation.exchanges.get(number), { purpose: 'probe', carries: false, sent: true })
  t.equal(sendOwn(conversation, 'probe', req('x', 'tools/list')).number, first + 1)
})

t.test('what is ours, or made ours, is told from what a client wrote', async (t) => {
  const it = translated()
  t.match(only(it.request(req('q', 'tools/call'), 50), 'send'), [{ translated: true }])
  t.match(only(it.feed({ type: 'stream', member: 'a', open: true }), 'send'), [
    { translated: true },
  ])
  const same = serving('stateless')
  t.notOk('translated' in only(same.request(modern('q', 'tools/call'), 50), 'send')[0]!)
  const other = serving('sse')
  t.notOk('translated' in only(other.request(modern('q', 'tools/call'), 50), 'send')[0]!)
})

t.test('what waits for a level goes when it is set, and nothing else does', async (t) => {
  const it = serving('sse')
  const one = it.request(modern('q', 'tools/call', {}, { logLevel: 'info' }), 50)
  const two = it.request(modern('r', 'tools/call', {}, { logLevel: 'debug' }), 51)
  const sent = only(answer(it, sentAs(one, 'logging/setLevel')), 'send')
  t.same(
    sent.map(({ exchange }) => exchange),
    [50],
  )
  t.match(only(answer(it, sentAs(two, 'logging/setLevel')), 'send'), [{ exchange: 51 }])
})
