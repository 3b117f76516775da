import t from 'tap'
import { bridge } from '../../src/bridge/bridge.ts'
import { createConversation, merge } from '../../src/bridge/conversation.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import { answer, hear, only, opened, sentAs, talk, types } from '../fixtures/bridged.ts'
import { joined, modern, serving } from '../fixtures/bridged-eras.ts'
import { note, req } from '../fixtures/conversing.ts'

t.test('a conversation begins fresh where there is a handshake to make', async (t) => {
  t.equal(createConversation(dialects.sse, { next: 1 }).phase, 'fresh')
  t.equal(createConversation(dialects.rpc, { next: 1 }).phase, 'open')
})

t.test('merging moves everything', async (t) => {
  const into = opened().conversation
  const from = opened().conversation
  from.members.clear()
  bridge(from, { type: 'join', member: 'b' })
  bridge(from, { type: 'backend', message: note('notifications/held') })
  from.exchanges.set(50, {
    member: 'b',
    request: req(1, 'x'),
    declared: undefined,
    translated: false,
    wire: req(1, 'x'),
    carries: true,
    token: undefined,
    purpose: undefined,
    sent: true,
    accepted: false,
    repeats: 0,
  })
  from.questions.set(51, { member: 'b', request: req(1, 'roots/list'), exchange: undefined })
  from.subscriptions.set('x:1', req(1, 'resources/subscribe'))
  from.repeatableTools.add('look')
  from.logLevel = req(2, 'logging/setLevel')
  from.answersNotifications = true
  from.unanswered.push({ method: 'notifications/y', before: 3 })
  merge(into, from)
  t.same([...into.members.keys()], ['a', 'b'])
  t.match(into.members.get('b')?.held, [{ method: 'notifications/held' }])
  t.ok(into.exchanges.has(50))
  t.ok(into.questions.has(51))
  t.ok(into.subscriptions.has('x:1'))
  t.ok(into.repeatableTools.has('look'))
  t.equal(into.logLevel?.method, 'logging/setLevel')
  t.equal(into.answersNotifications, true)
  t.equal(into.unanswered.at(-1)?.method, 'notifications/y')
})

t.test('a member of both keeps what was held for it in either', async (t) => {
  const [into, from] = [opened().conversation, opened().conversation]
  bridge(into, { type: 'backend', message: note('notifications/one') })
  bridge(from, { type: 'backend', message: note('notifications/two') })
  merge(into, from)
  t.match(into.members.get('a')?.held, [
    { method: 'notifications/one' },
    { method: 'notifications/two' },
  ])
})

t.test('what is settled already stays', async (t) => {
  const [into, from] = [opened().conversation, opened({ roots: {} }).conversation]
  into.logLevel = req(1, 'logging/setLevel', { level: 'debug' })
  from.logLevel = req(2, 'logging/setLevel', { level: 'error' })
  from.phase = 'lost'
  const { initialize } = into
  merge(into, from)
  t.equal(into.logLevel.idText, '1')
  t.equal(into.initialize, initialize)
  t.equal(into.phase, 'open')
})

t.test('a fresh conversation takes over how far the other has come', async (t) => {
  const into = talk().conversation
  merge(into, opened().conversation)
  t.equal(into.phase, 'open')
  t.match(into.initialize?.value, { params: { protocolVersion: '2025-06-18' } })
})

t.test('merging takes modern clients along, those who are away and those who listen', async (t) => {
  const capabilities = { roots: {} }
  const into = serving('sse')
  joined(into, 'a')
  const from = serving('sse', capabilities)
  from.conversation.ids.next = 2000
  from.conversation.members.set('n', { ...from.conversation.members.get('m')!, id: 'n' })
  from.conversation.members.delete('m')
  from.request(modern('c', 'tools/call', {}, { capabilities }), 60, 'n')
  hear(from, req('q', 'roots/list'))
  from.feed({ type: 'gathered', exchange: 60 })
  const notifications = { toolsListChanged: true, resourceSubscriptions: ['x:/a'] }
  const begun = from.request(modern('L', 'subscriptions/listen', { notifications }), 61, 'n')
  merge(into.conversation, from.conversation)
  answer(into, sentAs(begun, 'resources/subscribe'))
  const told = answer(into, sentAs(begun, 'ping'))
  t.match(only(told, 'deliver'), [{ member: 'n', exchange: 61 }])
  t.same(answer(into, 60, { done: 1 }), [], 'it is still away')
  const message = modern('d', 'tools/call', {}, { capabilities })
  const back = into.feed({ type: 'resume', exchange: 60, message, carries: true })
  t.match(back, [{ type: 'finish', exchange: 60, response: { idText: '"d"' } }])
  t.same(types(hear(into, note('notifications/tools/list_changed'))), ['deliver'])
})
