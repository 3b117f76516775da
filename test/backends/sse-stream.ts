import t from 'tap'
import { createSseBackend } from '../../src/backends/sse.ts'
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
import { openSse as open } from '../fixtures/sse-setting.ts'

t.test('messages sent at once share one stream', async (t) => {
  const { backend, session } = await open(t)
  await Promise.all([1, 2, 3].map((id) => session.send(call(id), sending)))
  t.equal(backend.seen.filter((one) => one.method === 'GET').length, 1)
  t.equal(backend.posts().length, 3)
})

t.test('what the stream brings is heard in its order, each kind by its own ear', async (t) => {
  const { session, heard, say } = await open(t, {
    hello: `data: ${reply(0)}\n\nevent: endpoint\ndata: /m\n\n`,
  })
  await session.send(call(1), sending)
  say(
    `event: heartbeat\ndata: {}\n\ndata: ${note('a').text}\n\ndata: {"status":"acknowledged"}\n\nevent: error\ndata: out of order\n\ndata: ${reply(1)}\n\n`,
  )
  await until(() => heard.messages.length === 3, 'the messages')
  t.same(heard.messages, [
    [reply(0), undefined],
    [note('a').text, undefined],
    [reply(1), undefined],
  ])
  t.same(heard.strays, ['{"status":"acknowledged"}'])
  t.match(heard.troubles, [/out of order/])
})

t.test('an event stream is read under any content type', async (t) => {
  for (const type of ['text/plain', 'application/json', 'Text/Event-Stream', undefined]) {
    const { session, heard } = await open(t, {
      onGet: (response) =>
        begin(response, ': hello\n\nevent: endpoint\ndata: /m\n\n', { ...(type && { type }) }),
    })
    t.equal(await session.send(call(1), sending), undefined, String(type))
    t.equal(heard.endpoints.length, 1)
  }
})

t.test('a newer endpoint serves the next POST, a foreign one changes nothing', async (t) => {
  const { backend, session, heard, say } = await open(t)
  await session.send(call(1), sending)
  say('event: endpoint\ndata: /messages?sid=2\n\nevent: endpoint\ndata: https://evil.example/m\n\n')
  await until(() => heard.troubles.length === 1, 'the foreign endpoint')
  await session.send(call(2), sending)
  t.equal(backend.posts()[1]?.path, '/messages?sid=2')
  t.same(
    heard.endpoints.map((url) => new URL(url).search),
    ['?sid=1', '?sid=2'],
  )
  t.same(heard.ends, [])
})

t.test('an endpoint in odd clothes is believed after two seconds', async (t) => {
  const { backend, session, options } = await open(t, { hello: 'data: /odd?sid=1\n\n' })
  const sent = session.send(call(1), sending)
  await until(() => options.clock.due.includes(2000), 'the stream to be read')
  options.clock.advance(1999)
  t.equal(backend.posts().length, 0)
  options.clock.advance(1)
  t.equal(await sent, undefined)
  t.equal(backend.posts()[0]?.path, '/odd?sid=1')
})

t.test('what is no event stream is refused by what it is', async (t) => {
  const cases = [
    [404, '<html><title>Not here</title></html>', /status 404: Not here$/],
    [405, '{"detail":"Method Not Allowed"}', /status 405$/],
    [200, '<html><title>Shop</title></html>', /status 200: html in place of an event stream/],
    [200, '{"hello":1}', /json in place of an event stream/],
    [204, '', /status 204$/],
  ] as const
  for (const [status, body, message] of cases) {
    const { session, heard } = await open(t, {
      onGet: (response) => answer(response, body, { status }),
    })
    t.match(await session.send(call(1), sending), {
      mayHaveRun: false,
      error: { code: 'BACKEND_REFUSED', message },
    })
    t.same(heard.ends, [], 'a session that never opened is not over')
  }
})

t.test('a stream that could not be opened is opened anew by the next send', async (t) => {
  let tries = 0
  const { session } = await open(t, {
    onGet: (response) =>
      ++tries === 1
        ? answer(response, '', { status: 500 })
        : begin(response, 'event: endpoint\ndata: /m\n\n'),
  })
  t.match(await session.send(call(1), sending), { error: { code: 'BACKEND_REFUSED' } })
  t.equal(await session.send(call(1), sending), undefined)
})

