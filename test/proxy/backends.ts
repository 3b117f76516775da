import t from 'tap'
import type { Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { createBackends } from '../../src/proxy/backends.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import { configured, loggedServices } from '../fixtures/configured.ts'
import { caller } from '../fixtures/conversing.ts'
import { answer, begin, call, ear, scripted, sending } from '../fixtures/scripted.ts'
import type { Scripted } from '../fixtures/scripted.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** The backends of one route `shop`. */
function setUp(t: Test, backend: Record<string, unknown>, path = '/mcp') {
  const config = configured({ routes: [{ name: 'shop', path, ...backend }] })
  const services = loggedServices(systemClock)
  const backends = createBackends(config, services)
  t.teardown(() => backends.close())
  const [route] = config.routes
  if (route === undefined || !('backend' in route)) throw new Error('no backend')
  return { backends, services, route }
}

const result = '{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}'

/** A backend of plain JSON-RPC. */
const rpcBackend = (t: Test): Promise<Scripted> =>
  scripted(t, (_seen, response) => answer(response, result, { type: 'application/json' }))

t.test('a dialect that is configured is resolved at once', async (t) => {
  for (const [dialect, stream] of [
    ['sse', 'auto'],
    ['rpc', 'own'],
  ] as const) {
    const { backends } = setUp(t, { backend: { url: 'http://backend.test/sse', dialect } })
    const resolved = backends.resolve(caller())
    t.notOk(resolved instanceof Promise)
    t.match(resolved, { traits: dialects[dialect], stream, target: { route: 'shop' } }, dialect)
  }
})

t.test('only an sse backend may share its stream', async (t) => {
  const url = 'http://backend.test/sse'
  for (const [dialect, stream, expected] of [
    ['sse', 'shared', 'shared'],
    ['sse', 'own', 'own'],
    ['rpc', 'shared', 'own'],
  ] as const) {
    const { backends } = setUp(t, { backend: { url, dialect, stream } })
    t.match(backends.resolve(caller()), { stream: expected }, `${dialect} ${stream}`)
  }
})

t.test('path parameters are filled in, and stay inside their segment', async (t) => {
  const { backends } = setUp(
    t,
    {
      backend: {
        url: 'http://backend.test/{client}/sse?user={user}',
        messages: '/{client}/messages',
        dialect: 'sse',
      },
    },
    '/mcp/{client}/{user}',
  )
  const parameters = { client: 'a b', user: 'ann&admin=1' }
  const resolved = await backends.resolve(caller({ parameters }))
  t.equal(resolved.target.url.href, 'http://backend.test/a%20b/sse?user=ann%26admin%3D1')
  t.equal(resolved.target.messages?.href, 'http://backend.test/a%20b/messages')
})

t.test('without a messages path there is none', async (t) => {
  const { backends } = setUp(t, { backend: { url: 'http://backend.test/sse', dialect: 'sse' } })
  t.equal((await backends.resolve(caller())).target.messages, undefined)
})

t.test('the headers of a route take its parameters', async (t) => {
  const { backends, route } = setUp(
    t,
    { backend: { url: 'http://backend.test/', headers: { 'X-User-Id': '{user}', 'x-n': 'one' } } },
    '/mcp/{user}',
  )
  t.same(backends.headers(route, { user: 'ann' }), { 'x-user-id': 'ann', 'x-n': 'one' })
})

t.test('a route that is not configured, or has no backend, is unknown', async (t) => {
  const { backends } = setUp(t, { backend: { url: 'http://backend.test/', dialect: 'rpc' } })
  t.throws(() => backends.resolve(caller({ route: 'other' })), { code: 'ROUTE_UNKNOWN' })
})

t.test('a dialect is found out once for all who ask meanwhile, and remembered', async (t) => {
  const backend = await rpcBackend(t)
  const { backends, services } = setUp(t, { backend: { url: backend.url } })
  const [one, two] = [backends.resolve(caller()), backends.resolve(caller())]
  t.ok(one instanceof Promise)
  t.equal((await one).traits, dialects.rpc)
  t.equal((await two).dialect, (await one).dialect)
  t.equal(backend.seen.length, 1)
  t.notOk(backends.resolve(caller({ principal: 'bob' })) instanceof Promise)
  t.match(
    services.lines().filter(({ msg }) => msg === 'backend detected'),
    [{ route: 'shop', dialect: 'rpc', evidence: /status 200/ }],
  )
})

t.test('what one caller may not see says nothing about another', async (t) => {
  const backend = await scripted(t, ({ headers }, response) => {
    if (headers['authorization'] === 'good') answer(response, result, { type: 'application/json' })
    else answer(response, 'no', { status: 401 })
  })
  const { backends } = setUp(t, { backend: { url: backend.url } })
  const bad = backends.resolve(caller({ principal: 'eve', headers: { authorization: 'bad' } }))
  const good = backends.resolve(caller({ headers: { authorization: 'good' } }))
  await t.rejects(Promise.resolve(bad), { code: 'BACKEND_UNAUTHORIZED', status: 401 })
  t.equal((await good).traits, dialects.rpc)
})

t.test(
  'a backend that differs by credentials is known to each caller as it finds it',
  async (t) => {
    const backend = await scripted(t, ({ method, headers }, response) => {
      const old = headers['authorization'] === 'old'
      if (method === 'POST' && !old) answer(response, result, { type: 'application/json' })
      else if (method === 'POST') answer(response, '', { status: 405 })
      else begin(response, 'event: endpoint\ndata: /m\n\n', { type: 'text/event-stream' })
    })
    const { backends } = setUp(t, { backend: { url: backend.url } })
    const ann = caller({ headers: { authorization: 'new' } })
    const old = caller({ principal: 'old', headers: { authorization: 'old' } })
    t.equal((await backends.resolve(ann)).traits, dialects.rpc)
    t.equal((await backends.resolve(old)).traits, dialects.rpc, 'until it is contradicted')
    backends.doubt(old)
    t.equal((await backends.resolve(old)).traits, dialects.sse)
    for (const [who, traits] of [
      [ann, dialects.rpc],
      [old, dialects.sse],
    ] as const) {
      const known = backends.resolve(who)
      t.notOk(known instanceof Promise, 'both are remembered')
      t.equal((await known).traits, traits)
    }
  },
)

t.test('a dialect that could not be found out is looked for again', async (t) => {
  const backend = await scripted(t, (_seen, response, count) => {
    if (count <= 2) answer(response, '<html>', { status: 404, type: 'text/html' })
    else answer(response, result, { type: 'application/json' })
  })
  const { backends } = setUp(t, { backend: { url: backend.url } })
  await t.rejects(Promise.resolve(backends.resolve(caller())), {
    code: 'BACKEND_REFUSED',
    message: /route "shop"/,
  })
  t.equal((await backends.resolve(caller())).traits, dialects.rpc)
})

t.test('a dialect that was found out and is doubted is found out anew', async (t) => {
  const backend = await rpcBackend(t)
  const { backends } = setUp(t, { backend: { url: backend.url } })
  await backends.resolve(caller())
  backends.doubt(caller())
  backends.doubt(caller({ route: 'nowhere' }))
  const again = backends.resolve(caller())
  t.ok(again instanceof Promise)
  t.equal((await again).traits, dialects.rpc)
  t.equal(backend.seen.length, 2)
  const told = setUp(t, { backend: { url: backend.url, dialect: 'rpc' } })
  told.backends.doubt(caller())
  t.notOk(told.backends.resolve(caller()) instanceof Promise, 'not one that is configured')
})

t.test('a repair is counted each time, and logged once', async (t) => {
  const backend = await scripted(t, (_seen, response) => {
    begin(response, `event: message\n    data: ${result}\n\n`, { type: 'text/event-stream' })
    response.end()
  })
  const { backends, services } = setUp(t, { backend: { url: backend.url, dialect: 'rpc' } })
  const { dialect, target } = await backends.resolve(caller())
  const heard = ear()
  const session = dialect.open(target, {}, heard)
  t.teardown(() => session.close())
  for (let count = 1; count <= 3; count++) await session.send(call(1), sending)
  t.equal(heard.messages.length, 3)
  t.match(await services.metrics.text(), /repairs_total\{.*rule="indented-field"\} 3/)
  t.match(
    services.lines().filter(({ msg }) => msg === 'event stream repaired'),
    [{ route: 'shop', rule: 'indented-field', line: undefined }],
  )
})

t.test('a rule that is switched off mends nothing', async (t) => {
  const backend = await scripted(t, (_seen, response) => {
    begin(response, `event: message\n    data: ${result}\n\n`, { type: 'text/event-stream' })
    response.end()
  })
  const repair = { 'indented-field': false }
  const { backends, services } = setUp(t, { backend: { url: backend.url, dialect: 'rpc', repair } })
  const { dialect, target } = await backends.resolve(caller())
  const heard = ear()
  const session = dialect.open(target, {}, heard)
  t.teardown(() => session.close())
  await session.send(call(1), sending)
  t.same(heard.messages, [])
  t.notMatch(await services.metrics.text(), /repairs_total\{.*rule="indented-field"/)
})

t.test('a backend that sleeps is asked again, which is logged', async (t) => {
  const backend = await scripted(t, (_seen, response, count) => {
    if (count === 1) answer(response, 'waking', { status: 503 })
    else answer(response, result, { type: 'application/json' })
  })
  const { backends, services } = setUp(t, { backend: { url: backend.url, dialect: 'rpc' } })
  const { dialect, target } = await backends.resolve(caller())
  const heard = ear()
  const session = dialect.open(target, {}, heard)
  t.teardown(() => session.close())
  await session.send(call(1), { ...sending, repeatable: true })
  t.equal(heard.messages.length, 1)
  t.match(
    services.lines().filter(({ msg }) => msg === 'backend retried'),
    [{ route: 'shop', reason: /503/ }],
  )
})

t.test('closing closes the connections', async (t) => {
  const backend = await rpcBackend(t)
  const { backends } = setUp(t, { backend: { url: backend.url } })
  await backends.resolve(caller())
  t.equal(backend.connections(), 1)
  await backends.close()
  await waitFor(() => backend.connections() === 0)
  t.pass()
})

/** A backend that is asked for `initialize` and `server/discover`. */
const asked = (t: Test, dual: boolean): Promise<Scripted> =>
  scripted(t, ({ body }, response) => {
    const { method } = JSON.parse(body) as { readonly method: string }
    const id = 1
    const said: Record<string, object> = {
      initialize: { result: { protocolVersion: '2025-11-25', capabilities: {} } },
      'server/discover': { result: { supportedVersions: ['2026-07-28'], capabilities: {} } },
    }
    const refused = { error: { code: -32601, message: 'no such method' } }
    const known = dual || method !== 'initialize'
    const value = (known ? said[method] : undefined) ?? refused
    answer(response, JSON.stringify({ jsonrpc: '2.0', id, ...value }), {
      type: 'application/json',
      status: 'error' in value ? 404 : 200,
    })
  })

t.test('a backend of both eras is spoken to as its client speaks', async (t) => {
  const backend = await asked(t, true)
  const { backends, services } = setUp(t, { backend: { url: backend.url } })
  t.equal(backends.known(caller(), true), undefined, 'nothing is known before it is asked')
  const [modern, old] = [backends.resolve(caller(), true), backends.resolve(caller())]
  t.match(await modern, { traits: dialects.stateless, stream: 'own' })
  t.equal((await old).traits, dialects.streamable)
  t.not((await old).dialect, (await modern).dialect)
  t.equal(backend.seen.length, 2, 'it was asked once')
  t.equal(backends.known(caller(), true)?.traits, dialects.stateless)
  t.equal(backends.known(caller())?.traits, dialects.streamable)
  const again = backends.resolve(caller(), true)
  t.notOk(again instanceof Promise)
  t.equal((await again).traits, dialects.stateless)
  t.match(
    services.lines().filter(({ msg }) => msg === 'backend detected'),
    [{ dialect: 'streamable', modern: true }],
  )
})

t.test('a modern backend is spoken to in its own way, whoever asks', async (t) => {
  const backend = await asked(t, false)
  const { backends } = setUp(t, { backend: { url: backend.url } })
  t.equal((await backends.resolve(caller())).traits, dialects.stateless)
  t.equal((await backends.resolve(caller(), true)).traits, dialects.stateless)
})

t.test('a configured dialect holds for modern clients too', async (t) => {
  for (const dialect of ['sse', 'streamable', 'stateless', 'rpc'] as const) {
    const { backends } = setUp(t, { backend: { url: 'http://backend.test/mcp', dialect } })
    for (const modern of [false, true]) {
      t.match(backends.resolve(caller(), modern), { traits: dialects[dialect] }, dialect)
      t.equal(backends.known(caller(), modern)?.traits, dialects[dialect])
    }
  }
})

t.test('a backend of plain JSON-RPC is none of modern clients only', async (t) => {
  const backend = await rpcBackend(t)
  const { backends } = setUp(t, { backend: { url: backend.url } })
  t.equal((await backends.resolve(caller(), true)).traits, dialects.rpc)
})
