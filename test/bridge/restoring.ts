import t from 'tap'
import { newestRevision } from '../../src/protocol/dialects.ts'
import {
  answer,
  first,
  lost,
  opened,
  refuse,
  sentAs,
  talk,
  texts,
  types,
} from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { greeting, joined, modern, serving } from '../fixtures/bridged-eras.ts'
import { initialize, note, req, res } from '../fixtures/conversing.ts'

/** Brings the backend session back; what follows from its handshake. */
function restore(it: Talk) {
  const [handshake] = it.feed({ type: 'reopened' })
  if (handshake?.type !== 'send' || handshake.exchange === undefined)
    throw new Error('no handshake')
  const { exchange } = handshake
  return it.feed({
    type: 'backend',
    message: res(exchange, { protocolVersion: '2025-06-18' }),
    exchange,
  })
}

t.test('a handshake of our own declares nothing that nobody declared', async (t) => {
  const it = talk()
  it.feed({ type: 'join', member: 'single', single: true })
  t.match(texts(it.request(req(1, 'tools/list'), 10, 'single')), [
    { id: first, method: 'initialize', params: { protocolVersion: newestRevision } },
  ])
  const sent = it.conversation.exchanges.get(first)
  t.match(sent?.wire.text, '"capabilities":{}')
  t.same(it.request(req(2, 'ping'), 11, 'single'), [], 'and one is enough for all who wait')
})

t.test('a restored session is as its clients knew it, and then goes on in order', async (t) => {
  const it = opened({ roots: {} })
  it.request(req(1, 'logging/setLevel', { level: 'debug' }), 10)
  it.feed({ type: 'backend', message: res(10) })
  for (const [number, uri] of [
    [11, 'x:1'],
    [12, 'x:2'],
  ] as const) {
    it.request(req(number, 'resources/subscribe', { uri }), number)
    it.feed({ type: 'backend', message: res(number) })
  }
  it.request(req(13, 'resources/unsubscribe', { uri: 'x:1' }), 13)
  it.feed({ type: 'backend', message: res(13) })
  it.feed({ type: 'gone', error: lost })
  it.feed({ type: 'post', member: 'a', message: note('notifications/roots/list_changed') })
  it.feed({ type: 'post', member: 'a', message: note('notifications/initialized') })
  t.match(it.request(req(2, 'tools/call'), 20), [{ type: 'reopen', losses: 0 }])
  t.match(texts(restore(it)), [
    { method: 'notifications/initialized' },
    { method: 'logging/setLevel', params: { level: 'debug' } },
    { method: 'resources/subscribe', params: { uri: 'x:2' } },
    { method: 'notifications/roots/list_changed' },
    { method: 'tools/call', id: 20 },
  ])
  t.same(it.conversation.posts, [], 'each once')
  const own = [...it.conversation.exchanges].filter(([, { purpose }]) => purpose === 'restore')
  for (const [number] of own) {
    t.same(it.feed({ type: 'backend', message: res(number) }), [], 'for no client to see')
  }
})

t.test('what waits for a session to be restored is bounded', async (t) => {
  const it = opened()
  it.feed({ type: 'gone', error: lost })
  for (let count = 0; count < 300; count++) {
    it.feed({ type: 'post', member: 'a', message: note('notifications/x') })
  }
  t.equal(it.conversation.posts.length, 256)
})

t.test('where a restored session is refused, all that waited for it fails', async (t) => {
  const it = opened()
  it.feed({ type: 'gone', error: lost })
  it.request(req(2, 'tools/call'), 20)
  it.feed({ type: 'post', member: 'a', message: note('notifications/x') })
  const [handshake] = it.feed({ type: 'reopened' })
  const exchange = handshake?.type === 'send' ? handshake.exchange : undefined
  const outputs = it.feed({ type: 'undelivered', exchange, error: lost, mayHaveRun: false })
  t.match(outputs, [{ type: 'fail', exchange: 20, error: lost }])
  t.same(types(outputs), ['fail'], 'nobody listens, so nothing is tried')
  t.equal(it.conversation.phase, 'lost')
  t.same(it.conversation.posts, [])
  t.match(it.request(req(3, 'tools/list'), 21), [{ type: 'reopen', losses: 1 }])
})

t.test("a client's own initialize, still unanswered, opens the new session", async (t) => {
  const it = talk()
  it.request(initialize('i'), 1)
  t.match(it.feed({ type: 'gone', error: lost }), [{ type: 'reopen' }])
  t.match(texts(it.feed({ type: 'reopened' })), [{ method: 'initialize', id: 1 }])
  t.match(it.feed({ type: 'backend', message: res(1, { protocolVersion: '2025-06-18' }) }).at(-1), {
    type: 'finish',
    exchange: 1,
  })
})

t.test('nothing is brought back for a client that only listens and never began', async (t) => {
  const it = talk()
  it.feed({ type: 'stream', member: 'a', open: true })
  t.same(it.feed({ type: 'gone', error: lost }), [])
})

t.test('a client that fails to initialize anew does not keep the others waiting', async (t) => {
  const ends: [string, (it: Talk) => unknown][] = [
    ['an error', (it) => refuse(it, 61, -32603)],
    ['its time is up', (it) => it.feed({ type: 'expired', exchange: 61, error: lost })],
    ['it leaves', (it) => it.feed({ type: 'leave', member: 'b' })],
  ]
  for (const [name, happens] of ends) {
    const it = serving('sse')
    joined(it, 'b')
    it.request(initialize('i'), 61, 'b')
    it.feed({ type: 'gone', error: lost })
    t.equal(sentAs(it.feed({ type: 'reopened' }), 'initialize'), 61)
    it.request(modern('q', 'tools/call'), 50)
    happens(it)
    t.equal(
      it.conversation.exchanges.values().filter(({ purpose }) => purpose === 'initialize').length +
        Number(it.conversation.reopening),
      1,
      name,
    )
    if (it.conversation.reopening) it.feed({ type: 'reopened' })
    const [number = 0] = [...it.conversation.exchanges].flatMap(([each, { purpose }]) =>
      purpose === 'initialize' ? each : [],
    )
    t.match(answer(it, number, greeting).at(-1), { type: 'send', exchange: 50 }, name)
  }
})

t.test('a session for modern clients is opened, and opened again, in their name', async (t) => {
  const it = serving('sse', { roots: {} })
  it.feed({ type: 'gone', error: lost })
  it.request(modern('q', 'tools/call', {}, { capabilities: { roots: {} } }), 50)
  t.match(texts(it.feed({ type: 'reopened' })), [
    { method: 'initialize', params: { capabilities: { roots: {} }, clientInfo: { name: 'm' } } },
  ])
})
