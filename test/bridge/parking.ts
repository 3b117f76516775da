import t from 'tap'
import { asInputRequired, faultInAnswers, mayBeAsked } from '../../src/bridge/parking.ts'
import type { Output } from '../../src/bridge/conversation.ts'
import { ProxyError } from '../../src/errors.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import { answer, answerWith, hear, lost, only, parsed, texts, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { joined, modern, questionsIn, serving } from '../fixtures/bridged-eras.ts'
import { note, req, res } from '../fixtures/conversing.ts'

const capabilities = { elicitation: {}, roots: {} }
const refusing = new ProxyError('BACKEND_REFUSED', 'no')
const call = (id: unknown, params: object = {}, says: object = {}): Request =>
  modern(id, 'tools/call', { name: 'x', ...params }, { capabilities, ...says })
const elicit = (id: unknown) => req(id, 'elicitation/create', { message: `${String(id)}?` })

/** A call under way as exchange 50, in which the backend has asked each of `questions`. */
function asking(dialect: 'sse' | 'streamable', ...questions: Request[]): Talk {
  const it = serving(dialect, capabilities)
  it.request(call('one'), 50)
  for (const question of questions) hear(it, question, 50)
  return it
}
const park = (it: Talk): Output[] => it.feed({ type: 'gathered', exchange: 50 })
const keys = (outputs: readonly Output[]): string[] => Object.keys(questionsIn(outputs))
const back = (it: Talk, answers: object | undefined, id: unknown = 'two'): Output[] => {
  const message = call(id, answers === undefined ? {} : { inputResponses: answers })
  return it.feed({ type: 'resume', exchange: 50, message, carries: true })
}

for (const dialect of ['sse', 'streamable'] as const) {
  t.test(`${dialect}: questions that come together become one input_required`, async (t) => {
    const it = serving(dialect, capabilities)
    it.request(call('one'), 50)
    t.same(hear(it, elicit('q1'), 50), [{ type: 'gather', exchange: 50 }])
    t.same(hear(it, req('q2', 'roots/list'), 50), [], 'which is awaited once')
    const [parks, ...others] = park(it)
    t.same(others, [])
    t.match(parks, { type: 'park', exchange: 50, round: 1 })
    t.same(Object.values(questionsIn(parks === undefined ? [] : [parks])), [
      { method: 'elicitation/create', params: { message: 'q1?' } },
      { method: 'roots/list' },
    ])
  })

  t.test(
    `${dialect}: the answers go to the backend under its own ids, and the call goes on`,
    async (t) => {
      const it = asking(dialect, elicit('q1'), elicit(7))
      const [one = '', two = ''] = keys(park(it))
      const outputs = back(it, { [two]: { action: 'decline' }, [one]: { action: 'accept', n: 1 } })
      t.same(texts(outputs), [
        { jsonrpc: '2.0', id: 'q1', result: { action: 'accept', n: 1 } },
        { jsonrpc: '2.0', id: 7, result: { action: 'decline' } },
      ])
      t.same(types(outputs), ['send', 'send'])
      t.match(texts(answer(it, 50, { content: [] })), [{ id: 'two', result: { content: [] } }])
      t.equal(it.conversation.questions.size + it.conversation.away.size, 0)
    },
  )
}

t.test(
  'a client that leaves answers out is asked for those again, in a round of its own',
  async (t) => {
    const it = asking('sse', elicit('q1'), elicit('q2'))
    const [one = '', two = ''] = keys(park(it))
    const outputs = back(it, { [one]: { action: 'accept' }, q1: {}, other: { action: 'accept' } })
    t.match(texts(only(outputs, 'send')), [{ id: 'q1' }], 'and what nobody asked for is ignored')
    t.match(only(outputs, 'park'), [{ exchange: 50, round: 2 }])
    t.same(keys(outputs), [two])
    t.match(only(back(it, undefined), 'park'), [{ round: 3 }], 'also where it brings none at all')
  },
)

