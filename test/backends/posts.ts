import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import { Posts } from '../../src/backends/posts.ts'
import type { PostHooks } from '../../src/backends/posts.ts'
import { sessionLost } from '../../src/backends/refusal.ts'
import { ProxyError } from '../../src/errors.ts'
import { notification, result } from '../../src/protocol/jsonrpc.ts'
import type { Message, Request } from '../../src/protocol/jsonrpc.ts'
import type { Sink } from '../../src/protocol/passing.ts'
import { listen, readText } from '../fixtures/listen.ts'
import {
  answer,
  begin,
  call,
  ear,
  kit,
  note,
  reply,
  scripted,
  sending,
  target,
  until,
} from '../fixtures/scripted.ts'
import type { Answering } from '../fixtures/scripted.ts'

/** Posts to a backend that answers everything with this. */
async function stage(t: Test, body: string, how: Answering = {}, hooks: PostHooks = {}) {
  const backend = await scripted(t, (_seen, response) => answer(response, body, how))
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(`${backend.url}/mcp`), heard, options, hooks)
  t.teardown(() => posts.close())
  return { backend, heard, posts, options }
}

t.test('headers of the dialect go over those of the client', async (t) => {
  const { posts, backend } = await stage(
    t,
    reply(1),
    {},
    {
      headers: ({ kind }) => ({ 'x-user-id': `the ${kind}`, 'mcp-session-id': 's' }),
    },
  )
  await posts.send(call(1), sending)
  await posts.send(note(), sending)
  t.match(backend.seen, [
    { headers: { 'x-user-id': 'the request', 'mcp-session-id': 's' } },
    { headers: { 'x-user-id': 'the notification', 'mcp-session-id': 's' } },
  ])
})

t.test('the dialect hears of every answer but refused credentials', async (t) => {
  const statuses: number[] = []
  for (const status of [200, 202, 400, 401, 403, 500]) {
    const begun = (_: unknown, got: { status: number }) => void statuses.push(got.status)
    const { posts } = await stage(t, '', { status }, { begun })
    await posts.send(call(1), sending)
  }
  t.same(statuses, [200, 202, 400, 500])
})

t.test('the dialect says what a refusal means, unless it names the request', async (t) => {
  const words = 'session gone'
  const error = (id: number | null): string =>
    JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32600, message: words } })
  const asked: string[] = []
  const hooks: PostHooks = {
    refused(message, status, text) {
      asked.push(`${message.kind} ${status} ${text.includes(words)}`)
      return text.includes(words) ? sessionLost('shop', status) : undefined
    },
  }
  const lost = { error: { code: 'BACKEND_SESSION_LOST' }, mayHaveRun: false }
  for (const body of [words, error(null), error(7)]) {
    const { posts, heard } = await stage(t, body, { status: 404 }, hooks)
    t.match(await posts.send(call(1), sending), lost, body)
    t.match(await posts.send(note(), sending), lost)
    t.same(heard.messages, [])
  }
  asked.length = 0
  const { posts, heard } = await stage(t, error(1), { status: 404 }, hooks)
  t.equal(await posts.send(call(1), sending), undefined)
  t.same(heard.messages, [[error(1), call(1).text]])
  t.same(asked, [], 'it is not even asked')
  const other = await stage(t, 'busy', { status: 400 }, hooks)
  t.match(await other.posts.send(call(1), sending), { error: { code: 'BACKEND_REFUSED' } })
  t.equal(await other.posts.send(note(), sending), undefined)
  t.equal(other.heard.troubles.length, 1)
  t.same(asked, ['request 400 false', 'notification 400 false'])
})

