import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { SpareStream } from '../../src/backends/sse.ts'
import { openSseStream } from '../../src/backends/sse-stream.ts'
import { result } from '../../src/protocol/jsonrpc.ts'
import { answer, begin, call, note, reply, sending, until } from '../fixtures/scripted.ts'
import { openSse as open } from '../fixtures/sse-setting.ts'
import type { Setting } from '../fixtures/sse-setting.ts'

t.test(
  'the stream opens at the first send, and the message goes to the endpoint it names',
  async (t) => {
    const { backend, session, heard } = await open(t)
    t.equal(backend.seen.length, 0)
    t.equal(await session.send(call(1), sending), undefined)
    t.match(backend.seen, [
      { method: 'GET', path: '/sse', headers: { accept: 'text/event-stream', 'x-user-id': 'ann' } },
      {
        method: 'POST',
        path: '/messages?sid=1',
        body: call(1).text,
        headers: { 'x-user-id': 'ann' },
      },
    ])
    t.same(heard.endpoints, [`${backend.url}/messages?sid=1`])
  },
)

/** What detection leaves: an open stream that is read no further than its endpoint. */
const spareStream = async ({ target, headers, options }: Setting): Promise<SpareStream> => {
  const nothing = (): void => {}
  const on = { endpoint: nothing, message: nothing, stray: nothing, trouble: nothing }
  const stream = openSseStream(target, headers, options, { ...on, ended: nothing })
  await stream.opened
  stream.pause()
  return { target, headers, stream }
}

t.test('the stream that detection has opened becomes the stream of the session', async (t) => {
  const setting = await open(t)
  const { backend, dialect, session, heard, say } = setting
  dialect.keep(await spareStream(setting))
  say(`data: ${reply(1)}\n\n`)
  t.equal(await session.send(call(1), sending), undefined)
  await until(() => heard.messages.length === 1, 'what was said while the stream was kept')
  t.same(heard.endpoints, [`${backend.url}/messages?sid=1`])
  t.equal(setting.streams.length, 1, 'one stream was opened')
  setting.streams[0]?.end()
  await until(() => heard.ends.length === 1, 'the end to be heard')
})

t.test('a kept stream serves nobody else, and not for long', async (t) => {
  const setting = await open(t)
  const { backend, dialect, options, session } = setting
  const { stream, target, headers } = await spareStream(setting)
  dialect.keep({ stream, target, headers: { ...headers, 'x-user-id': 'bob' } })
  await session.send(call(1), sending)
  t.equal(setting.streams.length, 2, 'a stranger opens a stream of its own')
  options.clock.advance(5000)
  await until(() => backend.seen[0]?.closed, 'the kept stream to be closed')

  const ended = await spareStream(setting)
  dialect.keep(ended)
  setting.streams[2]?.destroy()
  await until(() => !ended.stream.alive, 'the kept stream to end')
  t.equal(await setting.another().send(call(2), sending), undefined)
  t.equal(setting.streams.length, 4, 'one that has ended is not used')
})

t.test('refused credentials pass on the challenge, on the stream and on a POST', async (t) => {
  const refuse = (response: ServerResponse): void =>
    answer(response, 'no', { status: 401, headers: { 'www-authenticate': 'Bearer x' } })
  const denied = {
    error: {
      code: 'BACKEND_UNAUTHORIZED',
      status: 401,
      headers: { 'www-authenticate': 'Bearer x' },
    },
    mayHaveRun: false,
  }
  const stream = await open(t, { onGet: refuse })
  t.match(await stream.session.send(call(1), sending), denied)
  const post = await open(t, { onPost: refuse })
  t.match(await post.session.send(note(), sending), denied)
})

t.test('a POST is taken with any 2xx, whatever junk its body is', async (t) => {
  for (const [status, body] of [
    [200, 'Accepted'],
    [201, '{"status":"ok"}'],
    [200, '{"code":0,"message":"success"}'],
    [202, ''],
    [204, ''],
    [200, '<p>ok</p>'],
  ] as const) {
    const { backend, session, heard } = await open(t, {
      onPost: (response) => answer(response, body, { status }),
    })
    t.equal(await session.send(call(1), sending), undefined, `${status} ${body}`)
    await until(() => backend.posts()[0]?.closed, 'the answer to be written')
    // A round trip more, so that the body of the first has been read.
    await session.send(note(), sending)
    t.same([heard.messages, heard.ends, heard.troubles], [[], [], []])
  }
})

t.test('an answer in the body of the POST is heard as the answer to it', async (t) => {
  for (const body of [reply(1), `event: message\ndata: ${reply(1)}\n\n`]) {
    const { session, heard } = await open(t, { onPost: (response) => answer(response, body) })
    await session.send(call(1), sending)
    await until(() => heard.messages.length > 0, 'the answer')
    t.same(heard.messages, [[reply(1), call(1).text]])
  }
})

t.test(
  'a POST body that never ends is not waited for, and cut once the answer has come',
  async (t) => {
    const { backend, session, heard, say, options } = await open(t, {
      onPost: (response) => begin(response, 'Acc'),
    })
    t.equal(await session.send(call(1), sending), undefined)
    say(`data: ${reply(1)}\n\n`)
    await until(() => heard.messages.length === 1, 'the answer on the stream')
    t.equal(backend.posts()[0]?.closed, false, 'some backends cancel a tool whose POST closes')
    options.clock.advance(1000)
    await until(() => backend.posts()[0]?.closed, 'the POST to close')
    await session.send(note(), sending)
    options.clock.advance(5000)
    await until(() => backend.posts()[1]?.closed, 'the POST of the notification to close')
  },
)

