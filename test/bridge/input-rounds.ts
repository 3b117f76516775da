import t from 'tap'
import { mostRounds } from '../../src/bridge/input-rounds.ts'
import type { Output } from '../../src/bridge/conversation.ts'
import { ProxyError } from '../../src/errors.ts'
import type { Response } from '../../src/protocol/jsonrpc.ts'
import { answer, answerWith, hear, lost, only, parsed, texts, types } from '../fixtures/bridged.ts'
import type { Talk } from '../fixtures/bridged.ts'
import { modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { note, req, res } from '../fixtures/conversing.ts'

const all = { elicitation: {}, roots: {}, sampling: {} }
const form = { method: 'elicitation/create', params: { message: '?' } }
const roots = { method: 'roots/list' }

/** A call under way as exchange 5, which the backend answered with these questions. */
function asked(inputRequests: object | undefined, more: object = {}, capabilities: object = all) {
  const it = translated(capabilities)
  it.request(req('c', 'tools/call', { name: 'x', n: 1 }), 5)
  const outputs = answer(it, 5, { resultType: 'input_required', inputRequests, ...more })
  return {
    it,
    outputs,
    ids: texts(only(outputs, 'deliver')).map((each) => (each as { id: number }).id),
  }
}
const reply = (it: Talk, id: number | undefined, body: string): Output[] =>
  it.feed({
    type: 'post',
    member: 'a',
    message: parsed<Response>(`{"jsonrpc":"2.0","id":${id},${body}}`),
  })
const nothing: { readonly params: Record<string, unknown> } = { params: {} }
const sent = (outputs: readonly Output[]) =>
  texts(only(outputs, 'send')) as { id: unknown; params: Record<string, unknown> }[]

t.test(
  'questions go to the client on its request, and the last answer sends the request again',
  async (t) => {
    const { it, outputs, ids } = asked({ a: form, b: roots }, { requestState: 's' })
    t.match(outputs, [
      { type: 'deliver', member: 'a', exchange: 5 },
      { type: 'deliver', member: 'a', exchange: 5 },
    ])
    t.match(texts(outputs), [form, roots])
    t.same(reply(it, ids[1], '"result":{"roots":[]}'), [], 'the others are waited for')
    const again = reply(it, ids[0], '"result":{"action":"accept"}')
    t.match(sent(again), [
      {
        method: 'tools/call',
        params: {
          name: 'x',
          n: 1,
          inputResponses: { a: { action: 'accept' }, b: { roots: [] } },
          requestState: 's',
        },
      },
    ])
    t.match(only(again, 'send'), [{ exchange: 5, translated: true }])
    t.not(sent(again)[0]?.id, 'c', 'under an id of its own, for it is a request of its own')
    t.match(texts(answer(it, 5, { resultType: 'complete', done: 1 })), [
      { id: 'c', result: { done: 1 } },
    ])
    t.equal(it.conversation.questions.size + it.conversation.exchanges.size, 0)
  },
)

t.test('answers and state go as they were written', async (t) => {
  const { it, ids } = asked({ 'a"\n': form }, { requestState: 'é"\\' })
  const result = '{ "n":12345678901234567890,"u":"\\u00e9" , "n":2}'
  const [{ message } = { message: undefined }] = only(
    reply(it, ids[0], `"result":${result}`),
    'send',
  )
  t.ok(message?.text.includes(`"inputResponses":{"a\\"\\n":${result}}`))
  t.match(JSON.parse(message?.text ?? '{}'), { params: { requestState: 'é"\\' } })
})

t.test('each round has its own answers and state, and none of the round before', async (t) => {
  const { it, ids } = asked({ a: form }, { requestState: 'one' })
  reply(it, ids[0], '"result":{"action":"accept"}')
  const next = answer(it, 5, { resultType: 'input_required', inputRequests: { b: roots } })
  const [{ id }] = texts(next) as [{ id: number }]
  const [{ params } = nothing] = sent(reply(it, id, '"result":{"roots":[]}'))
  t.same(params['inputResponses'], { b: { roots: [] } })
  t.notOk('requestState' in params)
})

t.test('where nothing is asked, the request goes out again at once', async (t) => {
  for (const questions of [undefined, {}]) {
    const { outputs } = asked(questions, { requestState: 's' })
    t.same(types(outputs), ['send'])
    const [{ params } = nothing] = sent(outputs)
    t.equal(params['requestState'], 's')
    t.notOk('inputResponses' in params)
  }
})

t.test('a server that asks on and on is given up', async (t) => {
  const it = translated(all)
  it.request(req('c', 'tools/call'), 5)
  for (let round = 0; round < mostRounds; round++) {
    t.same(types(answer(it, 5, { resultType: 'input_required', requestState: 's' })), ['send'])
  }
  const outputs = answer(it, 5, { resultType: 'input_required', requestState: 's' })
  t.match(outputs, [{ type: 'fail', exchange: 5, error: { code: 'BACKEND_ANSWER_INVALID' } }])
  t.equal(it.conversation.exchanges.size, 0)
})

t.test('what is no question that clients know ends the request', async (t) => {
  const odd: object[] = [
    { a: null },
    { a: [] },
    { a: 'roots/list' },
    { a: {} },
    { a: { method: 5 } },
    { a: { method: 'ping' } },
    { a: { method: 'vendor/question' } },
    { a: form, b: { method: 'tools/list' } },
    { a: { ...roots, result: {} } },
  ]
  for (const questions of [...odd, [form], 'x', null, 5]) {
    const { it, outputs } = asked(questions as object)
    const shown = JSON.stringify(questions)
    t.match(
      outputs,
      [{ type: 'fail', exchange: 5, error: { code: 'BACKEND_ANSWER_INVALID' } }],
      shown,
    )
    t.equal(outputs.length, 1)
    t.equal(it.conversation.questions.size + it.conversation.exchanges.size, 0)
  }
})

t.test('what the client has not declared it is not asked', async (t) => {
  const cases: [object, object, object][] = [
    [{}, form, { elicitation: { form: {} } }],
    [{ elicitation: {} }, { ...form, params: { mode: 'url' } }, { elicitation: { url: {} } }],
    [
      { sampling: {} },
      { method: 'sampling/createMessage', params: { tools: [] } },
      { sampling: { tools: {} } },
    ],
  ]
  for (const [capabilities, question, required] of cases) {
    const { it, outputs } = asked({ ok: question }, {}, capabilities)
    t.match(outputs, [
      {
        type: 'fail',
        error: { code: 'CAPABILITY_MISSING', data: { requiredCapabilities: required } },
      },
    ])
    t.equal(it.conversation.questions.size + it.conversation.exchanges.size, 0)
  }
})

t.test("an envelope that the server put around a question is not the client's", async (t) => {
  const { outputs } = asked({ a: { ...roots, id: 'theirs', jsonrpc: '1.0' } })
  const [question] = texts(outputs) as [{ id: unknown; jsonrpc: string }]
  t.type(question.id, 'number')
  t.equal(question.jsonrpc, '2.0')
})

t.test('a question to visit an address has the id that clients of 2025-11-25 want', async (t) => {
  const params = { mode: 'url', url: 'https://x.test', message: 'm' }
  const { outputs } = asked({ a: { ...form, params } }, {}, { elicitation: { url: {} } })
  const [{ params: given }] = texts(outputs) as [{ params: { elicitationId: unknown } }]
  t.match(given, params)
  t.type(given.elicitationId, 'string')
  const own = { ...form, params: { ...params, elicitationId: 'own' } }
  const others = asked({ a: own, b: form }, {}, { elicitation: { form: {}, url: {} } })
  t.same(
    texts(others.outputs).map((each) => (each as { params: object }).params),
    [own.params, form.params],
    'unless it has one, or wants none',
  )
})

t.test('a user who was not asked has cancelled; any other refusal ends the request', async (t) => {
  const one = asked({ a: form })
  const again = reply(one.it, one.ids[0], '"error":{"code":-1,"message":"no"}')
  t.match(sent(again), [{ params: { inputResponses: { a: { action: 'cancel' } } } }])
  const two = asked({ a: roots, b: form })
  const outputs = reply(two.it, two.ids[0], '"error":{"code":-7,"message":"no"}')
  const [finished] = texts(only(outputs, 'finish')) as [{ id: string; error: { message: string } }]
  t.match(finished, { id: 'c', error: { code: -7 } })
  t.match(finished.error.message, /roots\/list: no/)
  t.match(texts(only(outputs, 'deliver')), [
    { method: 'notifications/cancelled', params: { requestId: two.ids[1] } },
  ])
  t.equal(two.it.conversation.questions.size + two.it.conversation.exchanges.size, 0)
  t.match(reply(two.it, two.ids[1], '"result":{}'), [{ reason: 'unknown-question' }])
})

t.test('an error without a code or a result that is missing is a refusal too', async (t) => {
  for (const body of [
    '"error":"no"',
    '"error":{}',
    '"error":null',
    '"error":{"code":1.5,"message":"m"}',
  ]) {
    const { it, ids } = asked({ a: roots })
    const outputs = reply(it, ids[0], body)
    t.match(texts(only(outputs, 'finish')), [{ id: 'c', error: { code: -32603 } }], body)
  }
})

t.test('a request that ends takes its questions with it, and the client is told', async (t) => {
  const ends: [string, (it: Talk) => Output[]][] = [
    [
      'cancelled',
      (it) =>
        it.feed({
          type: 'post',
          member: 'a',
          message: note('notifications/cancelled', { requestId: 'c' }),
        }),
    ],
    ['expired', (it) => it.feed({ type: 'expired', exchange: 5, error: lost })],
  ]
  for (const [name, happens] of ends) {
    const { it, ids } = asked({ a: form, b: roots })
    reply(it, ids[0], '"result":{"action":"accept"}')
    const outputs = happens(it)
    t.match(only(outputs, 'fail'), [{ exchange: 5 }], name)
    t.match(texts(only(outputs, 'deliver')), [
      { method: 'notifications/cancelled', params: { requestId: ids[1] } },
    ])
    t.match(types(outputs).includes('abort'), true)
    t.same(only(outputs, 'send'), [], 'a modern backend is told by nothing else')
    t.equal(it.conversation.questions.size + it.conversation.exchanges.size, 0)
    t.match(reply(it, ids[1], '"result":{}'), [{ reason: 'unknown-question' }], 'too late')
  }
})

t.test('a client that leaves sends no answers to a modern backend', async (t) => {
  const { it } = asked({ a: form, b: roots })
  const outputs = it.feed({ type: 'leave', member: 'a' })
  t.same(only(outputs, 'send'), [])
  t.match(only(outputs, 'fail'), [{ exchange: 5 }])
  t.equal(it.conversation.questions.size + it.conversation.exchanges.size, 0)
})

t.test('only the client that was asked can answer, and only once', async (t) => {
  const { it, ids } = asked({ a: form, b: roots })
  it.feed({ type: 'join', member: 'other' })
  const theirs = it.feed({ type: 'post', member: 'other', message: res(ids[0]) })
  t.match(theirs, [{ reason: 'unknown-question' }])
  reply(it, ids[0], '"result":{}')
  t.match(reply(it, ids[0], '"result":{}'), [{ reason: 'unknown-question' }])
})

t.test(
  'a client that cannot be asked on its request is asked on its stream, else not at all',
  async (t) => {
    const it = translated(all)
    const input = { resultType: 'input_required', inputRequests: { a: roots } }
    it.request(req('c', 'tools/call'), 5, 'a', false)
    t.match(answer(it, 5, input), [{ type: 'fail', exchange: 5, error: { code: 'CANNOT_CROSS' } }])
    it.feed({ type: 'stream', member: 'a', open: true })
    it.request(req('d', 'tools/call'), 6, 'a', false)
    t.match(answer(it, 6, input), [{ type: 'deliver', exchange: undefined }])
  },
)

t.test('a notification of the backend withdraws no question of a round', async (t) => {
  const { it, ids } = asked({ a: roots })
  hear(it, note('notifications/cancelled', { requestId: 0 }), 5)
  t.same(types(reply(it, ids[0], '"result":{"roots":[]}')), ['send'])
})

t.test('more questions than anybody answers end the request, and push no others out', async (t) => {
  const it = translated(all)
  it.request(req('b', 'tools/call'), 4)
  const [first] = texts(
    answer(it, 4, { resultType: 'input_required', inputRequests: { a: roots } }),
  )
  it.request(req('c', 'tools/call'), 5)
  const inputRequests = Object.fromEntries([...Array(1100).keys()].map((key) => [`k${key}`, roots]))
  const outputs = answer(it, 5, { resultType: 'input_required', inputRequests })
  t.match(outputs, [{ type: 'fail', exchange: 5, error: { code: 'BACKEND_ANSWER_INVALID' } }])
  const { id } = first as { id: number }
  t.same(types(reply(it, id, '"result":{"roots":[]}')), ['send'])
})

t.test('what is sent again may fail as any request', async (t) => {
  const { it, ids } = asked({ a: form })
  reply(it, ids[0], '"result":{}')
  const error = new ProxyError('BACKEND_UNREACHABLE', 'no')
  const outputs = it.feed({ type: 'undelivered', exchange: 5, error, mayHaveRun: true })
  t.match(outputs, [{ type: 'fail', exchange: 5, error }])
})

t.test('a client of the same era is left to itself with such a result', async (t) => {
  const it = serving('stateless')
  it.request(modern(1, 'tools/call'), 5)
  const body =
    '"result":{ "resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}} }'
  const [finished] = answerWith(it, 5, body)
  t.match(finished, { type: 'finish', exchange: 5 })
  t.ok(finished?.type === 'finish' && finished.response.text.includes(body))
})

t.test('a caller without a session cannot be asked', async (t) => {
  const it = serving('stateless')
  it.request(req(1, 'tools/call'), 5)
  const outputs = answer(it, 5, { resultType: 'input_required', inputRequests: { a: roots } })
  t.match(outputs, [{ type: 'fail', exchange: 5, error: { code: 'CAPABILITY_MISSING' } }])
})

t.test('questions and answers nested beyond the stack pass', async (t) => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  const it = translated(all)
  it.request(parsed(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"x":${deep}}}`), 5)
  const question = `{"method":"elicitation/create","params":{"x":${deep}}}`
  const input = `{"resultType":"input_required","inputRequests":{"a":${question}},"requestState":"s"}`
  const [put] = only(answerWith(it, 5, `"result":${input}`), 'deliver')
  t.ok(put?.message.text.includes(deep))
  const id = put?.message.kind === 'request' ? Number(put.message.idText) : 0
  const [again] = only(reply(it, id, `"result":{"y":${deep}}`), 'send')
  t.equal(again?.message.text.split(deep).length, 3)
})
