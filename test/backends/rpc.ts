import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { createRpcBackend } from '../../src/backends/rpc.ts'
import type { BackendSession } from '../../src/backends/backend.ts'
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
import type { Ear, Kit, Scripted } from '../fixtures/scripted.ts'

interface Setting {
  readonly backend: Scripted
  readonly session: BackendSession
  readonly heard: Ear
  readonly options: Kit
}

const open = async (t: Test, script: (response: ServerResponse) => void): Promise<Setting> => {
  const backend = await scripted(t, (_seen, response) => script(response))
  const options = kit(t)
  const heard = ear()
  const session = createRpcBackend(options).open(target(`${backend.url}/mcp`), {}, heard)
  t.teardown(() => session.close())
  return { backend, session, heard, options }
}

t.test('a message is POSTed as its own text and the answer comes in answer to it', async (t) => {
  const { backend, session, heard } = await open(t, (response) => answer(response, reply(1)))
  t.equal(await session.send(call(1), sending), undefined)
  t.match(backend.seen, [{ path: '/mcp', body: call(1).text, headers: { 'x-user-id': 'ann' } }])
  t.same(heard.messages, [[reply(1), call(1).text]])
})

t.test('an event stream is passed on as it comes', async (t) => {
  let end = (): void => {}
  const { session, heard } = await open(t, (response) => {
    begin(response, `data: ${note('notifications/progress').text}\n\n`)
    end = () => response.end(`data: ${reply(1)}\n\n`)
  })
  const sent = session.send(call(1), sending)
  await until(() => heard.messages.length === 1, 'the notification')
  end()
  t.equal(await sent, undefined)
  t.same(heard.messages, [
    [note('notifications/progress').text, call(1).text],
    [reply(1), call(1).text],
  ])
})

t.test('an event stream that stays open after the response is cut', async (t) => {
  const { backend, session, heard, options } = await open(t, (response) =>
    begin(response, `data: ${reply(1)}\n\n`),
  )
  const sent = session.send(call(1), sending)
  await until(() => heard.messages.length === 1, 'the response')
  options.clock.advance(1000)
  t.equal(await sent, undefined)
  await until(() => backend.seen[0]?.closed, 'the request to close')
})

t.test('a JSON-RPC error passes as the answer, whatever its status', async (t) => {
  const error = '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}'
  for (const status of [200, 400, 404, 500]) {
    const { session, heard } = await open(t, (response) => answer(response, error, { status }))
    t.equal(await session.send(call(1), sending), undefined)
    t.same(heard.messages, [[error, call(1).text]], String(status))
  }
})

t.test('an error in the envelope of a framework becomes the answer', async (t) => {
  const { session, heard } = await open(t, (response) =>
    answer(response, '{"detail":"bad input"}', { status: 422 }),
  )
  t.equal(await session.send(call(1), sending), undefined)
  t.match(heard.messages[0]?.[0], /"error".*bad input/)
})

t.test('a request without a usable answer says why', async (t) => {
  const page = '<html><title>502 Bad Gateway</title><p>secret</p></html>'
  const cases = [
    {
      body: '',
      status: 202,
      code: 'BACKEND_ANSWER_INVALID',
      mayHaveRun: true,
      message: /with nothing/,
    },
    {
      body: '',
      status: 200,
      code: 'BACKEND_ANSWER_INVALID',
      mayHaveRun: true,
      message: /with nothing/,
    },
    {
      body: 'Accepted',
      status: 200,
      code: 'BACKEND_ANSWER_INVALID',
      mayHaveRun: true,
      message: /no JSON/,
    },
    {
      body: '{"status":"ok"}',
      status: 200,
      code: 'BACKEND_ANSWER_INVALID',
      mayHaveRun: true,
      message: /no JSON-RPC/,
    },
    {
      body: ': nothing\n\n',
      status: 200,
      code: 'BACKEND_ANSWER_INVALID',
      mayHaveRun: true,
      message: /no response/,
    },
    {
      body: page,
      status: 502,
      code: 'BACKEND_REFUSED',
      mayHaveRun: true,
      message: /status 502: 502 Bad Gateway$/,
    },
    {
      body: page,
      status: 200,
      code: 'BACKEND_REFUSED',
      mayHaveRun: true,
      message: /status 200: 502 Bad Gateway$/,
    },
    { body: '', status: 404, code: 'BACKEND_REFUSED', mayHaveRun: false, message: /status 404$/ },
    {
      body: 'nope',
      status: 405,
      code: 'BACKEND_REFUSED',
      mayHaveRun: false,
      message: /status 405$/,
    },
    { body: '', status: 501, code: 'BACKEND_REFUSED', mayHaveRun: false, message: /status 501$/ },
  ]
  for (const { body, status, code, mayHaveRun, message } of cases) {
    const { session, heard } = await open(t, (response) => answer(response, body, { status }))
    t.match(
      await session.send(call(1), sending),
      { mayHaveRun, error: { code, message } },
      `${status} ${body}`,
    )
    t.same(heard.messages, [])
  }
})

