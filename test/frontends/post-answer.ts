import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { answerPost } from '../../src/frontends/post-answer.ts'
import type { PostAnswer, PostAnswerOptions } from '../../src/frontends/post-answer.ts'
import type { Tools } from '../../src/frontends/reply.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { failure, notification, request, result } from '../../src/protocol/jsonrpc.ts'
import type { Request, Response } from '../../src/protocol/jsonrpc.ts'
import type { Reply, Visit } from '../../src/frontends/exchange.ts'
import { front } from '../fixtures/front.ts'
import { openStream, postJson } from '../fixtures/http.ts'
import type { RawAnswer } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const note = notification('notifications/message', { level: 'info' })
const done = (id: number | string) => result(String(id), { n: Number(id) })

type Options = Partial<PostAnswerOptions>

/** A server that answers POSTs by `answerPost`; each answer as it came to the hands of whoever is to give it. */
async function answering(t: Test, options: Options = {}) {
  const answers: (PostAnswer & { response: Visit['response'] })[] = []
  const it = await front(t, async ({ response, body }, _relay, tools: Tools) => {
    const requests = (body?.messages ?? []).filter((each): each is Request => {
      return each.kind === 'request'
    })
    const given = { route: 'shop', batch: false, json: true, events: true, quiet: true }
    const answer = answerPost(response, tools, { ...given, requests, ...options })
    answers.push({ ...answer, response })
  })
  /** POSTs requests with these ids; `answer` comes once the last reply has been given. */
  const post = async (...ids: number[]) => {
    const messages = ids.map((id) => JSON.parse(request(String(id), 'tools/call').text))
    const count = answers.length
    const answer = postJson(it.url, messages.length === 1 ? messages[0] : messages)
    const { replies, headers, response } = await waitFor(() => answers[count])
    const reply = (index = 0) => {
      const one = replies[index]
      if (one === undefined) throw new Error(`no reply ${index}`)
      return one
    }
    return { answer, reply, headers, response }
  }
  return { ...it, post, answers }
}

const isEvents = ({ headers }: RawAnswer) => headers['content-type'] === 'text/event-stream'