t.test('an answer that lacks its response may be continued in another way', async (t) => {
  const stream = { type: 'text/event-stream' }
  const body = `id: e1\ndata: ${note('notifications/x').text}\n\n`
  const brought = await stage(t, body, stream, {
    async continued(message, got, deliver) {
      t.match(got, { form: 'stream', at: { lastEventId: 'e1' } })
      t.equal(message.text, call(1).text)
      deliver(result('1', { late: true }))
      return true
    },
  })
  t.equal(await brought.posts.send(call(1), sending), undefined)
  t.match(brought.heard.messages.at(-1), [/"late":true/, call(1).text])

  const not = await stage(t, body, stream, { continued: async () => false })
  t.match(await not.posts.send(call(1), sending), {
    mayHaveRun: true,
    error: { code: 'BACKEND_ANSWER_INVALID', message: /no response/ },
  })

  const whole = await stage(
    t,
    reply(1),
    {},
    { continued: () => Promise.reject(new Error('asked')) },
  )
  t.equal(await whole.posts.send(call(1), sending), undefined, 'a whole answer needs none')
})

t.test('a notification that is never answered is given up in the end', async (t) => {
  const backend = await scripted(t, () => undefined)
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(backend.url), heard, options)
  const sent = posts.send(note(), sending)
  const asked = posts.send(call(1), sending)
  await until(() => backend.seen.length === 2, 'both')
  options.clock.advance(90_000)
  t.equal(await sent, undefined)
  await until(() => backend.seen.some(({ closed }) => closed), 'it to close')
  t.same(
    backend.seen.map(({ body, closed }) => [body, closed]).sort(),
    [
      [call(1).text, false],
      [note().text, true],
    ].sort(),
    'a request has other limits',
  )
  posts.close()
  t.equal(await asked, undefined)
})

t.test('nothing is delivered of a request that was given up', async (t) => {
  let say = (): void => {}
  const backend = await scripted(t, (_seen, response) => {
    begin(response, ': hello\n\n', { type: 'text/event-stream' })
    say = () => void response.write(`data: ${reply(1)}\n\n`)
  })
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(backend.url), heard, options)
  const message = call(1)
  const sent = posts.send(message, sending)
  await until(() => backend.seen.length === 1, 'the request')
  posts.abort(message)
  say()
  t.equal(await sent, undefined)
  await until(() => backend.seen[0]?.closed, 'the request to close')
  t.same(heard.messages, [])
})

const fill = 'x'.repeat(200_000)
const events = { type: 'text/event-stream' }

/** As `stage`, with a listener that takes what is large; `bodies` are answered in turn. */
async function taking(t: Test, bodies: string[], how: Answering = {}, hooks: PostHooks = {}) {
  const backend = await scripted(t, (_seen, response, count) =>
    answer(response, bodies[count - 1] ?? '', how),
  )
  const it = { passed: [] as [Message, number | undefined][], text: '', ends: 0 }
  const heard = {
    ...ear(),
    pass(sent: Message, length: number | undefined): Sink {
      it.passed.push([sent, length])
      return {
        write: (chunk) => (it.text += Buffer.from(chunk).toString('latin1')) !== '',
        onceDrained: (task) => task(),
        end: () => void it.ends++,
      }
    },
  }
  const options = kit(t, { maxEventBytes: 1 << 20 })
  const posts = new Posts(target(`${backend.url}/mcp`), heard, options, hooks)
  t.teardown(() => posts.close())
  return { backend, heard, posts, options, it }
}

/** As `taking`, with a small answer before the others: what has never answered is not believed. */
async function believed(t: Test, bodies: string[], how: Answering = {}, hooks: PostHooks = {}) {
  let first = true
  const backend = await scripted(t, (_seen, response) => {
    if (first) answer(response, reply(1))
    else answer(response, bodies.shift() ?? '', how)
    first = false
  })
  const stage = await taking(t, [], {}, hooks)
  const posts = new Posts(target(`${backend.url}/mcp`), stage.heard, stage.options, hooks)
  t.teardown(() => posts.close())
  await posts.send(call(1), sending)
  stage.heard.messages.length = 0
  return { ...stage, backend, posts }
}

const idFirst = (id: string): string => `{"jsonrpc":"2.0","id":${id},"result":"${fill}"}`
const idLast = (id: string): string => `{"result":"${fill}","jsonrpc":"2.0","id":${id}}`

