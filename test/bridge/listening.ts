import t from 'tap'
import type { Output } from '../../src/bridge/conversation.ts'
import { filterIn, isEmpty } from '../../src/bridge/listening.ts'
import { ProxyError } from '../../src/errors.ts'
import type { Notification, Request } from '../../src/protocol/jsonrpc.ts'
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
import { declaring, greeting, joined, modern, serving } from '../fixtures/bridged-eras.ts'
import { initialize, note, req } from '../fixtures/conversing.ts'

const tag = 'io.modelcontextprotocol/subscriptionId'
const forgotten = new ProxyError('BACKEND_SESSION_LOST', 'unknown session')
const changed = (kind: string): Notification => note(`notifications/${kind}/list_changed`)
const updated = (uri: unknown): Notification => note('notifications/resources/updated', { uri })
const everything = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true }

const listen = (it: Talk, notifications: object, number = 50, id: unknown = 'L'): Output[] =>
  it.request(modern(id, 'subscriptions/listen', { notifications }), number)
/** Answers all that went out, and what follows from it. */
function grant(it: Talk, outputs: readonly Output[]): Output[] {
  return only(outputs, 'send').flatMap(({ exchange, message }) =>
    message.kind === 'request' && exchange !== undefined ? answer(it, exchange) : [],
  )
}
/** A client listens, and has been told so. */
function listening(notifications: object, number = 50, it = serving('sse')): Talk {
  grant(it, listen(it, notifications, number, `L${number}`))
  return it
}
const methods = (outputs: readonly Output[]): string[] =>
  only(outputs, 'send').map(({ message }) =>
    message.kind === 'response' ? 'answer' : message.method,
  )
const acknowledgedIn = (outputs: readonly Output[]) =>
  (texts(outputs) as { method?: string; params?: { notifications: object } }[]).flatMap((each) =>
    each.method === 'notifications/subscriptions/acknowledged' ? [each.params?.notifications] : [],
  )

t.test('a filter is what a client wants, each resource once', async (t) => {
  const cases: [object, object][] = [
    [{}, {}],
    [everything, everything],
    [{ toolsListChanged: false, promptsListChanged: 1, resourcesListChanged: 'true' }, {}],
    [{ resourceSubscriptions: [] }, {}],
    [{ resourceSubscriptions: ['x', 'y', 'x'] }, { resourceSubscriptions: ['x', 'y'] }],
    [{ toolsListChanged: true, vendor: true }, { toolsListChanged: true }],
  ]
  for (const [notifications, expected] of cases) {
    t.same(filterIn(modern(1, 'subscriptions/listen', { notifications })), expected)
  }
  const many = [...Array(1001).keys()].map((each) => `x:/${each}`)
  const odd = [{ resourceSubscriptions: 'x' }, { resourceSubscriptions: ['x', 5] }, null, [], 'x']
  for (const notifications of [...odd, undefined, { resourceSubscriptions: many }]) {
    t.equal(filterIn(modern(1, 'subscriptions/listen', { notifications })), undefined)
  }
  t.ok(isEmpty({}))
  t.notOk(isEmpty({ toolsListChanged: true }))
})

for (const dialect of ['sse', 'streamable'] as const) {
  t.test(
    `${dialect}: what can be honoured is acknowledged before all else, once it is sure`,
    async (t) => {
      const it = serving(dialect)
      const outputs = listen(it, { ...everything, resourceSubscriptions: ['x:/a', 'x:/b'] })
      t.match(texts(outputs), [
        { method: 'resources/subscribe', params: { uri: 'x:/a' } },
        { method: 'resources/subscribe', params: { uri: 'x:/b' } },
        { method: 'ping' },
      ])
      const [a = 0, b = 0, ping = 0] = only(outputs, 'send').map(({ exchange }) => exchange ?? 0)
      t.same(only(hear(it, changed('tools')), 'deliver'), [])
      t.same(answer(it, ping), [])
      t.same(refuse(it, b), [], 'one that the backend refuses is left out')
      t.same(texts(answer(it, a)), [
        {
          jsonrpc: '2.0',
          method: 'notifications/subscriptions/acknowledged',
          params: {
            _meta: { [tag]: 'L' },
            // The server does not say that it announces changes of its prompts.
            notifications: {
              toolsListChanged: true,
              resourcesListChanged: true,
              resourceSubscriptions: ['x:/a'],
            },
          },
        },
        {
          jsonrpc: '2.0',
          method: 'notifications/tools/list_changed',
          params: { _meta: { [tag]: 'L' } },
        },
      ])
      t.equal(it.conversation.exchanges.size, 0)
    },
  )
}

