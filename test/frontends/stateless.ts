import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { serveStateless } from '../../src/frontends/stateless.ts'
import type { Caller } from '../../src/frontends/exchange.ts'
import { failure, notification, result } from '../../src/protocol/jsonrpc.ts'
import { front } from '../fixtures/front.ts'
import { fetchRaw, openStream, postJson } from '../fixtures/http.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const prefix = 'io.modelcontextprotocol/'
const meta = { [`${prefix}protocolVersion`]: '2026-07-28', [`${prefix}clientCapabilities`]: {} }
const head = {
  accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': 'add',
}
const call = (params: object = { name: 'add', _meta: meta }, method = 'tools/call') => ({
  jsonrpc: '2.0',
  id: 1.5,
  method,
  params,
})
const progress = notification('notifications/progress', { progressToken: 1, progress: 1 })
type Over = Readonly<Record<string, string | undefined>>
type Given = Readonly<Record<string, string>>

/** A client, and what reaches the relay; a header that is overridden with undefined is left out. */
async function opened(t: Test, own: Given = {}) {
  const callers: Caller[] = []
  const it = await front(t, (visit, relay, tools) => {
    const caller = { ...visit.caller, headers: { ...visit.caller.headers, ...own } }
    return serveStateless({ ...visit, caller }, relay, tools)
  })
  const { single } = it.relay
  it.relay.single = (caller, message, reply) => {
    callers.push(caller)
    single(caller, message, reply)
  }
  const headersWith = (over: Over): Given =>
    Object.fromEntries(
      Object.entries({ ...head, ...over }).filter((each): each is [string, string] => {
        return each[1] !== undefined
      }),
    )
  const post = (message: unknown, over: Over = {}) =>
    postJson(it.url, message, { headers: headersWith(over) })
  return { ...it, callers, headersWith, post }
}

t.test('a request is passed on and answered in JSON', async (t) => {
  const { post, asked, relay } = await opened(t)
  const answer = post(call(), { 'mcp-session-id': 'nobody' })
  const { message, reply } = await asked()
  t.match(JSON.parse(message.text), call(), 'whole')
  reply.finish(result('1.5', { resultType: 'complete' }))
  const { status, headers, body } = await answer
  t.equal(status, 200)
  t.equal(headers['content-type'], 'application/json')
  t.notOk('mcp-session-id' in headers)
  t.match(JSON.parse(body), { id: 1.5, result: {} })
  t.same([relay.sessions.size, relay.abandoned], [0, []])
})

t.test('what the client takes decides the form of an answer', async (t) => {
  const cases: [string | undefined, string, string][] = [
    [head.accept, 'application/json', 'text/event-stream'],
    [undefined, 'application/json', 'text/event-stream'],
    ['text/event-stream', 'text/event-stream', 'text/event-stream'],
    ['application/json', 'application/json', 'application/json'],
    ['text/html', 'application/json', 'application/json'],
  ]
  for (const [accept, alone, after] of cases) {
    for (const [first, expected] of [
      [false, alone],
      [true, after],
    ] as const) {
      const { post, asked } = await opened(t)
      const answer = post(call(), { accept })
      const { reply } = await asked()
      if (first) reply.send(progress)
      reply.finish(result('1.5', {}))
      const { headers, body } = await answer
      t.equal(headers['content-type'], expected, `${accept}, a message first: ${first}`)
      if (expected !== 'text/event-stream') continue
      t.equal(headers['x-accel-buffering'], 'no')
      t.notMatch(body, /^id:/m, 'there is nothing to come back to')
    }
  }
})

t.test('headers that contradict the body are refused', async (t) => {
  const cases: Over[] = [
    { 'mcp-protocol-version': undefined },
    { 'mcp-protocol-version': '2025-11-25' },
    { 'mcp-protocol-version': '2099-01-01' },
    { 'mcp-protocol-version': '2026-07-28, 2026-07-28' },
    { 'mcp-method': undefined },
    { 'mcp-method': 'tools/list' },
    { 'mcp-method': 'TOOLS/CALL' },
    { 'mcp-name': undefined },
    { 'mcp-name': 'sub' },
    { 'mcp-name': '=?base64?YWRk' },
    { 'mcp-name': '=?base64?YWR?=' },
  ]
  for (const over of cases) {
    const { post, relay } = await opened(t)
    const { status, body } = await post(call(), over)
    t.equal(status, 400, JSON.stringify(Object.entries(over)))
    t.match(JSON.parse(body), { error: { code: -32020, message: /header mismatch/i } })
    t.same(relay.asked, [], 'and nothing of it is passed on')
  }
})