t.test('a large result passes to whoever takes it, in either form', async (t) => {
  const text = idFirst('1')
  for (const [body, how, length] of [
    [text, { headers: { 'content-length': String(text.length) } }, text.length],
    [text, {}, undefined],
    [`data: ${text}\n\n`, events, undefined],
  ] as const) {
    const { posts, heard, it } = await believed(t, [body], how)
    const sent = call(1)
    t.equal(await posts.send(sent, sending), undefined)
    t.same(it.passed, [[sent, length]])
    t.equal(it.text, text)
    t.equal(it.ends, 1)
    t.same(heard.messages, [])
  }
})

t.test('beside a large event only what came before it belongs to the request', async (t) => {
  const early = note('notifications/progress').text
  const late = note('notifications/message').text
  const stream = [early, idFirst('1'), late, idFirst('1')].map((text) => `data: ${text}\n\n`)
  const { posts, heard, it } = await believed(t, [stream.join('')], events)
  t.equal(await posts.send(call(1), sending), undefined)
  t.same(heard.messages, [[early, call(1).text]])
  t.equal(it.ends, 1)
  t.equal(it.text, idFirst('1'))
})

t.test('a stream that stays open after a large event is ended', async (t) => {
  const backend = await scripted(t, (_seen, response, count) => {
    if (count === 1) answer(response, reply(1))
    else begin(response, `data: ${idFirst('1')}\n\n`, events)
  })
  const options = kit(t, { maxEventBytes: 1 << 20 })
  let ended = false
  const end = (): void => void (ended = true)
  const sink: Sink = { write: () => true, onceDrained: (task) => task(), end }
  const posts = new Posts(target(backend.url), { ...ear(), pass: () => sink }, options)
  await posts.send(call(1), sending)
  const sent = posts.send(call(1), sending)
  await until(() => ended, 'the end of the event')
  t.equal(backend.seen[1]?.closed, false)
  options.clock.advance(1000)
  t.equal(await sent, undefined)
  await until(() => backend.seen[1]?.closed, 'the stream to close')
  t.equal(options.clock.waiting, 0)
})

t.test('only a backend that leaves ids alone is believed before it shows the id', async (t) => {
  const cases: [name: string, before: string[], passes: boolean][] = [
    ['a stranger', [], false],
    ['after an answer under the very id', [reply(1)], true],
    ['after an answer under another spelling', [reply('"1"')], false],
    ['after an answer without the version', ['{"id":1,"result":{}}'], false],
    ['that has changed an id', [reply(1), reply('"1"')], false],
    ['that has ever changed an id', [reply('"1"'), reply(1)], false],
  ]
  for (const [name, before, passes] of cases) {
    const { posts, heard, it } = await taking(t, [...before, idLast('1')])
    for (let count = 0; count < before.length; count++) await posts.send(call(1), sending)
    t.equal(heard.messages.length, before.length, 'what is small is never passed')
    t.equal(await posts.send(call(1), sending), undefined)
    t.equal(it.ends, passes ? 1 : 0, name)
    t.same(heard.messages.slice(before.length), passes ? [] : [[idLast('1'), call(1).text]], name)
  }
})

t.test('where the id or the taker says no, a large result is a message', async (t) => {
  for (const body of [idFirst('"1"'), `data: ${idFirst('null')}\n\n`]) {
    const { posts, heard, it } = await taking(t, [reply(1), body])
    await posts.send(call(1), sending)
    t.equal(await posts.send(call(1), sending), undefined)
    t.equal(heard.messages.length, 2, body.slice(0, 40))
    t.same(it.passed, [])
  }
  for (const pass of [undefined, () => undefined]) {
    const backend = await scripted(t, (_seen, response) => answer(response, idFirst('1')))
    const heard = { ...ear(), ...(pass && { pass }) }
    const posts = new Posts(target(backend.url), heard, kit(t, { maxEventBytes: 1 << 20 }))
    t.equal(await posts.send(call(1), sending), undefined)
    t.same(heard.messages, [[idFirst('1'), call(1).text]])
  }
})

t.test('a refusal is never passed, however large', async (t) => {
  const { posts, it } = await taking(t, [idFirst('1')], { status: 500 })
  await posts.send(call(1), sending)
  t.same(it.passed, [])
})

