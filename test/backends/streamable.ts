import type { ServerResponse } from 'node:http'
import t from 'tap'
import { answer, call, note, reply, sending, until } from '../fixtures/scripted.ts'
import { json, openStreamable as open, streaming } from '../fixtures/streamable-setting.ts'

const changed = note('notifications/tools/list_changed').text

t.test('the session id of the backend goes with everything that follows', async (t) => {
  const { backend, session, initialize, gets, advance } = await open(t)
  await initialize()
  await session.send(call(1), sending)
  session.listen?.()
  advance()
  await until(() => gets().length === 1, 'the standing stream')
  const [first, ...others] = backend.seen
  t.notOk('mcp-session-id' in (first?.headers ?? {}))
  t.notOk('mcp-protocol-version' in (first?.headers ?? {}))
  t.equal(others.length, 3)
  for (const { headers, method } of others) {
    t.match(headers, { 'mcp-session-id': 'sid-1', 'mcp-protocol-version': '2025-06-18' }, method)
    t.equal(headers['x-user-id'], 'ann', 'along with what the client brought')
  }
})

t.test('initializing anew begins without the old session', async (t) => {
  const { backend, session, initialize } = await open(t)
  await initialize()
  await session.send(call(1, 'initialize'), sending)
  const again = backend.seen.at(-1)?.headers ?? {}
  t.notOk('mcp-session-id' in again)
  t.notOk('mcp-protocol-version' in again)
})

t.test('a backend without sessions is sent no id, an old one no revision', async (t) => {
  const without = await open(t, { id: undefined })
  await without.initialize()
  t.notOk('mcp-session-id' in (without.backend.seen.at(-1)?.headers ?? {}))
  t.match(without.backend.seen.at(-1)?.headers, { 'mcp-protocol-version': '2025-06-18' })
  without.session.close()
  t.equal(without.backend.seen.length, 2, 'and there is nothing to DELETE')

  const old = await open(t, { revision: '2024-11-05' })
  await old.initialize()
  t.notOk('mcp-protocol-version' in (old.backend.seen.at(-1)?.headers ?? {}))
  t.match(old.backend.seen.at(-1)?.headers, { 'mcp-session-id': 'sid-1' })
})

t.test('closing ends the session at the backend, once', async (t) => {
  const { backend, session, initialize, heard } = await open(t)
  await initialize()
  session.close()
  session.close()
  await until(() => backend.seen.length === 3, 'the DELETE')
  t.match(backend.seen.at(-1), {
    method: 'DELETE',
    path: '/mcp',
    headers: { 'mcp-session-id': 'sid-1', 'mcp-protocol-version': '2025-06-18' },
  })
  t.equal(await session.send(call(9), sending), undefined)
  t.equal(backend.seen.length, 3, 'and nothing follows it')
  t.same([heard.messages, heard.ends], [[], []])
})

t.test('a session that the backend no longer knows is lost and nothing ran', async (t) => {
  for (const [status, body] of [
    [404, ''],
    [404, 'Session not found'],
    [404, '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'],
    [400, '{"error":"No valid session ID provided"}'],
    [410, ''],
  ] as const) {
    let lost = false
    const { session, initialize, heard } = await open(t, {
      onPost: (response) => answer(response, body, { status: lost ? status : 202 }),
    })
    await initialize()
    lost = true
    for (const message of [call(1), note('notifications/x')]) {
      t.match(
        await session.send(message, sending),
        { mayHaveRun: false, error: { code: 'BACKEND_SESSION_LOST' } },
        `${status} ${body} to a ${message.kind}`,
      )
    }
    t.same(heard.messages, [])
  }
})

t.test('what names the request is its answer, whatever it says of sessions', async (t) => {
  const error = '{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"session 4 not found"}}'
  for (const status of [400, 404]) {
    const { session, initialize, heard } = await open(t, {
      onPost: (response, { body }) =>
        body.includes('"id"')
          ? answer(response, error, { ...json, status })
          : answer(response, '', { status: 202 }),
    })
    await initialize()
    t.equal(await session.send(call(1), sending), undefined)
    t.same(heard.messages, [[error, call(1).text]], String(status))
  }
})