t.test('a header that comes twice is refused', async (t) => {
  const { url, relay } = await opened(t)
  for (const name of ['mcp-protocol-version', 'mcp-method', 'mcp-name'] as const) {
    const headers = { ...head, [name]: [head[name], head[name]] } as unknown as Given
    const { status, body } = await postJson(url, call(), { headers })
    t.equal(status, 400, name)
    t.equal(JSON.parse(body).error.code, -32020)
  }
  t.same(relay.asked, [])
})

t.test('an encoded name is compared by what it says', async (t) => {
  const { post, asked } = await opened(t)
  const answer = post(call({ name: 'größe', _meta: meta }), {
    'mcp-name': '=?base64?Z3LDtsOfZQ==?=',
  })
  const { reply } = await asked()
  reply.finish(result('1.5', {}))
  t.equal((await answer).status, 200)
})

t.test('what is missing or odd in _meta is refused', async (t) => {
  const [revision] = Object.keys(meta)
  const cases: [string, object][] = [
    ['no params', {}],
    ['no _meta', { name: 'add' }],
    ['_meta that is no object', { name: 'add', _meta: 'x' }],
    ['no revision', { name: 'add', _meta: { ...meta, [String(revision)]: undefined } }],
    ['a revision that is no text', { name: 'add', _meta: { ...meta, [String(revision)]: 1 } }],
    ['no capabilities', { name: 'add', _meta: { [String(revision)]: '2026-07-28' } }],
    ['odd info', { name: 'add', _meta: { ...meta, [`${prefix}clientInfo`]: { name: 'c' } } }],
    ['odd level', { name: 'add', _meta: { ...meta, [`${prefix}logLevel`]: 'loud' } }],
  ]
  for (const [name, params] of cases) {
    const { post, relay } = await opened(t)
    const { status, body } = await post(call(params))
    t.equal(status, 400, name)
    t.equal(JSON.parse(body).error.code, -32602, name)
    t.same(relay.asked, [])
  }
})

t.test('a revision that is not served is refused with those that are', async (t) => {
  for (const requested of ['2099-01-01', '2025-11-25', 'draft']) {
    const { post, relay } = await opened(t)
    const params = { name: 'add', _meta: { ...meta, [`${prefix}protocolVersion`]: requested } }
    const { status, body } = await post(call(params), { 'mcp-protocol-version': requested })
    t.equal(status, 400, requested)
    const { error } = JSON.parse(body)
    t.match(error, { code: -32022, data: { requested } })
    t.ok(error.data.supported.includes('2026-07-28'))
    t.notOk(error.data.supported.includes('2099-01-01'))
    t.same(relay.asked, [])
  }
})

t.test('a header that contradicts the body counts before what is served', async (t) => {
  for (const header of [undefined, '2026-07-28', '2025-11-25']) {
    const { post } = await opened(t)
    const params = { name: 'add', _meta: { ...meta, [`${prefix}protocolVersion`]: '2099-01-01' } }
    const { status, body } = await post(call(params), { 'mcp-protocol-version': header })
    t.equal(status, 400)
    t.equal(JSON.parse(body).error.code, -32020, String(header))
  }
})

t.test('errors have the statuses of the specification', async (t) => {
  const cases: [code: number, status: number][] = [
    [-32601, 404],
    [-32020, 400],
    [-32021, 400],
    [-32022, 400],
    [-32602, 200],
    [-32603, 200],
    [-32002, 200],
    [-32000, 200],
    [404, 200],
  ]
  for (const [code, expected] of cases) {
    const { post, asked } = await opened(t)
    const answer = post(call())
    const { reply } = await asked()
    reply.finish(failure('1.5', code, 'no'))
    const { status, body } = await answer
    t.equal(status, expected, String(code))
    t.match(JSON.parse(body), { id: 1.5, error: { code } })
  }
  const ours: [ProxyError, number][] = [
    [new ProxyError('CAPABILITY_MISSING', 'it cannot be asked'), 400],
    [new ProxyError('PARAMS_INVALID', 'no request waits'), 400],
    [new ProxyError('CANNOT_CROSS', 'no such method'), 404],
    [new ProxyError('LIMIT_REACHED', 'too many', { retryAfter: 5 }), 503],
    [new ProxyError('BACKEND_UNAUTHORIZED', 'who are you'), 401],
    [new ProxyError('BACKEND_UNREACHABLE', 'nobody there'), 200],
  ]
  for (const [error, expected] of ours) {
    const { post, asked } = await opened(t)
    const answer = post(call())
    const { reply } = await asked()
    reply.fail(error)
    const { status, body } = await answer
    t.equal(status, expected, error.code)
    t.match(JSON.parse(body), { id: 1.5, error: { code: error.rpc } })
  }
})