t.test('the end of the stream ends the session once, with what was under way', async (t) => {
  const { backend, session, heard, streams } = await open(t, {
    onPost: (response, seen) => {
      if (seen.body === call(1).text) answer(response, '', { status: 202 })
    },
  })
  await session.send(call(1), sending)
  const hanging = session.send(call(2), sending)
  await until(() => backend.posts().length === 2, 'the POST')
  // The last event has no blank line behind it: a repair that only the end of the stream can make.
  streams[0]?.end(`data: ${reply(1)}`)
  t.match(await hanging, { mayHaveRun: true, error: { code: 'BACKEND_STREAM_ENDED' } })
  t.match(heard.ends, [{ code: 'BACKEND_STREAM_ENDED', message: /route "shop"/ }])
  t.same(heard.messages, [[reply(1), undefined]])
  t.match(await session.send(call(3), sending), {
    mayHaveRun: false,
    error: { code: 'BACKEND_STREAM_ENDED' },
  })
  session.close()
  t.equal(heard.ends.length, 1)
})

t.test('a stream that is cut ends the session', async (t) => {
  const { session, heard, streams } = await open(t)
  await session.send(call(1), sending)
  streams[0]?.destroy()
  await until(() => heard.ends.length === 1, 'the end')
  t.match(heard.ends, [{ code: 'BACKEND_STREAM_ENDED' }])
})

t.test('an event larger than the limit ends the session by the limit', async (t) => {
  const { backend, session, heard, say } = await open(t, { options: { maxEventBytes: 1000 } })
  await session.send(call(1), sending)
  say(`data: "${'x'.repeat(5000)}"\n\n`)
  await until(() => heard.ends.length === 1, 'the end')
  t.match(heard.ends, [{ code: 'EVENT_TOO_LARGE', message: /1000/ }])
  await until(() => backend.seen[0]?.closed, 'the stream to close')
})

t.test('a paused session stops reading its stream', async (t) => {
  const { session, heard, say } = await open(t)
  await session.send(call(1), sending)
  session.pause()
  say(`data: ${reply(1)}\n\n`)
  // A round trip to the same backend shows that the event has had its time.
  await session.send(call(2), sending)
  t.same(heard.messages, [])
  session.resume()
  await until(() => heard.messages.length === 1, 'the message')
})

t.test('a session paused before it opened finds its endpoint all the same', async (t) => {
  const { session, heard, say } = await open(t)
  session.pause()
  t.equal(await session.send(call(1), sending), undefined)
  say(`data: ${reply(1)}\n\n`)
  await session.send(call(2), sending)
  t.same(heard.messages, [])
  session.resume()
  await until(() => heard.messages.length === 1, 'the message')
})

t.test(
  'an endpoint on an inner host is led back to the backend, one on a foreign host is refused',
  async (t) => {
    const { backend, session } = await open(t, {
      hello: 'event: endpoint\ndata: http://0.0.0.0:8000/m?sid=1\n\n',
    })
    await session.send(call(1), sending)
    t.equal(backend.posts()[0]?.path, '/m?sid=1')
    const foreign = await open(t, { hello: 'event: endpoint\ndata: https://evil.example/m\n\n' })
    t.match(await foreign.session.send(call(1), sending), {
      mayHaveRun: false,
      error: { code: 'BACKEND_REFUSED', message: /https:\/\/evil\.example/ },
    })
    t.equal(foreign.backend.posts().length, 0)
    await until(() => foreign.backend.connections() === 0, 'the stream to close')
  },
)

t.test(
  'without an endpoint the configured one is used, or the backend and the time are named',
  async (t) => {
    const backend = await scripted(t, (seen, response) =>
      seen.method === 'GET'
        ? begin(response, ': hello\n\n')
        : answer(response, '', { status: 202 }),
    )
    const options = kit(t)
    const dialect = createSseBackend(options)
    const configured = dialect.open(target(`${backend.url}/sse`, `${backend.url}/post`), {}, ear())
    const bare = dialect.open(target(`${backend.url}/sse`), {}, ear())
    const sent = [configured.send(call(1), sending), bare.send(call(2), sending)]
    await until(() => options.clock.due.filter((ms) => ms === 5000).length === 2, 'both streams')
    options.clock.advance(5000)
    t.equal(await sent[0], undefined)
    t.equal(backend.posts()[0]?.path, '/post')
    t.match(await sent[1], {
      mayHaveRun: false,
      error: {
        code: 'BACKEND_NO_ENDPOINT',
        message: 'the backend of route "shop" announced no endpoint in 5000 ms',
      },
    })
    t.equal(backend.posts().length, 1)
    configured.close()
  },
)