t.test('a 404 where there is no session is a refusal', async (t) => {
  const { session } = await open(t, {
    onPost: (response) => answer(response, 'Session not found', { status: 404 }),
  })
  t.match(await session.send(call(1), sending), {
    mayHaveRun: false,
    error: { code: 'BACKEND_REFUSED' },
  })
})

t.test('the standing stream opens once it is wanted and the session stands', async (t) => {
  const onGet = (response: ServerResponse): void => streaming(response, '')
  const cases: [string, object, boolean, number][] = [
    ['nobody listens', { tools: {} }, false, 0],
    ['a client listens', { tools: {} }, true, 1],
    ['the backend announces changes', { tools: { listChanged: true } }, false, 1],
    ['the backend takes subscriptions', { resources: { subscribe: true } }, false, 1],
    ['both', { tools: { listChanged: true } }, true, 1],
  ]
  for (const [name, capabilities, listens, expected] of cases) {
    const { session, initialize, gets, advance } = await open(t, { capabilities, onGet })
    if (listens) session.listen?.()
    advance()
    t.equal(gets().length, 0, 'never before')
    await initialize()
    if (listens) session.listen?.()
    advance()
    // A round trip, within which a second stream would have been asked for.
    if (expected > 0) await until(() => gets().length > 0, name)
    await session.send(call(1), sending)
    t.equal(gets().length, expected, name)
    if (expected > 0) t.match(gets()[0]?.headers, { accept: /text\/event-stream/ })
  }
})

t.test('what comes on the standing stream answers nothing', async (t) => {
  const { session, initialize, advance, heard } = await open(t, {
    onGet: (response) => streaming(response, `data: ${changed}\n\n`),
  })
  await initialize()
  session.listen?.()
  advance()
  await until(() => heard.messages.length === 1, 'the notification')
  t.same(heard.messages, [[changed, undefined]])
})

t.test('a backend without a standing stream is a good backend', async (t) => {
  for (const status of [405, 404, 400, 501]) {
    const { session, initialize, gets, advance, heard } = await open(t, {
      onGet: (response) => answer(response, '', { status }),
    })
    await initialize()
    session.listen?.()
    advance()
    await until(() => gets()[0]?.closed, 'the refusal')
    t.equal(await session.send(call(1), sending), undefined)
    advance(60_000)
    t.equal(await session.send(call(2), sending), undefined)
    t.equal(gets().length, 1, `after ${status} it is not asked again of our own accord`)
    t.same(heard.ends, [])
    session.listen?.()
    await until(() => (advance(), gets().length === 2), 'a question for the next client')
  }
})

const probe = (url: string) => ({
  route: 'shop',
  url: new URL(url),
  headers: {},
  body: '{"jsonrpc":"2.0","method":"notifications/any"}',
  repeatable: false,
})

t.test('a stream that stood and is refused now means that the session is lost', async (t) => {
  for (const [status, lost] of [
    [404, true],
    [400, true],
    [503, false],
    [405, false],
  ] as const) {
    const { backend, session, initialize, gets, advance, heard, options } = await open(t, {
      onGet: (response, _seen, count) =>
        count === 1
          ? answer(response, 'retry: 1\n\n', { type: 'text/event-stream' })
          : answer(response, '', { status }),
    })
    await initialize()
    session.listen?.()
    await until(() => (advance(1), gets()[1]?.closed), 'the refusal')
    if (lost) await until(() => heard.ends.length > 0, `the end after ${status}`)
    else await session.send(call(1), sending)
    t.match(heard.ends, lost ? [{ code: 'BACKEND_SESSION_LOST' }] : [], String(status))
    t.equal(heard.ends.length, lost ? 1 : 0)
    t.equal(gets().length, 2)
    if (lost) t.equal(await session.send(call(2), sending), undefined, 'nothing more is sent')
    t.equal(backend.posts().length, lost ? 2 : 3)
    // Another request afterwards: a DELETE under way would have come before it.
    await options.http.post({ ...probe(backend.url), signal: new AbortController().signal })
    t.notOk(
      backend.seen.some(({ method }) => method === 'DELETE'),
      'nor a session ended twice',
    )
  }
})

