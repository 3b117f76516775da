import t from 'tap'
import type { Output } from '../../src/bridge/conversation.ts'
import { ProxyError } from '../../src/errors.ts'
import type { Notification } from '../../src/protocol/jsonrpc.ts'
import {
  answer,
  hear,
  lost,
  only,
  parsed,
  refuse,
  sentAs,
  talk,
  texts,
  types,
} from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { discovery, translated } from '../fixtures/bridged-eras.ts'
import { initialize, note, req } from '../fixtures/conversing.ts'

const tag = 'io.modelcontextprotocol/subscriptionId'
const x = 'x:/x'
const y = 'x:/y'
const subscribe = (it: Talk, uri: unknown, number: number): Output[] =>
  it.request(req(number, 'resources/subscribe', { uri }), number)
const unsubscribe = (it: Talk, uri: unknown, number: number): Output[] =>
  it.request(req(number, 'resources/unsubscribe', { uri }), number)
const agree = (it: Talk, number: number, ...resourceSubscriptions: string[]): Output[] => {
  const notifications = { ...(resourceSubscriptions.length > 0 && { resourceSubscriptions }) }
  return hear(it, note('notifications/subscriptions/acknowledged', { notifications }), number)
}
const stream = (it: Talk, open = true): Output[] => it.feed({ type: 'stream', member: 'a', open })
const updated = (uri: string): Notification => note('notifications/resources/updated', { uri })
/** What the latest request to listen asks for. */
const asked = (outputs: readonly Output[]) => {
  const sent = only(outputs, 'send').findLast(({ message: { text } }) => text.includes('/listen"'))
  return sent === undefined ? undefined : JSON.parse(sent.message.text).params.notifications
}
const listenIn = (outputs: readonly Output[]): number => sentAs(outputs, 'subscriptions/listen')
const ok = (id: number) => ({ jsonrpc: '2.0', id, result: {} })
const done = (outputs: readonly Output[]) =>
  texts([...only(outputs, 'finish'), ...only(outputs, 'fail')])
/** Subscribed to these, all agreed; answers with the exchange of the stream. */
function hearing(...uris: string[]): { it: Talk; number: number } {
  const it = translated()
  let number = 0
  uris.forEach((uri, index) => {
    number = listenIn(subscribe(it, uri, 100 + index))
    agree(it, number, ...uris.slice(0, index + 1))
  })
  return { it, number }
}

t.test('a stream of a client becomes one request for what the server announces', async (t) => {
  const it = translated()
  const outputs = stream(it)
  t.match(texts(outputs), [
    {
      method: 'subscriptions/listen',
      params: {
        notifications: { toolsListChanged: true },
        _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' },
      },
    },
  ])
  t.equal(outputs.length, 1)
  t.same(stream(it), [], 'a second stream changes nothing')
  t.same(agree(it, listenIn(outputs)), [])
})

t.test(
  'nothing is asked before the client has initialized, or where the server announces nothing',
  async (t) => {
    const fresh = talk('stateless')
    t.same(stream(fresh), [])
    fresh.request(initialize('i'), 1)
    t.same(asked(answer(fresh, 1, discovery)), { toolsListChanged: true }, 'but then')
    const silent = translated({}, { ...discovery, capabilities: { tools: {} } })
    t.same(stream(silent), [])
  },
)

t.test('a session of another process is listened for before the server is known', async (t) => {
  const it = talk('stateless')
  const restore = {
    revision: '2025-06-18',
    initialize: initialize('i').text,
    logLevel: undefined,
    subscriptions: [req(1, 'resources/subscribe', { uri: x }).text],
    repeatableTools: [],
  }
  it.feed({ type: 'leave', member: 'a' })
  it.feed({ type: 'join', member: 'a', restore })
  t.same(asked(stream(it)), {
    toolsListChanged: true,
    promptsListChanged: true,
    resourcesListChanged: true,
    resourceSubscriptions: [x],
  })
})