t.test('answers are for the questions of their own exchange', async (t) => {
  const it = asking('streamable', elicit('q1'))
  it.request(call('other'), 51)
  hear(it, elicit('theirs'), 51)
  const [parks] = only(it.feed({ type: 'gathered', exchange: 51 }), 'park')
  const [theirs = ''] = keys(parks === undefined ? [] : [parks])
  const [mine = ''] = keys(park(it))
  const outputs = back(it, { [theirs]: { action: 'accept' } })
  t.same(only(outputs, 'send'), [], 'another request of the same caller cannot answer them')
  t.same(keys(outputs), [mine])
})

t.test('an answer goes on as it was written', async (t) => {
  const it = asking('sse', elicit('q1'))
  const [key = ''] = keys(park(it))
  const text = '{ "n":12345678901234567890, "u":"\\u00e9", "x":1e400, "x":1 }'
  const message = parsed<Request>(
    call('two', { inputResponses: { [key]: 0 } }).text.replace(`"${key}":0`, `"${key}": ${text}`),
  )
  const [reply] = it.feed({ type: 'resume', exchange: 50, message, carries: true })
  t.equal(
    reply?.type === 'send' && reply.message.text,
    `{"jsonrpc":"2.0","id":"q1","result":${text}}`,
  )
})

t.test('what happens while the client is away waits for it', async (t) => {
  const cases: [string, (it: Talk) => Output[], object][] = [
    [
      'the answer',
      (it) => answer(it, 50, { done: true }),
      { type: 'finish', response: { idText: '"two"' } },
    ],
    [
      'an error',
      (it) => answerWith(it, 50, '"error":{"code":-5,"message":"no"}'),
      { type: 'finish' },
    ],
    [
      'a failure',
      (it) => it.feed({ type: 'undelivered', exchange: 50, error: refusing, mayHaveRun: true }),
      { type: 'fail', error: refusing },
    ],
    [
      'the end of the backend session',
      (it) => {
        it.feed({ type: 'delivered', exchange: 50 })
        return it.feed({ type: 'gone', error: lost })
      },
      { type: 'fail', error: lost },
    ],
    [
      'a question that it cannot be asked',
      (it) => hear(it, req('q', 'sampling/createMessage'), 50),
      { type: 'fail', error: { code: 'CAPABILITY_MISSING' } },
    ],
  ]
  for (const dialect of ['sse', 'streamable'] as const) {
    for (const [name, happens, expected] of cases) {
      const it = asking(dialect, elicit('q1'))
      park(it)
      const now = happens(it)
      t.same([...only(now, 'finish'), ...only(now, 'fail')], [], `${dialect}: ${name}`)
      t.same(only(now, 'deliver'), [], 'nothing is told to who is not there')
      t.match(back(it, undefined), [{ exchange: 50, ...expected }], `${dialect}: ${name}`)
      const { away, questions, exchanges } = it.conversation
      t.equal(away.size + questions.size + exchanges.size, 0)
      t.match(
        back(it, undefined),
        [{ type: 'fail', error: { code: 'PARAMS_INVALID' } }],
        'but once',
      )
    }
  }
})

t.test('a question that comes while the client is away is put to it when it is back', async (t) => {
  const it = asking('streamable', elicit('q1'))
  const [one = ''] = keys(park(it))
  t.same(hear(it, elicit('q2'), 50), [])
  const outputs = back(it, { [one]: { action: 'accept' } })
  t.same(types(outputs), ['send', 'park'])
  t.same(Object.values(questionsIn(outputs)), [
    { method: 'elicitation/create', params: { message: 'q2?' } },
  ])
})

t.test('after a round the next question is gathered anew', async (t) => {
  const it = asking('streamable', elicit('q1'))
  const [one = ''] = keys(park(it))
  back(it, { [one]: { action: 'accept' } })
  t.same(hear(it, elicit('q2'), 50), [{ type: 'gather', exchange: 50 }])
  t.match(park(it), [{ type: 'park', round: 2 }])
})