t.test('a refused notification is no failure, nor is a refused response', async (t) => {
  const { session, heard } = await open(t, {
    onPost: (response) =>
      answer(
        response,
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}',
        { status: 400 },
      ),
  })
  t.equal(await session.send(note(), sending), undefined)
  t.equal(await session.send(result('1', {}), sending), undefined)
  t.equal(heard.troubles.length, 2)
  t.same(heard.messages, [])
})

t.test('a session that the backend no longer knows is lost and nothing ran', async (t) => {
  for (const [status, body] of [
    [404, 'Could not find session'],
    [400, 'Bad Request: No valid session ID'],
    [
      404,
      '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}',
    ],
    [410, ''],
  ] as const) {
    const { backend, session, heard } = await open(t, {
      path: '/api/sse',
      onPost: (response) => answer(response, body, { status }),
    })
    for (const message of [call(1), note()]) {
      t.match(await session.send(message, sending), {
        mayHaveRun: false,
        error: { code: 'BACKEND_SESSION_LOST' },
      })
    }
    t.same(heard.messages, [], body)
    t.equal(backend.posts().length, 2, 'no other path is tried')
  }
})

t.test('a bare 404 means a lost session once the endpoint has worked', async (t) => {
  let works = true
  const { session } = await open(t, {
    onPost: (response) => answer(response, '', { status: works ? 202 : 404 }),
  })
  await session.send(call(1), sending)
  works = false
  t.match(await session.send(call(2), sending), {
    mayHaveRun: false,
    error: { code: 'BACKEND_SESSION_LOST' },
  })
})

t.test('a JSON-RPC error under a bad status is the answer', async (t) => {
  for (const [status, body] of [
    [400, '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}'],
    [500, '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}'],
    [404, '{"error":"Method \'x\' not found"}'],
  ] as const) {
    const { session, heard } = await open(t, {
      onPost: (response) => answer(response, body, { status }),
    })
    t.equal(await session.send(call(1), sending), undefined)
    t.equal(heard.messages.length, 1, body)
    t.match(heard.messages[0]?.[0], /"message":"(?:no|Method 'x' not found)"/)
    t.equal(heard.messages[0]?.[1], call(1).text)
  }
})

t.test('a page or text under a bad status is a refusal without its text', async (t) => {
  const { session } = await open(t, {
    onPost: (response) => answer(response, '<title>Oops</title><p>secret</p>', { status: 500 }),
  })
  t.match(await session.send(call(1), sending), {
    mayHaveRun: true,
    error: { code: 'BACKEND_REFUSED', message: /status 500: Oops$/ },
  })
})

t.test(
  'a lost mount prefix is tried once after a 404, and remembered for later sessions',
  async (t) => {
    const { backend, session, heard, another } = await open(t, {
      path: '/api/sse',
      hello: 'event: endpoint\ndata: /messages?sid=1\n\n',
      onPost: (response, seen) =>
        answer(response, 'no', { status: seen.path.startsWith('/api/') ? 202 : 404 }),
    })
    t.equal(await session.send(call(1), sending), undefined)
    t.equal(await session.send(call(2), sending), undefined)
    t.equal(await another().send(call(3), sending), undefined)
    t.same(
      backend.posts().map((one) => one.path),
      ['/messages?sid=1', '/api/messages?sid=1', '/api/messages?sid=1', '/api/messages?sid=1'],
    )
    t.same(
      heard.endpoints.map((url) => new URL(url).pathname),
      ['/messages', '/api/messages'],
    )
  },
)

t.test(
  'an endpoint that is there under neither path is refused and nothing is remembered',
  async (t) => {
    const { backend, session, another } = await open(t, {
      path: '/api/sse',
      onPost: (response) => answer(response, '', { status: 404 }),
    })
    t.match(await session.send(call(1), sending), {
      mayHaveRun: false,
      error: { code: 'BACKEND_REFUSED' },
    })
    await another().send(call(2), sending)
    t.equal(backend.posts()[2]?.path, '/messages?sid=1')
  },
)

t.test('aborting a message gives up its POST and leaves the stream', async (t) => {
  const { backend, session, heard } = await open(t, { onPost: () => {} })
  const message = call(1)
  const sent = session.send(message, sending)
  await until(() => backend.posts().length === 1, 'the POST')
  session.abort(message)
  t.equal(await sent, undefined)
  await until(() => backend.posts()[0]?.closed, 'the POST to close')
  t.equal(backend.seen[0]?.closed, false)
  t.same(heard.ends, [])
})

t.test('closing resolves every send, silences the listener and leaves no connection', async (t) => {
  const { backend, session, heard, options } = await open(t, { onPost: () => {} })
  const sent = session.send(call(1), sending)
  await until(() => backend.posts().length === 1, 'the POST')
  session.close()
  session.close()
  t.equal(await sent, undefined)
  t.equal(await session.send(call(2), sending), undefined)
  await options.http.close()
  await until(() => backend.connections() === 0, 'every connection to close')
  t.same([heard.ends, heard.messages], [[], []])
  t.same(options.clock.due, [])
})

t.test('closing while the stream opens resolves the sends that wait for it', async (t) => {
  const { backend, session, heard, options } = await open(t, { onGet: () => {} })
  const sent = [session.send(call(1), sending), session.send(call(2), sending)]
  await until(() => backend.seen.length === 1, 'the GET')
  session.close()
  t.same(await Promise.all(sent), [undefined, undefined])
  await until(() => backend.connections() === 0, 'the connection to close')
  t.same(heard.ends, [])
  t.same(options.clock.due, [])
})