t.test('JSON or stream is decided by what comes first and by what the client takes', async (t) => {
  const cases: [string, Options, 'response' | 'message', 'json' | 'events'][] = [
    ['the response first', {}, 'response', 'json'],
    ['a message first', {}, 'message', 'events'],
    ['a message first, only events taken', { json: false }, 'message', 'events'],
    ['the response first, only events taken', { json: false }, 'response', 'events'],
    ['the response first, only JSON taken', { events: false }, 'response', 'json'],
    ['a message first, only JSON taken', { events: false }, 'message', 'json'],
    ['the response first, nothing taken', { json: false, events: false }, 'response', 'json'],
  ]
  for (const [name, options, first, expected] of cases) {
    const { post } = await answering(t, options)
    const { answer, reply } = await post(1)
    t.equal(reply().carries, options.events ?? true, name)
    if (first === 'message') t.equal(reply().send(note), true)
    reply().finish(done(1))
    const whole = await answer
    t.equal(whole.status, 200)
    if (expected === 'json') {
      t.notOk(isEvents(whole), name)
      t.equal(whole.body, done(1).text)
      t.match(whole.headers, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    } else {
      t.ok(isEvents(whole), name)
      const messages = first === 'message' ? [note, done(1)] : [done(1)]
      const events = messages.map(({ text }) => `event: message\ndata: ${text}\n\n`)
      t.equal(whole.body, events.join(''), name)
    }
  }
})

t.test('JSON that goes out is one clean line', async (t) => {
  const { post } = await answering(t)
  const { answer, reply } = await post(1)
  reply().finish({ ...done(1), text: '{"jsonrpc":"2.0",\n"id":1,"result":{"t":"\u2028"}}' })
  t.equal((await answer).body, '{"jsonrpc":"2.0", "id":1,"result":{"t":"\\u2028"}}')
})

t.test('silence opens the stream with a comment, for clients that take one', async (t) => {
  const { post, clock } = await answering(t)
  const { answer, reply, response } = await post(1)
  clock.advance(14_000)
  await new Promise(setImmediate)
  t.notOk(response.headersSent)
  clock.advance(1000)
  t.ok(response.headersSent)
  clock.advance(15_000)
  reply().finish(done(1))
  const whole = await answer
  t.ok(isEvents(whole))
  t.match(whole.body, /^(: keep-alive\n\n){2}event: message\ndata: .*\n\n$/)
})

t.test('a client that takes JSON only is kept waiting', async (t) => {
  const { post, clock } = await answering(t, { events: false })
  const { answer, reply, response } = await post(1)
  clock.advance(60_000)
  await new Promise(setImmediate)
  t.notOk(response.headersSent)
  reply().finish(done(1))
  t.equal((await answer).body, done(1).text)
})

t.test('headers set before anything is sent go out with either form', async (t) => {
  for (const first of ['response', 'message']) {
    const { post } = await answering(t)
    const { answer, reply, headers } = await post(1)
    headers['mcp-session-id'] = 'fresh'
    if (first === 'message') reply().send(note)
    reply().finish(done(1))
    t.equal((await answer).headers['mcp-session-id'], 'fresh', first)
  }
})

t.test('a batch is answered together, in the order of the answers', async (t) => {
  const { post } = await answering(t, { batch: true })
  const { answer, reply, response } = await post(1, 2, 3)
  reply(1).finish(done(2))
  reply(0).finish(done(1))
  await new Promise(setImmediate)
  t.notOk(response.headersSent, 'not before the last one')
  reply(2).fail(new ProxyError('BACKEND_TIMEOUT', 'too slow'))
  const whole = await answer
  t.equal(whole.status, 200)
  t.match(JSON.parse(whole.body), [
    { id: 2, result: {} },
    { id: 1, result: {} },
    { id: 3, error: { code: -32000, message: 'too slow' } },
  ])
})

t.test('a batch of one is answered by an array of one', async (t) => {
  const { post } = await answering(t, { batch: true })
  const { answer, reply } = await post(1)
  reply().finish(done(1))
  t.equal((await answer).body, `[${done(1).text}]`)
})

t.test('a batch that becomes a stream sends each answer once', async (t) => {
  const { post } = await answering(t, { batch: true })
  const { answer, reply } = await post(1, 2)
  reply(0).finish(done(1))
  reply(1).send(note)
  reply(1).finish(done(2))
  t.same(
    [...(await answer).body.matchAll(/data: (.*)/g)].map(([, data]) => data),
    [done(1).text, note.text, done(2).text],
  )
})

t.test('a failure has its own JSON-RPC code, and a status where the client needs it', async (t) => {
  const unauthorized = new ProxyError('BACKEND_UNAUTHORIZED', 'who are you', {
    headers: { 'www-authenticate': 'Bearer realm="x"' },
  })
  const busy = new ProxyError('LIMIT_REACHED', 'too many', { retryAfter: 5 })
  const slow = new ProxyError('BACKEND_TIMEOUT', 'too slow')
  const passed = new ProxyError('BACKEND_REFUSED', 'no', { status: 418 })
  const cases: [ProxyError, boolean, number, object][] = [
    [unauthorized, true, 401, { 'www-authenticate': 'Bearer realm="x"' }],
    [busy, true, 503, { 'retry-after': '5' }],
    [new ProxyError('SHUTTING_DOWN', 'bye'), true, 503, {}],
    [new ProxyError('SESSION_UNKNOWN', 'lost'), true, 404, {}],
    [slow, true, 200, {}],
    [slow, false, 504, {}],
    [passed, true, 200, {}],
    [passed, false, 418, {}],
  ]
  for (const [error, quiet, status, headers] of cases) {
    const { post } = await answering(t, { quiet })
    const { answer, reply } = await post(7)
    reply().fail(error)
    const whole = await answer
    t.equal(whole.status, status, `${error.code}, quiet: ${quiet}`)
    t.match(whole.headers, headers)
    t.same(JSON.parse(whole.body), {
      jsonrpc: '2.0',
      id: 7,
      error: { code: error.rpc, message: error.message },
    })
  }
})

t.test('a dialect may have statuses of its own for answers that are whole', async (t) => {
  const statusOf = ({ failed }: Response) => (failed ? 404 : 200)
  const none = failure('1', -32601, 'no such method')
  const unreachable = new ProxyError('BACKEND_UNREACHABLE', 'nobody there')
  const denied = new ProxyError('BACKEND_UNAUTHORIZED', 'who are you')
  const cases: [string, Options, (reply: Reply) => void, number][] = [
    ['a result', {}, (reply) => reply.finish(done(1)), 200],
    ['an error', {}, (reply) => reply.finish(none), 404],
    ['an error of ours', {}, (reply) => reply.fail(unreachable), 404],
    ['one that every client must see', {}, (reply) => reply.fail(denied), 401],
    ['an error as an event', { json: false }, (reply) => reply.finish(none), 200],
  ]
  for (const [name, options, end, expected] of cases) {
    const { post } = await answering(t, { ...options, statusOf })
    const { answer, reply } = await post(1)
    end(reply())
    t.equal((await answer).status, expected, name)
  }
  const { post } = await answering(t, { statusOf })
  const { answer, reply } = await post(1)
  reply().send(note)
  reply().finish(none)
  t.equal((await answer).status, 200, 'a stream that stands has its status')
})

t.test('a failure on an open stream is an event like any answer', async (t) => {
  const { post } = await answering(t)
  const { answer, reply } = await post(1)
  reply().send(note)
  reply().fail(new ProxyError('BACKEND_UNAUTHORIZED', 'who are you'))
  const whole = await answer
  t.equal(whole.status, 200)
  t.match(whole.body, /"error":\{"code":-32000,"message":"who are you"\}/)
})

t.test('a cancelled request gets no response', async (t) => {
  const cancelled = new ProxyError('CANCELLED', 'request cancelled')
  t.test('on a stream of its own', async (t) => {
    const { post } = await answering(t)
    const { answer, reply } = await post(1)
    reply().fail(cancelled)
    const whole = await answer
    t.ok(isEvents(whole))
    t.equal(whole.body, '')
  })
  t.test('among others, which get theirs', async (t) => {
    const { post } = await answering(t, { batch: true })
    const { answer, reply } = await post(1, 2)
    reply(0).finish(done(1))
    reply(1).fail(cancelled)
    t.equal((await answer).body, `[${done(1).text}]`)
  })
  t.test('but where only JSON can be sent, something must be said', async (t) => {
    const { post } = await answering(t, { events: false })
    const { answer, reply } = await post(1)
    reply().fail(cancelled)
    t.match(JSON.parse((await answer).body), { id: 1, error: { message: 'request cancelled' } })
  })
})

t.test('a client that has gone before its answer is forgotten', async (t) => {
  const { answers, clock, url } = await answering(t)
  const going = new AbortController()
  const body = request('1', 'tools/call').text
  const stream = openStream(url, { method: 'POST', body, signal: going.signal })
  stream.catch(() => undefined)
  const { replies, response } = await waitFor(() => answers[0])
  going.abort()
  await waitFor(() => response.destroyed)
  clock.advance(60_000)
  t.notOk(response.headersSent, 'no comment is tried')
  t.doesNotThrow(() => replies[0]?.finish(done(1)))
})

t.test('nor does it count as slow, whatever is still sent to it', async (t) => {
  const { answers, clock, cuts, url } = await answering(t)
  const going = new AbortController()
  const { value } = request('1', 'tools/call')
  postJson(url, value, { signal: going.signal }).catch(() => undefined)
  const { replies, response } = await waitFor(() => answers[0])
  going.abort()
  await waitFor(() => response.destroyed)
  const [reply] = replies
  for (let count = 0; count < 3; count++) {
    t.equal(reply?.send(note), true)
    await new Promise(setImmediate)
  }
  let drained = 0
  reply?.onceDrained(() => drained++)
  t.equal(drained, 1)
  clock.advance(120_000)
  t.same(cuts, [])
})

t.test('a reply without a stream never holds anybody up', async (t) => {
  const { post } = await answering(t)
  const { answer, reply } = await post(1)
  let called = 0
  reply().onceDrained(() => called++)
  t.equal(called, 1)
  reply().send(note)
  reply().onceDrained(() => called++)
  t.equal(called, 2)
  reply().finish(done(1))
  await answer
})

t.test('a response in bytes is the whole answer', async (t) => {
  const text = '{"jsonrpc":"2.0",\n"id":1,"result":{}}'
  for (const [length, events] of [
    [text.length, true],
    [undefined, true],
    [text.length, false],
  ] as const) {
    const { post, clock } = await answering(t, { events })
    const { answer, reply, headers, response } = await post(1)
    headers['mcp-session-id'] = 'fresh'
    const sink = reply().pass(length)
    clock.advance(60_000)
    t.equal(reply().send(note), true, 'what else there was to say is not said')
    sink?.write(Buffer.from(text.slice(0, 10)))
    sink?.write(Buffer.from(text.slice(10)))
    sink?.end()
    const whole = await answer
    t.equal(whole.status, 200)
    t.equal(whole.body, text, 'as it came')
    t.match(whole.headers, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'mcp-session-id': 'fresh',
    })
    t.equal(whole.headers['content-length'], length && String(length))
    t.doesNotThrow(() => reply().finish(done(1)), 'and the last word')
    t.ok(response.writableEnded)
  }
})