t.test('a subscription is answered when the server agrees, and only once', async (t) => {
  const it = translated()
  const outputs = subscribe(it, x, 100)
  t.same(types(outputs), ['send'])
  t.same(asked(outputs), { resourceSubscriptions: [x] })
  const number = listenIn(outputs)
  t.same(done(agree(it, number, x)), [ok(100)])
  t.same(agree(it, number, x), [], 'a second acknowledgement says nothing')
  t.same(
    subscribe(it, x, 101).map(({ type }) => type),
    ['finish'],
    'what is heard already is granted at once',
  )
})

t.test(
  'the set changes by a new request; the old one is heard until that is acknowledged',
  async (t) => {
    const { it, number } = hearing(x)
    const outputs = subscribe(it, y, 110)
    t.same(types(outputs), ['send'])
    t.same(asked(outputs), { resourceSubscriptions: [x, y] })
    stream(it)
    t.match(hear(it, updated(x), number), [{ type: 'deliver', member: 'a' }])
    const next = it.conversation.standing.next?.number ?? 0
    const more = agree(it, next, x, y)
    t.same(done(more), [ok(110)])
    t.match(only(more, 'abort'), [{ message: { method: 'subscriptions/listen' } }])
    t.equal(it.conversation.exchanges.size, 1, 'one stream is left')
  },
)

t.test(
  'changes that come while the next stream is not acknowledged begin it anew, and all are answered once',
  async (t) => {
    const it = translated()
    const one = subscribe(it, x, 100)
    const two = subscribe(it, y, 101)
    t.match(types(two), ['abort', 'send'])
    t.same(asked(two), { resourceSubscriptions: [x, y] })
    t.same(agree(it, listenIn(one), x), [], 'the one that was given up counts no more')
    t.same(subscribe(it, x, 102), [], 'asked for already')
    t.same(done(agree(it, listenIn(two), x, y)), [ok(100), ok(101), ok(102)])
    t.equal(it.conversation.standing.waiting.size, 0)
  },
)

t.test('what the server does not agree to is refused, and can be asked for again', async (t) => {
  const { it, number } = hearing(x)
  const outputs = subscribe(it, y, 110)
  t.match(done(agree(it, listenIn(outputs), x)), [{ id: 110, error: { code: -32602 } }])
  t.same(it.feed({ type: 'relisten' }), [], 'the rest is heard')
  const again = subscribe(it, y, 111)
  t.same(asked(again), { resourceSubscriptions: [x, y] })
  t.same(done(again), [])
  t.same(done(agree(it, listenIn(again), x, y)), [ok(111)])
  t.ok(number)
  const first = translated()
  t.match(done(agree(first, listenIn(subscribe(first, x, 100)))), [{ id: 100, error: {} }])
  const second = subscribe(first, x, 101)
  t.match(done(agree(first, listenIn(second), x)), [ok(101)])
})

t.test('an acknowledgement without a list of resources agrees to none', async (t) => {
  for (const params of [
    undefined,
    {},
    { notifications: null },
    { notifications: { resourceSubscriptions: x } },
  ]) {
    const it = translated()
    const number = listenIn(subscribe(it, x, 100))
    const message = note('notifications/subscriptions/acknowledged', params)
    t.match(done(hear(it, message, number)), [{ id: 100, error: { code: -32602 } }])
    t.equal(it.conversation.subscriptions.size, 0)
  }
})

t.test('unsubscribing ends what waits for that resource, too', async (t) => {
  const it = translated()
  subscribe(it, x, 100)
  const outputs = unsubscribe(it, x, 101)
  t.same(done(outputs).toSorted(), [ok(100), ok(101)])
  t.equal(only(outputs, 'abort').length, 1)
  t.equal(it.conversation.standing.waiting.size + it.conversation.exchanges.size, 0)
  subscribe(it, x, 102)
  subscribe(it, y, 103)
  const others = unsubscribe(it, x, 104)
  t.same(done(others).toSorted(), [ok(102), ok(104)], 'and nothing else')
  t.same(done(agree(it, listenIn(others), y)), [ok(103)])
})

t.test('the last one to go ends the stream, and others are listened for without it', async (t) => {
  const { it } = hearing(x, y)
  const less = unsubscribe(it, y, 110)
  t.same(asked(less), { resourceSubscriptions: [x] })
  t.same(done(less), [ok(110)])
  agree(it, listenIn(less), x)
  const none = unsubscribe(it, x, 111)
  t.same(types(none).toSorted(), ['abort', 'finish'])
  t.equal(it.conversation.exchanges.size, 0)
  t.same(done(unsubscribe(it, x, 112)), [ok(112)], 'what is not subscribed to')
})