t.test('nobody is sent away for questions that are open no more', async (t) => {
  const withdrawn = asking('sse', elicit('q1'))
  const told = hear(withdrawn, note('notifications/cancelled', { requestId: 'q1' }))
  t.same(told, [], 'a modern client knows nothing of the question that is withdrawn')
  t.same(park(withdrawn), [])
  const answered = asking('sse', elicit('q1'))
  t.same(types(answer(answered, 50)), ['finish'])
  t.same(park(answered), [])
  t.equal(answered.conversation.questions.size, 0)
  const abandoned = asking('sse', elicit('q1'))
  const outputs = abandoned.feed({ type: 'abandoned', exchange: 50, cancels: true })
  t.match(texts(only(outputs, 'send')), [
    { id: 'q1', error: { code: -32000 } },
    { method: 'notifications/cancelled', params: { requestId: 50 } },
  ])
  t.same(park(abandoned), [])
})

t.test('a client that never comes back is given up: the backend hears of it', async (t) => {
  const it = asking('sse', elicit('q1'))
  park(it)
  const error = new ProxyError('CANCELLED', 'too late')
  const outputs = it.feed({ type: 'expired', exchange: 50, error })
  t.match(texts(only(outputs, 'send')), [
    { id: 'q1', error: { code: -32000 } },
    { method: 'notifications/cancelled', params: { requestId: 50 } },
  ])
  const { away, questions, exchanges } = it.conversation
  t.equal(away.size + questions.size + exchanges.size, 0)
  t.match(back(it, undefined), [{ type: 'fail', error: { code: 'PARAMS_INVALID' } }])
})

t.test('what came while it was away is given up with it', async (t) => {
  const it = asking('sse', elicit('q1'))
  park(it)
  answer(it, 50)
  it.feed({ type: 'expired', exchange: 50, error: lost })
  t.equal(it.conversation.away.size, 0)
})

t.test('a read that is sent again is asked again: old answers are for nothing', async (t) => {
  const it = serving('sse', capabilities)
  it.request(modern('one', 'prompts/get', { name: 'x' }, { capabilities }), 50)
  hear(it, elicit('q1'), 50)
  const [old = ''] = keys(park(it))
  it.feed({ type: 'gone', error: lost })
  const [handshake] = only(it.feed({ type: 'reopened' }), 'send')
  answer(it, handshake?.exchange ?? 0)
  hear(it, elicit('q1'), 50)
  const message = modern('two', 'prompts/get', { inputResponses: { [old]: {} } }, { capabilities })
  const outputs = it.feed({ type: 'resume', exchange: 50, message, carries: true })
  t.same(types(outputs), ['park'])
  t.not(keys(outputs)[0], old)
})

t.test('what a retry declares is what counts from then on', async (t) => {
  const it = asking('streamable', elicit('q1'))
  const [one = ''] = keys(park(it))
  const says = { capabilities: {}, meta: { progressToken: 'new' } }
  const message = call('two', { inputResponses: { [one]: {} } }, says)
  it.feed({ type: 'resume', exchange: 50, message, carries: true })
  const outputs = hear(it, elicit('q2'), 50)
  t.match(only(outputs, 'fail'), [{ exchange: 50, error: { code: 'CAPABILITY_MISSING' } }])
})

t.test('progress after a round goes under the token of the retry', async (t) => {
  const it = serving('sse', capabilities)
  it.request(call('one', {}, { meta: { progressToken: 'old' } }), 50)
  const progress = note('notifications/progress', { progressToken: 50, progress: 1 })
  t.match(texts(hear(it, progress)), [{ params: { progressToken: 'old' } }])
  hear(it, elicit('q1'), 50)
  const [one = ''] = keys(park(it))
  t.same(hear(it, progress), [], 'and nowhere while it is away')
  const message = call('two', { inputResponses: { [one]: {} } }, { meta: { progressToken: 'new' } })
  it.feed({ type: 'resume', exchange: 50, message, carries: true })
  t.match(texts(hear(it, progress)), [{ params: { progressToken: 'new' } }])
})