t.test('on a stream, a response in bytes is its last event, on one clean line', async (t) => {
  for (const json of [true, false]) {
    const { post, clock } = await answering(t, { json })
    const { answer, reply } = await post(1)
    if (json) reply().send(note)
    const sink = reply().pass(99)
    clock.advance(60_000)
    for (const text of ['{"jsonrpc":"2.0",', '\n"id":1,"result":', '{"t":"\u2028"}}']) {
      sink?.write(Buffer.from(text))
    }
    sink?.end()
    const whole = await answer
    t.ok(isEvents(whole), `takes JSON: ${json}`)
    t.notOk('content-length' in whole.headers)
    const event = 'event: message\ndata: {"jsonrpc":"2.0", "id":1,"result":{"t":"\\u2028"}}\n\n'
    t.equal(whole.body, json ? `event: message\ndata: ${note.text}\n\n${event}` : event)
  }
})

t.test('where an answer is to be held, there is no place for bytes', async (t) => {
  const several = await answering(t, { batch: true })
  const batch = await several.post(1, 2)
  t.equal(batch.reply(0).pass(9), undefined, 'among others')
  const one = await answering(t, { batch: true })
  const alone = await one.post(1)
  t.equal(alone.reply().pass(9), undefined, 'in a batch of one')
  for (const { reply, answer } of [batch, alone]) {
    for (const index of reply === batch.reply ? [0, 1] : [0]) reply(index).finish(done(1))
    t.match((await answer).body, done(1).text, 'and it gets its answer all the same')
  }
  const { url, answers } = await answering(t)
  const going = new AbortController()
  const { value } = request('1', 'tools/call')
  postJson(url, value, { signal: going.signal }).catch(() => undefined)
  const { replies, response } = await waitFor(() => answers[0])
  going.abort()
  await waitFor(() => response.destroyed)
  t.equal(replies[0]?.pass(9), undefined, 'for a client that has gone')
})