t.test('the standing stream is opened again where it ended', async (t) => {
  const { session, initialize, gets, advance, heard } = await open(t, {
    onGet: (response, _seen, count) => {
      const text = `id: e${count}\nretry: 300\ndata: ${changed}\n\n`
      if (count === 1) answer(response, text, { type: 'text/event-stream' })
      else if (count === 2) answer(response, ': nothing\n\n', { type: 'text/event-stream' })
      else streaming(response, text)
    },
  })
  await initialize()
  session.listen?.()
  advance()
  await until(() => heard.messages.length === 1, 'the first event')
  // The end of the stream is heard a moment after its last event.
  await until(() => (advance(0), gets()[0]?.closed), 'the end of the first stream')
  await session.send(call(1), sending)
  advance(299)
  await session.send(call(2), sending)
  t.equal(gets().length, 1, 'not before the time that the backend wants')
  advance(1)
  await until(() => gets().length === 2, 'the second stream')
  await until(() => (advance(100), gets().length === 3), 'the third stream')
  t.notOk('last-event-id' in (gets()[0]?.headers ?? {}))
  t.equal(gets()[1]?.headers['last-event-id'], 'e1')
  t.equal(gets()[2]?.headers['last-event-id'], 'e1', 'a stream without ids moves nothing on')
  session.close()
  await until(() => gets()[2]?.closed, 'the stream to close with the session')
  t.same(heard.ends, [])
})

t.test('an answer that breaks off is read on from its last event', async (t) => {
  const progress = note('notifications/progress').text
  const beginnings: Record<string, string> = {
    'after a message': `id: a1\nretry: 50\ndata: ${progress}\n\n`,
    'after a priming event': 'id: a1\nretry: 50\ndata:\n\n',
    'after an id alone': 'id: a1\nretry: 50\n\n',
  }
  for (const [name, text] of Object.entries(beginnings)) {
    for (const broken of [false, true]) {
      const { session, initialize, gets, advance, heard } = await open(t, {
        onPost(response, { body }) {
          if (!body.includes('"id"')) return answer(response, '', { status: 202 })
          streaming(response, text)
          setImmediate(() => (broken ? response.destroy() : response.end()))
        },
        onGet: (response) => streaming(response, `id: a2\ndata: ${reply(1)}\n\n`),
      })
      await initialize()
      const sent = session.send(call(1), sending)
      await until(() => (advance(10), gets().length === 1), `the GET ${name}`)
      t.match(gets()[0]?.headers, { 'last-event-id': 'a1', 'mcp-session-id': 'sid-1' }, name)
      await until(() => heard.messages.some(([got]) => got === reply(1)), 'the response')
      t.same(heard.messages.at(-1), [reply(1), call(1).text], 'in answer to the request')
      session.close()
      t.equal(await sent, undefined)
    }
  }
})

t.test('an answer that cannot be resumed may have run', async (t) => {
  const progress = `data: ${note('notifications/progress').text}\n\n`
  const cases: Record<string, [string, (response: ServerResponse) => void, number]> = {
    'no id was given': [progress, (response) => answer(response, '', { status: 405 }), 0],
    'the GET is refused': [
      `id: a1\n${progress}`,
      (response) => answer(response, '', { status: 405 }),
      1,
    ],
    'nothing new comes': [
      `id: a1\n${progress}`,
      (response) => answer(response, ': no\n\n', { type: 'text/event-stream' }),
      5,
    ],
  }
  for (const [name, [text, onGet, tries]] of Object.entries(cases)) {
    const { session, initialize, gets, advance } = await open(t, {
      onGet,
      onPost: (response, { body }) =>
        body.includes('"id"')
          ? answer(response, text, { type: 'text/event-stream' })
          : answer(response, '', { status: 202 }),
    })
    await initialize()
    let failed: unknown
    void session.send(call(1), sending).then((outcome) => (failed = outcome))
    await until(() => (advance(1000), failed), name)
    t.match(failed, { mayHaveRun: true, error: { code: 'BACKEND_ANSWER_INVALID' } }, name)
    t.equal(gets().length, tries, name)
  }
})