t.test('only three requests may be answered with questions', async (t) => {
  for (const method of ['tools/call', 'prompts/get', 'resources/read']) t.ok(mayBeAsked(method))
  for (const method of ['tools/list', 'completion/complete', 'server/discover', 'x']) {
    t.notOk(mayBeAsked(method), method)
    const it = serving('streamable', capabilities)
    if (method === 'server/discover') continue
    it.request(modern('one', method, {}, { capabilities }), 50)
    const outputs = hear(it, elicit('q1'), 50)
    t.same(only(outputs, 'deliver'), [], method)
    t.same(only(outputs, 'gather'), [], method)
  }
})

t.test('what a request has not declared ends it, with what it should have declared', async (t) => {
  for (const dialect of ['sse', 'streamable'] as const) {
    const it = serving(dialect, capabilities)
    it.request(call('one'), 50)
    const outputs = hear(it, req('q', 'elicitation/create', { mode: 'url' }), 50)
    t.match(only(outputs, 'fail'), [
      {
        exchange: 50,
        error: {
          code: 'CAPABILITY_MISSING',
          data: { requiredCapabilities: { elicitation: { url: {} } } },
        },
      },
    ])
    t.match(texts(only(outputs, 'send')), [
      { id: 'q', error: { code: -32601 } },
      { method: 'notifications/cancelled', params: { requestId: 50 } },
    ])
    t.same(only(answer(it, 50), 'finish'), [], 'the answer comes too late')
  }
})

t.test(
  'on a shared stream a question goes to whose request runs, never to a modern client by guess',
  async (t) => {
    const it = serving('sse', capabilities)
    joined(it, 'a', { elicitation: {} })
    it.request(call('one'), 50)
    it.request(req('c', 'tools/call'), 51, 'a')
    t.match(
      hear(it, elicit('q1')),
      [{ type: 'deliver', member: 'a', exchange: 51 }],
      'two may be meant',
    )
    answer(it, 51)
    t.match(
      hear(it, elicit('q2')),
      [{ type: 'gather', exchange: 50 }],
      'now it can only be this one',
    )
    answer(it, 50)
    it.request(req('d', 'tools/call'), 52, 'a')
    t.match(hear(it, elicit('q3')), [{ type: 'deliver', member: 'a', exchange: 52 }])
  },
)

t.test('a question that nobody has a request for waits for one that can take it', async (t) => {
  const it = serving('sse', capabilities)
  hear(it, elicit('q1'))
  for (const [number, method] of [
    [51, 'tools/list'],
    [52, 'server/discover'],
  ] as const) {
    const outputs = it.request(modern('x', method, {}, { capabilities }), number)
    t.same(only(outputs, 'deliver'), [], method)
    t.same(only(outputs, 'fail'), [], method)
  }
  t.equal(it.conversation.questions.size, 0)
  t.match(it.request(call('one'), 53), [{ type: 'send' }, { type: 'gather', exchange: 53 }])
})

t.test('a question that waits ends no request that could not take it', async (t) => {
  const it = serving('sse', capabilities)
  hear(it, req('q', 'elicitation/create', { mode: 'url' }))
  t.same(types(it.request(call('one'), 50)), ['send'])
})

t.test('ping of a backend is answered for a modern client, whom nobody pings', async (t) => {
  const it = serving('streamable', capabilities)
  it.request(call('one'), 50)
  t.match(texts(hear(it, req('p', 'ping'), 50)), [{ id: 'p', result: {} }])
})