t.test('a body that breaks off before the response may have run', async (t) => {
  const { session } = await open(t, (response) => {
    begin(response, 'data: {"jsonrpc"')
    setImmediate(() => response.destroy())
  })
  t.match(await session.send(call(1), sending), {
    mayHaveRun: true,
    error: { code: 'BACKEND_STREAM_ENDED' },
  })
})

t.test('refused credentials pass on the challenge', async (t) => {
  const { session } = await open(t, (response) =>
    answer(response, reply(1), { status: 401, headers: { 'www-authenticate': 'Bearer' } }),
  )
  t.match(await session.send(note(), sending), {
    mayHaveRun: false,
    error: { code: 'BACKEND_UNAUTHORIZED', status: 401, headers: { 'www-authenticate': 'Bearer' } },
  })
})

t.test('whatever is said to a notification is dropped, a refusal is told to the log', async (t) => {
  for (const [status, body] of [
    [202, ''],
    [200, 'null'],
    [200, reply('null')],
    [400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}'],
  ] as const) {
    const { session, heard } = await open(t, (response) => answer(response, body, { status }))
    t.equal(await session.send(note(), sending), undefined)
    t.same(heard.messages, [])
    t.equal(heard.troubles.length, status === 400 ? 1 : 0, `${status} ${body}`)
  }
})

t.test('aborting a message closes its request and nobody else’s', async (t) => {
  const { backend, session, heard } = await open(t, (response) => begin(response, ''))
  const [first, second] = [call(1), call(2)]
  const sent = [session.send(first, sending), session.send(second, sending)]
  await until(() => backend.seen.length === 2, 'both requests')
  session.abort(first)
  t.equal(await sent[0], undefined)
  await until(() => backend.seen.some((one) => one.closed), 'a request to close')
  t.same(
    backend.seen.map((one) => [one.body, one.closed]).sort(),
    [
      [first.text, true],
      [second.text, false],
    ].sort(),
  )
  session.close()
  t.equal(await sent[1], undefined)
  t.equal(await session.send(call(3), sending), undefined, 'a closed session sends nothing')
  t.same(heard.messages, [])
  t.same(heard.ends, [])
})

t.test('a paused session stops reading answers until it is resumed', async (t) => {
  const responses: ServerResponse[] = []
  const { session, heard } = await open(t, (response) => {
    responses.push(response)
    begin(response, `data: ${note('notifications/progress').text}\n\n`)
  })
  const sent = session.send(call(1), sending)
  await until(() => heard.messages.length === 1, 'the first event')
  session.pause()
  responses[0]?.end(`data: ${reply(1)}\n\n`)
  // Another session's round trip shows that the end of the first answer has had its time.
  const other = await open(t, (response) => answer(response, reply(2)))
  await other.session.send(call(2), sending)
  t.equal(heard.messages.length, 1)
  const late = session.send(call(3), sending)
  await until(() => responses.length === 2, 'a request sent while paused')
  await other.session.send(call(4), sending)
  t.equal(heard.messages.length, 1)
  session.resume()
  await sent
  responses[1]?.end(`data: ${reply(3)}\n\n`)
  await late
  t.equal(heard.messages.length, 4)
})

t.test('nothing stays open after the client is closed', async (t) => {
  const { backend, session, options } = await open(t, (response) =>
    begin(response, `data: ${note().text}\n\n`),
  )
  const sent = session.send(call(1), sending)
  await until(() => backend.seen.length === 1, 'the request')
  session.close()
  await sent
  await options.http.close()
  await until(() => backend.connections() === 0, 'every connection to close')
})