t.test(
  'what is subscribed to again before the next acknowledgement is asked for again',
  async (t) => {
    const { it } = hearing(x, y)
    unsubscribe(it, x, 110)
    const outputs = subscribe(it, x, 111)
    t.same(done(outputs), [])
    t.same(asked(outputs).resourceSubscriptions.toSorted(), [x, y])
    t.same(done(agree(it, listenIn(outputs), y, x)), [ok(111)])
    t.ok(it.conversation.subscriptions.has(x))
  },
)

t.test(
  'what was unsubscribed is heard of no more, though its stream goes on for a while',
  async (t) => {
    const { it, number } = hearing(x, y)
    stream(it)
    unsubscribe(it, x, 110)
    t.same(only(hear(it, updated(x), number), 'deliver'), [])
    t.match(hear(it, updated(`${y}/part`), number), [{ type: 'deliver' }])
  },
)

t.test('a server without such streams is asked once; subscriptions are refused', async (t) => {
  const it = translated()
  const outputs = subscribe(it, x, 100)
  const refused = refuse(it, listenIn(outputs), -32601)
  t.match(done(refused), [{ id: 100, error: { code: -32602 } }])
  t.same(types(refused), ['finish'])
  t.equal(it.conversation.subscriptions.size, 0)
  t.match(done(subscribe(it, y, 101)), [{ id: 101, error: { code: -32602 } }])
  t.same(stream(it), [])
  t.same(it.feed({ type: 'relisten' }), [])
})

t.test(
  'a stream that fails before its acknowledgement fails who waits, and is tried again',
  async (t) => {
    const cases: [(it: Talk, number: number) => Output[], object][] = [
      [(it, number) => refuse(it, number, -32603), { id: 110, error: { code: -32602 } }],
      [
        (it, number) => answer(it, number, { resultType: 'complete' }),
        { id: 110, error: { code: -32602 } },
      ],
    ]
    for (const [happens, expected] of cases) {
      const { it } = hearing(x)
      const outputs = happens(it, listenIn(subscribe(it, y, 110)))
      t.match(done(outputs), [expected])
      t.match(only(outputs, 'relisten'), [{ losses: 1 }])
      t.same(it.feed({ type: 'relisten' }), [], 'the stream before goes on')
      t.same([...it.conversation.subscriptions.keys()], [x])
    }
    const { it } = hearing(x)
    const number = listenIn(subscribe(it, y, 110))
    const error = new ProxyError('BACKEND_UNREACHABLE', 'no')
    const outputs = it.feed({ type: 'undelivered', exchange: number, error, mayHaveRun: false })
    t.match(only(outputs, 'fail'), [{ exchange: 110, error }])
  },
)

t.test('a stream that ends is opened again after growing pauses', async (t) => {
  const { it, number } = hearing(x)
  let current = number
  let outputs = answer(it, current, { resultType: 'complete' })
  for (const losses of [1, 2, 3]) {
    t.same(outputs, [{ type: 'relisten', losses }])
    const again = it.feed({ type: 'relisten' })
    t.same(asked(again), { resourceSubscriptions: [x] })
    current = listenIn(again)
    outputs = it.feed({ type: 'undelivered', exchange: current, error: lost, mayHaveRun: true })
  }
  const again = it.feed({ type: 'relisten' })
  agree(it, listenIn(again), x)
  hear(it, updated(x), listenIn(again))
  t.same(
    answer(it, listenIn(again)),
    [{ type: 'relisten', losses: 1 }],
    'a change shows that it works',
  )
})

t.test('the end of the current stream does not touch the next one', async (t) => {
  const { it, number } = hearing(x)
  const outputs = subscribe(it, y, 110)
  t.same(done(answer(it, number)), [])
  t.same(it.feed({ type: 'relisten' }), [], 'it is under way')
  t.same(done(agree(it, listenIn(outputs), x, y)), [ok(110)])
})