t.test('a result that turns out otherwise, or breaks off, may have run', async (t) => {
  const unasked = { continued: () => Promise.reject(new Error('it cannot be continued')) }
  const half = idFirst('1').slice(0, 150_000)
  const cases: [body: string, how: Answering, code: string][] = [
    [idLast('2'), {}, 'BACKEND_ANSWER_INVALID'],
    [idLast('"1"'), {}, 'BACKEND_ANSWER_INVALID'],
    [half, {}, 'BACKEND_ANSWER_INVALID'],
    [`data: ${idLast('2')}\n\n`, events, 'BACKEND_ANSWER_INVALID'],
    [`id: 1\ndata: ${half}\n\n`, events, 'BACKEND_ANSWER_INVALID'],
    [`id: 1\n\ndata: ${half}`, events, 'BACKEND_STREAM_ENDED'],
  ]
  for (const [body, how, code] of cases) {
    const { posts, heard, it } = await taking(t, [reply(1), body], how, unasked)
    await posts.send(call(1), sending)
    t.match(await posts.send(call(1), sending), { error: { code }, mayHaveRun: true }, code)
    t.equal(it.ends, 0)
    t.equal(it.passed.length, 1)
    t.equal(heard.messages.length, 1, 'and it is no message either')
  }
})

t.test('a request that is given up while its result passes ends both', async (t) => {
  const backend = await scripted(t, (_seen, response, count) => {
    if (count === 1) answer(response, reply(1))
    else begin(response, idFirst('1').slice(0, 150_000))
  })
  let taken = 0
  const end = (): void => void t.fail('it has not come to its end')
  const sink: Sink = { write: () => ++taken > 0, onceDrained: (task) => task(), end }
  const posts = new Posts(target(backend.url), { ...ear(), pass: () => sink }, kit(t))
  await posts.send(call(1), sending)
  const message = call(1)
  const sent = posts.send(message, sending)
  await until(() => taken > 0, 'the result to begin')
  posts.abort(message)
  t.equal(await sent, undefined)
  await until(() => backend.seen[1]?.closed, 'the request to close')
})

const inBytes = (stream: Readable, length?: number): Request => ({
  ...call(1, 'tools/call'),
  bytes: { stream, length },
})

t.test('a request that passes in bytes arrives as it came, with its length if known', async (t) => {
  const pieces = ['{"jsonrpc": "2.0",', `"a":"${fill}é"`, '}']
  const length = Buffer.byteLength(pieces.join(''))
  for (const known of [length, undefined]) {
    const { posts, backend, heard } = await stage(t, reply(1))
    const message = inBytes(Readable.from(pieces.map((text) => Buffer.from(text))), known)
    t.equal(await posts.send(message, sending), undefined)
    t.equal(backend.seen.length, 1)
    const [seen] = backend.seen
    t.equal(seen?.body, pieces.join(''))
    t.equal(seen?.headers['content-length'], known === undefined ? undefined : String(length))
    t.match(seen?.headers, { 'content-type': 'application/json', 'x-user-id': 'ann' })
    t.equal(heard.messages.length, 1)
  }
})

t.test('it is sent once, whatever becomes of it', async (t) => {
  const repeatable = { ...sending, repeatable: true }
  for (const [status, headers] of [
    [503, {}],
    [307, { location: '/elsewhere' }],
  ] as const) {
    const { posts, backend, options } = await stage(t, '', { status, headers })
    const failed = await posts.send(inBytes(Readable.from([Buffer.from(fill)])), repeatable)
    t.match(failed, { error: { code: 'BACKEND_REFUSED' } }, String(status))
    t.equal(backend.seen.length, 1)
    t.same(options.retries, [])
  }
})

/** A backend that cuts the connection when it has read something, or keeps what it could read. */
async function reading(t: Test, cuts = false) {
  const bodies: string[] = []
  const broken: unknown[] = []
  const server = await listen((incoming) => {
    if (cuts) incoming.once('data', () => incoming.socket.destroy())
    else
      readText(incoming).then(
        (body) => bodies.push(body),
        (error: unknown) => broken.push(error),
      )
  })
  t.teardown(() => server.close())
  const posts = new Posts(target(server.url), ear(), kit(t))
  t.teardown(() => posts.close())
  return { posts, bodies, broken, server }
}