t.test('answers must be objects, and be so many as there are', async (t) => {
  const fault = (answers: unknown) => faultInAnswers(call('x', { inputResponses: answers }))
  for (const good of [{}, { q: {} }, { q: {}, __proto__: null }]) t.equal(fault(good), undefined)
  t.equal(faultInAnswers(call('x')), undefined)
  for (const bad of [null, [], 'x', 5, true]) t.match(fault(bad), /must be an object/)
  for (const bad of [null, [], 'x', 5]) t.match(fault({ ok: {}, q: bad }), /"q" must be an object/)
})

t.test('the error that a user must visit an address becomes input_required', async (t) => {
  const url = { elicitation: { url: {} } }
  const error = (data: string) =>
    parsed<ReturnType<typeof res>>(
      `{"jsonrpc":"2.0","id":"q","error":{"code":-32042,"message":"go there","data":${data}}}`,
    )
  const one =
    '{"mode":"url","elicitationId":"e","url":"https://x.test","message":"m","n":12345678901234567890}'
  const asked = asInputRequired(error(`{"elicitations":[${one},${one}]}`), 'tools/call', url)
  const question = {
    method: 'elicitation/create',
    params: { mode: 'url', url: 'https://x.test', message: 'm' },
  }
  t.match(JSON.parse(asked?.text ?? '{}'), {
    id: 'q',
    result: { resultType: 'input_required', inputRequests: { q1: question, q2: question } },
  })
  t.notMatch(asked?.text, /elicitationId/)
  t.match(asked?.text, /12345678901234567890/)
  t.equal(asInputRequired(error(`{"elicitations":[${one}]}`), 'tools/list', url), undefined)
  for (const odd of [
    'null',
    '{}',
    '{"elicitations":null}',
    '{"elicitations":[]}',
    '{"elicitations":{}}',
  ]) {
    t.equal(asInputRequired(error(odd), 'tools/call', url), undefined, odd)
  }
  t.equal(asInputRequired(res(1), 'tools/call', url), undefined)
  const refused = asInputRequired(error(`{"elicitations":[${one}]}`), 'tools/call', {
    elicitation: {},
  })
  t.match(JSON.parse(refused?.text ?? '{}'), {
    id: 'q',
    error: { code: -32021, data: { requiredCapabilities: url } },
  })
  for (const odd of ['[null]', '[5,"x"]', '[[]]']) {
    const answered = asInputRequired(error(`{"elicitations":${odd}}`), 'tools/call', url)
    t.equal(answered, undefined, `what is no elicitation is none: ${odd}`)
  }
})

t.test('the retry of such a request runs anew, without what it brought', async (t) => {
  const it = serving('streamable', { elicitation: { url: {} } })
  const says = { capabilities: { elicitation: { url: {} } } }
  it.request(call('one', {}, says), 50)
  const data = '{"elicitations":[{"url":"u","message":"m"}]}'
  const outputs = answerWith(it, 50, `"error":{"code":-32042,"message":"go","data":${data}}`)
  t.match(texts(outputs), [{ id: 'one', result: { resultType: 'input_required' } }])
  const again = it.request(call('two', { inputResponses: { q1: { action: 'accept' } } }, says), 51)
  t.same(texts(again), [{ jsonrpc: '2.0', id: 51, method: 'tools/call', params: { name: 'x' } }])
})

t.test('questions and answers nested beyond the stack pass', async (t) => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  const it = serving('sse', capabilities)
  const nested = (message: Request, from: string): Request =>
    parsed(message.text.replace(from, () => from.replace('0', deep)))
  it.request(nested(call('one', { arguments: 0 }), '"arguments":0'), 50)
  hear(it, nested(req('q', 'elicitation/create', { message: 0 }), '"message":0'))
  const parks = park(it)
  t.ok(only(parks, 'park')[0]?.questions.includes(deep))
  const [key = ''] = keys(parks)
  const retry = nested(call('two', { inputResponses: { [key]: { x: 0 } } }), '"x":0')
  const [reply] = it.feed({ type: 'resume', exchange: 50, message: retry, carries: true })
  t.ok(reply?.type === 'send' && reply.message.text.includes(deep))
})