t.test('half a response in bytes never looks like a whole one', async (t) => {
  const codes: ErrorCode[] = ['BACKEND_STREAM_ENDED', 'BACKEND_ANSWER_INVALID', 'CANCELLED']
  const forms: [length: number | undefined, json: boolean][] = [
    [36, true],
    [undefined, true],
    [36, false],
  ]
  for (const code of codes) {
    for (const [length, json] of forms) {
      const { post, connections } = await answering(t, { json })
      const { answer, reply } = await post(1)
      const sink = reply().pass(length)
      sink?.write(Buffer.from('{"jsonrpc":"2.0",'))
      reply().fail(new ProxyError(code, 'no more'))
      await t.rejects(answer, { code: 'ECONNRESET' }, code)
      await waitFor(() => connections() === 0, { what: 'the connection to be gone' })
      t.throws(() => sink?.write(Buffer.from('x')), { code: 'CANCELLED' })
    }
  }
})

t.test('a client that does not read a response in bytes is cut off, with its route', async (t) => {
  const { post, clock, cuts } = await answering(t)
  const { answer, reply, response } = await post(1)
  answer.catch(() => undefined)
  const sink = reply().pass(undefined)
  // More than the sockets hold, in one tick: nobody has had time to read it.
  const more = sink?.write(Buffer.alloc(32 << 20, 'x'))
  t.equal(more, false)
  clock.advance(60_000)
  t.same(cuts, ['it read nothing for 60000 ms'])
  t.ok(response.destroyed)
})

t.test(
  'a body that proves wrong at its end has the status of one that is read whole',
  async (t) => {
    const codes: [ErrorCode, number][] = [
      ['BODY_INVALID', 400],
      ['MESSAGE_INVALID', 400],
      ['BODY_TIMEOUT', 408],
      ['BODY_TOO_LARGE', 413],
    ]
    for (const [code, status] of codes) {
      const { post } = await answering(t)
      const { answer, reply } = await post(7)
      reply().fail(new ProxyError(code, 'wrong'))
      const whole = await answer
      t.equal(whole.status, status)
      t.match(JSON.parse(whole.body), { id: 7, error: { message: 'wrong' } })
    }
  },
)