t.test('a paused session reads no stream until it is resumed', async (t) => {
  let stream: ServerResponse | undefined
  const { session, initialize, advance, heard } = await open(t, {
    onGet(response) {
      stream = response
      streaming(response, `data: ${changed}\n\n`)
    },
  })
  await initialize()
  session.listen?.()
  advance()
  await until(() => heard.messages.length === 1, 'the first event')
  session.pause(call(1))
  stream?.write(`data: ${changed}\n\n`)
  await until(() => heard.messages.length === 2, 'the stream to go on where only an answer is held')
  heard.messages.length = 1
  session.pause()
  session.resume(call(1))
  stream?.write(`data: ${changed}\n\n`)
  // Another session's round trips show that the event has had its time.
  const other = await open(t)
  await other.initialize()
  t.equal(heard.messages.length, 1)
  session.resume()
  await until(() => heard.messages.length === 2, 'the second event')
})

t.test('requests wait for a stream that is wanted first', async (t) => {
  let stand = (): void => {}
  const { backend, session, initialize, gets, advance, heard } = await open(t, {
    onGet: (response) => (stand = () => streaming(response, '')),
  })
  session.listen?.(true)
  await initialize()
  const sent = session.send(call(1), sending)
  await session.send(note('notifications/x'), sending)
  advance()
  await until(() => gets().length === 1, 'the stream to be asked for')
  t.match(backend.posts().at(-1)?.body, /notifications\/x/, 'what is no request does not wait')
  stand()
  t.equal(await sent, undefined)
  t.equal(heard.messages.length, 1)
  t.equal(await session.send(call(2), sending), undefined, 'nor does any later one')
})

t.test('they wait no longer than a moment, or until it is known not to come', async (t) => {
  const late = await open(t, { onGet: () => {} })
  late.session.listen?.(true)
  await late.initialize()
  const sent = late.session.send(call(1), sending)
  late.advance(999)
  await until(() => late.gets().length === 1, 'the stream to be asked for')
  t.same(late.heard.messages, [])
  late.advance(1)
  t.equal(await sent, undefined)
  t.equal(late.heard.messages.length, 1)

  const without = await open(t)
  without.session.listen?.(true)
  await without.initialize()
  const other = without.session.send(call(1), sending)
  without.advance()
  t.equal(await other, undefined)
  t.equal(without.heard.messages.length, 1)
})

t.test('without that wish nothing waits', async (t) => {
  const { session, initialize, heard } = await open(t, { onGet: () => {} })
  session.listen?.()
  await initialize()
  t.equal(await session.send(call(1), sending), undefined)
  t.equal(heard.messages.length, 1)
})

t.test('a request called off while it waits is never sent', async (t) => {
  const { backend, session, initialize, advance } = await open(t, { onGet: () => {} })
  session.listen?.(true)
  await initialize()
  const [one, two] = [call(1), call(2)]
  const sent = [session.send(one, sending), session.send(two, sending)]
  session.abort(one)
  advance(1000)
  t.same(await Promise.all(sent), [undefined, undefined])
  t.same(
    backend.posts().map(({ body }) => JSON.parse(body).id),
    [0, undefined, 2],
  )
})

t.test('a session closed while requests wait sends none of them', async (t) => {
  const { backend, session, initialize, advance } = await open(t, { onGet: () => {} })
  session.listen?.(true)
  await initialize()
  const sent = session.send(call(1), sending)
  session.close()
  advance(1000)
  t.equal(await sent, undefined)
  t.equal(backend.posts().length, 2)
})