t.test('one whose connection breaks may have run', async (t) => {
  const { posts } = await reading(t, true)
  const endless = new Readable({ read: () => void endless.push(Buffer.from(fill)) })
  t.match(await posts.send(inBytes(endless), sending), {
    error: { code: 'BACKEND_UNREACHABLE' },
    mayHaveRun: true,
  })
  t.ok(endless.destroyed, 'and the rest of it is not wanted')
})

t.test('one that proves wrong on its way has not run, and says what was wrong', async (t) => {
  const wrong = new ProxyError('MESSAGE_INVALID', 'two ids')
  for (const early of [false, true]) {
    const { posts, bodies, broken } = await reading(t)
    const stream = new Readable({ read() {} })
    stream.on('error', () => undefined)
    stream.push(Buffer.from(fill))
    if (early) stream.destroy(wrong)
    const sent = posts.send(inBytes(stream), sending)
    if (!early) {
      await until(() => stream.readableLength === 0, 'what there is to be on its way')
      stream.destroy(wrong)
    }
    t.match(await sent, { error: wrong, mayHaveRun: false }, `wrong before it is sent: ${early}`)
    if (!early) await until(() => broken.length > 0, 'the backend to see it broken')
    t.same(bodies, [])
  }
})

t.test('one that is given up is read no more', async (t) => {
  const { posts, bodies, broken } = await reading(t)
  const stream = new Readable({ read() {} })
  stream.push(Buffer.from(fill))
  const message = inBytes(stream)
  const sent = posts.send(message, sending)
  await until(() => stream.readableLength === 0, 'what there is to be on its way')
  posts.abort(message)
  t.equal(await sent, undefined)
  t.ok(stream.destroyed)
  await until(() => broken.length > 0, 'the backend to see it broken')
  t.same(bodies, [])
})

const event = (n: number): string => notification('notifications/x', { n }).text

t.test('one answer can be held while the others go on, or all of them', async (t) => {
  const streams: ServerResponse[] = []
  const backend = await scripted(t, (_seen, response) => {
    streams.push(response)
    begin(response, `data: ${event(0)}\n\n`, { type: 'text/event-stream' })
  })
  const heard = ear()
  const posts = new Posts(target(`${backend.url}/mcp`), heard, kit(t))
  t.teardown(() => posts.close())
  const [one, two] = [call(1), call(2)]
  void posts.send(one, sending)
  await until(() => heard.messages.length === 1, 'the first answer to begin')
  void posts.send(two, sending)
  await until(() => heard.messages.length === 2, 'the second answer to begin')
  const comes = (of: Request, n: number) =>
    heard.messages.some(([text, sent]) => text === event(n) && sent === of.text)
  const say = (n: number) => {
    for (const stream of streams) stream.write(`data: ${event(n)}\n\n`)
  }
  posts.pause(one)
  say(1)
  await until(() => comes(two, 1), 'the event that is not held')
  t.notOk(comes(one, 1))
  posts.resume(two)
  say(2)
  await until(() => comes(two, 2), 'another one')
  t.notOk(comes(one, 1), 'resuming another changes nothing')
  void posts.send(call(3), sending)
  await until(() => heard.messages.some(([, sent]) => sent === call(3).text), 'a later answer')
  posts.resume(one)
  await until(() => comes(one, 2), 'what was held')

  posts.pause()
  posts.resume(two)
  const later = call(4)
  void posts.send(later, sending)
  await until(() => streams.length === 4, 'a request that is sent meanwhile')
  say(3)
  await until(() => comes(two, 3), 'the one that goes on')
  t.notOk(comes(one, 3))
  // A round trip of another one shows that the answer has had its time.
  posts.resume(one)
  await until(() => comes(one, 3), 'the first again')
  t.notOk(comes(later, 0), 'an answer that begins while all are held is held')
  posts.resume()
  await until(() => comes(later, 3), 'all of them')
  const last = call(5)
  void posts.send(last, sending)
  await until(() => comes(last, 0), 'one that comes after')
})