t.test(
  'a change is told to all who asked for it, under their own tag, and to nobody else',
  async (t) => {
    const it = listening({ toolsListChanged: true })
    listening({ resourceSubscriptions: ['x:/a'] }, 51, it)
    listening({ toolsListChanged: true, resourceSubscriptions: ['x:/a', 'x:/b/'] }, 52, it)
    const told = (message: Notification): unknown[] =>
      only(hear(it, message), 'deliver').map(({ exchange, message: { text } }) => {
        const { params } = JSON.parse(text)
        t.equal(params['_meta'][tag], `L${exchange}`)
        return exchange
      })
    t.same(told(changed('tools')), [50, 52])
    t.same(told(changed('prompts')), [])
    t.same(told(updated('x:/a')), [51, 52])
    t.same(told(updated('x:/a/part')), [51, 52], 'a part of what was subscribed to')
    t.same(told(updated('x:/b/part')), [52])
    t.same(told(updated('x:/abc')), [])
    for (const odd of [undefined, null, 5, ['x:/a']]) t.same(told(updated(odd)), [])
    t.same(told(note('notifications/vendor', {})), [])
    t.same(told(note('notifications/message', { level: 'error' })), [])
  },
)

t.test('what the server wrote of a change stays, whatever its params are', async (t) => {
  const it = listening({ toolsListChanged: true })
  const cases: [string, object][] = [
    ['', {}],
    [',"params":null', {}],
    [',"params":[1]', {}],
    [',"params":{"_meta":null,"x":1}', { x: 1 }],
    [',"params":{"_meta":[1],"x":1}', { x: 1 }],
    [`,"params":{"_meta":{"${tag}":"theirs","y":2}}`, { _meta: { y: 2 } }],
  ]
  for (const [params, expected] of cases) {
    const message = parsed(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"${params}}`)
    const [{ params: given }] = texts(hear(it, message)) as [
      { params: { _meta: Record<string, unknown> } },
    ]
    t.match(given, expected, params)
    t.equal(given['_meta'][tag], 'L50')
  }
  const odd = '"n":12345678901234567890 ,"u":"\\u00e9","e":1e400'
  const message = parsed(
    `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{${odd}}}`,
  )
  const [told] = only(hear(it, message), 'deliver')
  for (const part of odd.split(',')) t.ok(told?.message.text.includes(part.trim()), part)
})

t.test('the tag is the id as its client wrote it', async (t) => {
  for (const id of ['7', '"x$&"', '1.0', '12345678901234567890', '"\\u00e9"']) {
    const it = serving('streamable')
    const { text } = modern(0, 'subscriptions/listen', { notifications: {} })
    const outputs = it.request(parsed<Request>(text.replace('"id":0', () => `"id":${id}`)), 50)
    const [first] = only(outputs, 'deliver')
    const [end] = only(outputs, 'finish')
    t.ok(first?.message.text.includes(`"${tag}":${id}}`))
    t.ok(end?.response.text.includes(`"${tag}":${id}}`))
    t.ok(end?.response.text.includes(`"id":${id},`))
  }
})

t.test('who will hear of nothing is told so, and let go', async (t) => {
  const cases: [object, object][] = [
    [{}, greeting],
    [{ promptsListChanged: true }, greeting],
    [
      everything,
      { protocolVersion: '2025-11-25', capabilities: { tools: {}, resources: { listChanged: 1 } } },
    ],
    [{ resourceSubscriptions: ['x'] }, { capabilities: { resources: { listChanged: true } } }],
    [everything, {}],
  ]
  for (const [filter, says] of cases) {
    const it = serving('sse', {}, says)
    const outputs = listen(it, filter)
    t.same(types(outputs), ['deliver', 'finish'])
    t.same(acknowledgedIn(outputs), [{}])
    t.match(texts(only(outputs, 'finish')), [
      { id: 'L', result: { resultType: 'complete', _meta: { [tag]: 'L' } } },
    ])
    t.equal(it.conversation.listeners.size + it.conversation.exchanges.size, 0)
  }
  const refusing = serving('sse')
  const outputs = listen(refusing, { resourceSubscriptions: ['x:/a'] })
  refuse(refusing, sentAs(outputs, 'resources/subscribe'))
  t.same(types(answer(refusing, sentAs(outputs, 'ping'))), ['deliver', 'finish'])
  t.same(types(listen(serving('rpc'), everything)), ['deliver', 'finish'], 'no stream, no changes')
})

t.test('a backend that knows no ping is listened to all the same', async (t) => {
  for (const happens of [
    (it: Talk, ping: number) => refuse(it, ping, -32601),
    (it: Talk, ping: number) => it.feed({ type: 'expired', exchange: ping, error: lost }),
    (it: Talk, ping: number) => {
      const error = new ProxyError('BACKEND_REFUSED', 'no')
      return it.feed({ type: 'undelivered', exchange: ping, error, mayHaveRun: false })
    },
  ]) {
    const it = serving('streamable')
    const outputs = listen(it, { toolsListChanged: true })
    t.same(acknowledgedIn(happens(it, sentAs(outputs, 'ping'))), [{ toolsListChanged: true }])
  }
})

t.test('what nobody else wants to hear of is unsubscribed when a client goes', async (t) => {
  const it = listening({ resourceSubscriptions: ['x:/a', 'x:/b', 'x:/c'] })
  listening({ resourceSubscriptions: ['x:/a'] }, 51, it)
  joined(it, 'a')
  it.request(req('s', 'resources/subscribe', { uri: 'x:/b' }), 20, 'a')
  answer(it, 20)
  const first = it.feed({ type: 'abandoned', exchange: 50, cancels: true })
  t.match(texts(first), [{ method: 'resources/unsubscribe', params: { uri: 'x:/c' } }])
  t.equal(first.length, 1)
  const second = it.feed({ type: 'abandoned', exchange: 51, cancels: true })
  t.match(texts(second), [{ method: 'resources/unsubscribe', params: { uri: 'x:/a' } }])
  t.same(it.feed({ type: 'abandoned', exchange: 51, cancels: true }), [])
  t.same(
    only(hear(it, updated('x:/a')), 'deliver').filter(({ member }) => member === 'm'),
    [],
  )
})

t.test('one that goes while it subscribes leaves nothing behind', async (t) => {
  const it = serving('sse')
  const outputs = listen(it, { resourceSubscriptions: ['x:/a'] })
  const after = it.feed({ type: 'abandoned', exchange: 50, cancels: true })
  const more = grant(it, outputs)
  t.match(texts([...after, ...more]), [
    { method: 'resources/unsubscribe', params: { uri: 'x:/a' } },
  ])
  t.same(only([...after, ...more], 'deliver'), [])
  t.equal(it.conversation.listeners.size, 0)
})

t.test('one that goes takes nothing from one that is about to subscribe', async (t) => {
  const it = listening({ resourceSubscriptions: ['x:/a'] })
  const outputs = listen(it, { resourceSubscriptions: ['x:/a'] }, 51)
  t.same(it.feed({ type: 'abandoned', exchange: 50, cancels: true }), [])
  t.same(acknowledgedIn(grant(it, outputs)), [{ resourceSubscriptions: ['x:/a'] }])
})

t.test(
  'a new backend session is subscribed in the name of all who listen, who are told nothing',
  async (t) => {
    const it = listening({ toolsListChanged: true, resourceSubscriptions: ['x:/a'] })
    listening({ resourceSubscriptions: ['x:/a', 'x:/b'] }, 51, it)
    t.same(it.feed({ type: 'gone', error: lost }), [{ type: 'reopen', losses: 0 }])
    const outputs = answer(it, sentAs(it.feed({ type: 'reopened' }), 'initialize'), greeting)
    t.match(texts(outputs), [
      { method: 'notifications/initialized' },
      { method: 'resources/subscribe', params: { uri: 'x:/a' } },
      { method: 'resources/subscribe', params: { uri: 'x:/b' } },
    ])
    t.equal(outputs.length, 3)
    t.same(grant(it, outputs), [])
    t.same(
      only(hear(it, updated('x:/a')), 'deliver').map(({ exchange }) => exchange),
      [50, 51],
    )
  },
)

t.test('one that was about to subscribe begins anew in the next session', async (t) => {
  const happens: [string, (it: Talk, number: number) => Output[]][] = [
    ['the session ends', (it) => it.feed({ type: 'gone', error: lost })],
    [
      'the backend has forgotten it',
      (it, exchange) =>
        it.feed({ type: 'undelivered', exchange, error: forgotten, mayHaveRun: false }),
    ],
  ]
  for (const dialect of ['sse', 'streamable'] as const) {
    for (const [name, happen] of happens) {
      const it = serving(dialect)
      const begun = listen(it, { toolsListChanged: true, resourceSubscriptions: ['x:/a'] })
      const [a = 0, ping = 0] = only(begun, 'send').map(({ exchange }) => exchange ?? 0)
      it.feed({ type: 'delivered', exchange: ping })
      const outputs = happen(it, a)
      t.same(types(outputs), ['reopen'], `${dialect}: ${name}`)
      const more = answer(it, sentAs(it.feed({ type: 'reopened' }), 'initialize'), greeting)
      t.same(methods(more), ['notifications/initialized', 'resources/subscribe', 'ping'])
      const late = it.feed({
        type: 'undelivered',
        exchange: a,
        error: lost,
        mayHaveRun: true,
        stale: true,
      })
      t.same(late, [], 'what becomes of the earlier try no longer counts')
      t.same(acknowledgedIn(grant(it, more)), [
        { toolsListChanged: true, resourceSubscriptions: ['x:/a'] },
      ])
    }
  }
})

t.test(
  'where no session can be opened, who waits for one fails, and who listens waits on',
  async (t) => {
    const it = listening({ toolsListChanged: true })
    it.feed({ type: 'gone', error: lost })
    t.same(listen(it, { toolsListChanged: true }, 51), [])
    const number = sentAs(it.feed({ type: 'reopened' }), 'initialize')
    const outputs = it.feed({
      type: 'undelivered',
      exchange: number,
      error: lost,
      mayHaveRun: true,
    })
    t.match(outputs, [
      { type: 'fail', exchange: 51, error: lost },
      { type: 'reopen', losses: 1 },
    ])
    t.same([...it.conversation.listeners.keys()], [50])
  },
)

t.test(
  "a client's own initialize that opens the session is good for those who listen",
  async (t) => {
    const it = talk('sse', { member: 'm', single: true, declared: declaring(), pooled: true })
    joined(it, 'a')
    it.request(initialize('i'), 10, 'a')
    t.same(listen(it, { toolsListChanged: true }), [], 'nothing is opened beside it')
    const outputs = answer(it, 10, greeting)
    t.same(acknowledgedIn(grant(it, outputs)), [{ toolsListChanged: true }])
    it.feed({ type: 'gone', error: lost })
    const again = listening({ resourceSubscriptions: ['x:/a'] })
    joined(again, 'a')
    again.feed({ type: 'gone', error: lost })
    again.request(initialize('i'), 10, 'a')
    t.ok(methods(answer(again, 10, greeting)).includes('resources/subscribe'))
  },
)

t.test(
  'on a shared stream a session client hears of a change as it came, a listener with its tag',
  async (t) => {
    const it = listening({ toolsListChanged: true })
    joined(it, 'a')
    it.feed({ type: 'stream', member: 'a', open: true })
    const outputs = hear(it, changed('tools'))
    t.match(outputs, [
      { type: 'deliver', member: 'm', exchange: 50 },
      { type: 'deliver', member: 'a', exchange: undefined },
    ])
    t.same(texts(outputs)[1], { jsonrpc: '2.0', method: 'notifications/tools/list_changed' })
  },
)

t.test('changes are not told to a request that happens to run', async (t) => {
  const it = serving('streamable')
  it.request(modern('c', 'tools/call'), 60)
  t.match(hear(it, changed('tools'), 60), [{ type: 'dropped', reason: 'not-asked-for' }])
  listening({ toolsListChanged: true }, 50, it)
  t.match(hear(it, changed('tools'), 60), [{ type: 'deliver', exchange: 50 }])
})

t.test('a flood of changes before the acknowledgement is kept within bounds', async (t) => {
  const it = serving('sse')
  const begun = listen(it, { toolsListChanged: true })
  for (let count = 0; count < 400; count++) hear(it, changed('tools'))
  t.equal(only(grant(it, begun), 'deliver').length, 257)
})

t.test('those who listen are told when we leave', async (t) => {
  const it = listening({ resourceSubscriptions: ['x:/a'] })
  listen(it, { toolsListChanged: true }, 51, 7)
  const outputs = it.feed({ type: 'farewell' })
  t.match(texts(only(outputs, 'finish')), [
    { id: 'L50', result: { resultType: 'complete', _meta: { [tag]: 'L50' } } },
    { id: 7, result: { resultType: 'complete', _meta: { [tag]: 7 } } },
  ])
  t.same(methods(outputs), ['resources/unsubscribe'])
  t.same(it.feed({ type: 'farewell' }), [])
  const same = serving('stateless')
  same.request(modern('c', 'tools/call'), 60)
  listen(same, everything, 61)
  const told = same.feed({ type: 'farewell' })
  t.match(texts(only(told, 'finish')), [{ id: 'L', result: { _meta: { [tag]: 'L' } } }])
  t.match(only(told, 'abort'), [{ message: { method: 'subscriptions/listen' } }])
  t.same([...same.conversation.exchanges.keys()], [60], 'other requests run on')
})

t.test('a change that is kept until the acknowledgement is not counted as dropped', async (t) => {
  const it = serving('sse')
  listen(it, { toolsListChanged: true })
  t.same(hear(it, changed('tools')), [])
})