t.test(
  'a server that agrees to nothing and ends the stream at once is asked no more for the same',
  async (t) => {
    const it = translated()
    const number = listenIn(stream(it))
    agree(it, number)
    t.same(answer(it, number, { resultType: 'complete' }), [])
    t.same(it.feed({ type: 'relisten' }), [])
    const other = subscribe(it, x, 100)
    t.same(asked(other), { toolsListChanged: true, resourceSubscriptions: [x] }, 'but for more')
    t.same(done(agree(it, listenIn(other), x)), [ok(100)])
    t.same(types(answer(it, listenIn(other))), ['relisten'])
    t.same(asked(it.feed({ type: 'relisten' })), asked(other))
  },
)

t.test('who gives up waiting is subscribed to nothing', async (t) => {
  const { it } = hearing(x)
  subscribe(it, y, 110)
  const outputs = it.feed({ type: 'expired', exchange: 110, error: lost })
  t.match(only(outputs, 'fail'), [{ exchange: 110, error: lost }])
  t.same([...it.conversation.subscriptions.keys()], [x])
  const { next } = it.conversation.standing
  t.notOk(next?.filter.resourceSubscriptions?.includes(y))
  const two = translated()
  subscribe(two, x, 100)
  const { standing } = two.conversation
  subscribe(two, x, 101)
  t.same(types(two.feed({ type: 'expired', exchange: 100, error: lost })), ['fail'])
  t.same(done(agree(two, standing.next?.number ?? 0, x)), [ok(101)], 'another may wait for it')
})

t.test('a client that leaves while it waits is told so', async (t) => {
  const it = translated()
  subscribe(it, x, 100)
  t.match(only(it.feed({ type: 'leave', member: 'a' }), 'fail'), [{ exchange: 100 }])
  t.equal(it.conversation.standing.waiting.size, 0)
})

t.test('a subscription needs an address, and there are not too many', async (t) => {
  const it = translated()
  for (const odd of [undefined, null, 5, {}, [x]]) {
    t.match(done(subscribe(it, odd, 100)), [{ id: 100, error: { code: -32602 } }])
    t.same(done(unsubscribe(it, odd, 100)), [ok(100)])
  }
  for (let count = 0; count < 256; count++) subscribe(it, `x:/${count}`, 200 + count)
  t.match(done(subscribe(it, x, 100)), [{ id: 100, error: { code: -32602 } }])
})

t.test(
  'what comes on the stream reaches its client without the tag, else as it was written',
  async (t) => {
    const { it, number } = hearing(x)
    stream(it)
    const odd = '"n":12345678901234567890,"u":"\\u00e9","e":1e400'
    const cases: [string, string][] = [
      [`{"_meta":{"${tag}":${number}},"uri":"${x}",${odd}}`, `{"uri":"${x}",${odd}}`],
      [`{"uri":"${x}","_meta":{"${tag}":1,"y":{${odd}}}}`, `{"uri":"${x}","_meta":{"y":{${odd}}}}`],
      [`{"uri":"${x}","_meta":null}`, `{"uri":"${x}"}`],
    ]
    for (const [params, expected] of cases) {
      const message = parsed(
        `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":${params}}`,
      )
      const [told] = only(hear(it, message, number), 'deliver')
      t.ok(told?.message.text.endsWith(`"params":${expected}}`), expected)
    }
    const bare = parsed('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    t.match(only(hear(it, bare, number), 'deliver'), [{ message: { text: bare.text } }])
  },
)

t.test('what was learnt is told to other processes', async (t) => {
  const { it } = hearing(x)
  const { learnt } = it.conversation
  const outputs = subscribe(it, y, 110)
  t.ok(it.conversation.learnt > learnt)
  const before = it.conversation.learnt
  agree(it, listenIn(outputs), x)
  t.ok(it.conversation.learnt > before, 'that it was refused')
  const then = it.conversation.learnt
  unsubscribe(it, x, 111)
  t.ok(it.conversation.learnt > then)
})

t.test('with as many subscriptions as may be, one of them may be asked for again', async (t) => {
  const it = translated()
  for (let count = 0; count < 256; count++) subscribe(it, `x:/${count}`, 200 + count)
  t.same(done(subscribe(it, 'x:/7', 101)), [])
})