t.test('one request or notification is all that a POST may hold', async (t) => {
  const { url, relay, headersWith } = await opened(t)
  const refuse = async (body: string): Promise<number> => {
    const headers = { ...headersWith({}), 'content-type': 'application/json' }
    const answer = await fetchRaw(url, { method: 'POST', headers, body })
    t.equal(answer.status, 400, body)
    return JSON.parse(answer.body).error.code
  }
  t.equal(await refuse(JSON.stringify([call()])), -32600)
  t.equal(await refuse(JSON.stringify([call(), call()])), -32600)
  t.equal(await refuse('{"jsonrpc":"2.0","id":1,"result":{}}'), -32600)
  t.equal(await refuse('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}'), -32600)
  t.equal(await refuse(''), -32700)
  t.equal(await refuse('{'), -32700)
  t.same([relay.asked, relay.posted], [[], []])
})

t.test('a notification is taken, but none calls off what is not its own', async (t) => {
  const { post, relay } = await opened(t)
  for (const method of ['notifications/vendor', 'notifications/cancelled']) {
    const { status, headers, body } = await post(
      { jsonrpc: '2.0', method, params: { requestId: 1 } },
      { 'mcp-method': undefined, 'mcp-name': undefined },
    )
    t.equal(status, 202, method)
    t.equal(body, '')
    t.notOk('content-type' in headers)
  }
  t.match(relay.posted, [{ method: 'notifications/vendor' }])
  t.equal(relay.posted.length, 1)
})

t.test('closing the connection calls the request off', async (t) => {
  for (const streaming of [false, true]) {
    const { url, asked, relay, headersWith } = await opened(t)
    const leave = new AbortController()
    const headers = { ...headersWith({}), 'content-type': 'application/json' }
    const options = { method: 'POST', headers, body: JSON.stringify(call()) }
    if (streaming) {
      const opening = openStream(url, options)
      const { reply } = await asked()
      reply.send(progress)
      const stream = await opening
      t.same(relay.abandoned, [])
      stream.destroy()
    } else {
      const answer = fetchRaw(url, { ...options, signal: leave.signal })
      await asked()
      leave.abort()
      await t.rejects(answer)
    }
    await waitFor(() => relay.abandoned.length > 0, { what: 'the request to be called off' })
    t.same(relay.abandoned, [(await asked()).reply], `an open stream: ${streaming}`)
  }
})

t.test('an answer that was given calls nothing off', async (t) => {
  for (const first of [false, true]) {
    const { post, asked, relay, connections } = await opened(t)
    const answer = post(call())
    const { reply } = await asked()
    if (first) reply.send(progress)
    reply.finish(result('1.5', {}))
    await answer
    await waitFor(() => connections() === 0, { what: 'the connection to close' })
    t.same(relay.abandoned, [], `as a stream: ${first}`)
  }
})

t.test('copies of arguments go on with the request, and say nothing of who asks', async (t) => {
  const own = { 'x-user-id': 'ann', 'mcp-param-shop': 'ours' }
  const { post, asked, callers } = await opened(t, own)
  const answer = post(call(), {
    'Mcp-Param-Region': '=?base64?w6k=?=',
    'mcp-other': 'x',
    'mcp-param-shop': 'another one than the route says',
  })
  const { reply } = await asked()
  reply.finish(result('1.5', {}))
  await answer
  t.same(callers[0]?.headers, { ...own, 'mcp-param-region': '=?base64?w6k=?=' })
  t.match(callers[0], { route: 'shop', principal: 'ann', address: '127.0.0.1' })
})

t.test(
  'a backend that fails is told in the answer, but to who asks what it is, in the status',
  async (t) => {
    const down = new ProxyError('BACKEND_UNREACHABLE', 'nobody there')
    const { url, asked } = await front(t, serveStateless)
    let index = 0
    for (const [method, status] of [
      ['tools/list', 200],
      ['server/discover', 502],
    ] as const) {
      const headers = { ...head, 'mcp-method': method }
      const answer = postJson(url, call({ _meta: meta }, method), { headers })
      const { reply } = await asked(index++)
      reply.fail(down)
      const { status: told, body } = await answer
      t.equal(told, status, method)
      t.match(JSON.parse(body), { id: 1.5, error: { message: 'nobody there' } }, method)
    }
  },
)
