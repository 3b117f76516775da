import t from 'tap'
import { isRepeatable, post, sendOwn } from '../../src/bridge/sending.ts'
import { first, opened, talk, types } from '../fixtures/bridged.ts'
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
