// `auth: verify` as its users have it: tokens of another authorization server and static keys, in front of a backend that
// has no authentication of its own and believes its headers.
import { createHash } from 'node:crypto'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import t from 'tap'
import type { Test } from 'tap'
import { fetchRaw, postJson } from '../fixtures/http.ts'
import { listen, readText } from '../fixtures/listen.ts'
import { modernPost } from '../fixtures/modern-post.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { anyRedis } from '../fixtures/redis.ts'

const publicUrl = 'https://mcp.example.com'
const resource = `${publicUrl}/mcp`

/** Publishes keys, and signs with one of them. */
async function startIssuer(t: Test) {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
  let down = false
  const server = await listen((_, response) => {
    if (down) return void response.destroy()
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ keys: [jwk] }))
  })
  t.teardown(() => server.close())
  const issuer = server.url
  const token = (
    claims: Record<string, unknown> = {},
    over: { kid?: string; issuer?: string; audience?: string; ends?: string; begins?: string } = {},
  ): Promise<string> =>
    new SignJWT({ scope: 'use', ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: over.kid ?? 'one' })
      .setIssuer(over.issuer ?? issuer)
      .setAudience(over.audience ?? resource)
      .setSubject(String(claims['sub'] ?? 'ann'))
      .setIssuedAt()
      .setNotBefore(over.begins ?? '0s')
      .setExpirationTime(over.ends ?? '5m')
      .sign(privateKey)
  return { issuer, token, stop: () => (down = true) }
}

/** Answers with the headers that it got. */
async function startBackend(t: Test) {
  const seen: Record<string, unknown>[] = []
  const server = await listen(async (request, response) => {
    const text = await readText(request)
    if (request.method !== 'POST') return void response.writeHead(405).end()
    const { id, method } = JSON.parse(text) as { id?: number; method: string }
    seen.push({ method, ...request.headers })
    if (id === undefined) return void response.writeHead(202).end()
    const result =
      method === 'initialize'
        ? {
            protocolVersion: '2025-06-18',
            capabilities: { tools: {} },
            serverInfo: { name: 'b', version: '1' },
          }
        : { content: [{ type: 'text', text: JSON.stringify(request.headers) }] }
    response.writeHead(200, {
      'content-type': 'application/json',
      ...(method === 'initialize' && { 'mcp-session-id': `s${seen.length}` }),
    })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })
  t.teardown(() => server.close())
  return { url: `${server.url}/mcp`, seen }
}

const secretKey = 'a-key-that-nobody-guesses'

interface Around {
  readonly as: Awaited<ReturnType<typeof startIssuer>>
  readonly backend: Awaited<ReturnType<typeof startBackend>>
}

async function startReplica(
  t: Test,
  { as, backend }: Around,
  auth: Record<string, unknown>,
  config: object,
) {
  const proxy = await startProxy({
    config: { publicUrl, ...config },
    routes: [
      {
        name: 'shop',
        path: '/mcp',
        backend: { url: backend.url, dialect: 'streamable' },
        auth: {
          type: 'verify',
          issuers: [{ issuer: as.issuer, jwksUrl: `${as.issuer}/keys` }],
          apiKeys: [
            {
              sha256: createHash('sha256').update(secretKey).digest('hex'),
              principal: 'robot',
              scopes: ['use'],
            },
          ],
          scopes: ['use'],
          tools: { drop: ['admin'] },
          implies: { root: ['admin', 'use'] },
          headers: { 'x-user-id': '{principal}' },
          ...auth,
        },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  return proxy
}

async function setUp(t: Test, auth: Record<string, unknown> = {}, config: object = {}) {
  const around = { as: await startIssuer(t), backend: await startBackend(t) }
  const proxy = await startReplica(t, around, auth, config)
  return { ...around, proxy, url: `${proxy.url}/mcp` }
}

const opening = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'c', version: '1' },
  },
}

const call = (id: number, name = 'look') => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: {} },
})
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

t.test('without a token every method is sent to where tokens are', async (t) => {
  const { url, proxy, as, backend } = await setUp(t)
  const metadata = `${publicUrl}/.well-known/oauth-protected-resource/mcp`
  for (const method of ['POST', 'GET', 'DELETE', 'PUT', 'HEAD']) {
    const answer = await fetchRaw(url, {
      method,
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      ...(method === 'POST' && { body: JSON.stringify(call(1)) }),
    })
    t.equal(answer.status, 401, method)
    t.equal(
      answer.headers['www-authenticate'],
      `Bearer resource_metadata="${metadata}", scope="use"`,
      method,
    )
  }
  t.equal((await fetchRaw(url, { method: 'OPTIONS' })).status, 204, 'but for OPTIONS')
  const paths = [
    '/.well-known/oauth-protected-resource/mcp',
    '/.well-known/oauth-protected-resource',
    '/mcp/.well-known/oauth-protected-resource',
  ]
  for (const path of paths) {
    const answer = await fetchRaw(proxy.url + path, { headers: { origin: 'https://claude.ai' } })
    t.match(answer, { status: 200, headers: { 'access-control-allow-origin': '*' } }, path)
    t.same(JSON.parse(answer.body), {
      resource,
      authorization_servers: [as.issuer],
      scopes_supported: ['use', 'admin'],
      bearer_methods_supported: ['header'],
      resource_name: 'shop',
    })
  }
  const unknown = await fetchRaw(`${proxy.url}/.well-known/oauth-protected-resource/other`)
  t.match(unknown, { status: 404, headers: { 'content-type': 'application/json' } })
  t.same(backend.seen, [])
})

t.test('a token that is not good is refused, and why', async (t) => {
  const { url, as, backend } = await setUp(t)
  const other = await startIssuer(t)
  const [header = '', payload = '', signature = ''] = (await as.token()).split('.')
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  const hs = Buffer.from('{"alg":"HS256","kid":"one"}').toString('base64url')
  const bad: Readonly<Record<string, string>> = {
    'another issuer’s': await other.token(),
    'another issuer’s, under this name': await other.token({}, { issuer: as.issuer }),
    'for another audience': await as.token({}, { audience: 'https://other.example.com' }),
    expired: await as.token({}, { ends: '-10m' }),
    'not yet good': await as.token({}, { begins: '10m', ends: '20m' }),
    'of an unknown key': await as.token({}, { kid: 'two' }),
    'without a signature': `${none}.${payload}.`,
    'signed otherwise than allowed': `${hs}.${payload}.${signature}`,
    changed: `${header}.${Buffer.from('{"sub":"eve"}').toString('base64url')}.${signature}`,
    'no token at all': 'opaque',
  }
  for (const [what, token] of Object.entries(bad)) {
    const answer = await postJson(url, call(1), { headers: bearer(token) })
    t.equal(answer.status, 401, what)
    t.match(answer.headers['www-authenticate'], /^Bearer .*error="invalid_token"/, what)
  }
  const inQuery = await postJson(`${url}?access_token=${await as.token()}`, call(1))
  t.equal(inQuery.status, 401, 'nor is one in the URL')
  t.same(backend.seen, [], 'and the backend hears of none of them')
})

t.test('a good one is let in, and the backend is told who it is', async (t) => {
  const { url, as, backend } = await setUp(t)
  const spoofed = {
    'x-user-id': 'eve',
    X_User_Id: 'eve',
    'x-causeway-principal': 'eve',
    connection: 'x-user-id',
  }
  const answer = await postJson(url, call(1), {
    headers: { ...bearer(await as.token()), ...spoofed },
  })
  t.equal(answer.status, 200)
  const told = backend.seen.find(({ method }) => method === 'tools/call')
  t.equal(told?.['x-user-id'], `${as.issuer}|ann`)
  t.notOk(Object.values(told ?? {}).includes('eve'), 'and of nobody else')
  t.notOk('authorization' in (told ?? {}), 'the token stays here')
  t.notOk('x-causeway-principal' in (told ?? {}))

  await postJson(url, call(2), { headers: bearer(secretKey) })
  t.equal(backend.seen.at(-1)?.['x-user-id'], 'api-key|robot', 'a key is as good')
  const modern = await modernPost(
    url,
    'tools/call',
    { name: 'look', arguments: {} },
    {
      headers: bearer(await as.token()),
    },
  )
  t.match(modern, { status: 200, result: { resultType: 'complete' } })
})

t.test('scopes are asked for by route and by tool, all that are missing at once', async (t) => {
  const { url, as } = await setUp(t)
  const few = await postJson(url, call(1), { headers: bearer(await as.token({ scope: 'other' })) })
  t.equal(few.status, 403)
  t.match(few.headers['www-authenticate'], /error="insufficient_scope"/)
  t.match(few.headers['www-authenticate'], /scope="use other"/)
  const tool = await postJson(url, call(2, 'drop'), { headers: bearer(await as.token()) })
  t.match(tool, { status: 403 })
  t.match(tool.headers['www-authenticate'], /scope="use admin"/)
  const granted = bearer(await as.token({ scope: 'root' }))
  t.equal((await postJson(url, call(3, 'drop'), { headers: granted })).status, 200)
})

t.test('a call too large to be held needs its scopes too', async (t) => {
  const { url, as, backend } = await setUp(t)
  const ann = bearer(await as.token())
  const opened = await postJson(url, opening, {
    headers: { ...ann, accept: 'application/json, text/event-stream' },
  })
  const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const large = { arguments: { a: 'x'.repeat(200_000) } }
  const drop = { ...call(1), params: { ...large, name: 'drop' } }
  for (const headers of [{ ...ann, ...session }, ann]) {
    t.equal((await postJson(url, drop, { headers })).status, 403)
  }
  t.notOk(backend.seen.some(({ method }) => method === 'tools/call'))
  const look = { ...call(2), params: { ...large, name: 'look' } }
  t.equal((await postJson(url, look, { headers: { ...ann, ...session } })).status, 200)
})

t.test('a session belongs to whoever opened it, whatever token they have now', async (t) => {
  const { url, as } = await setUp(t)
  const opened = await postJson(url, opening, {
    headers: { ...bearer(await as.token()), accept: 'application/json, text/event-stream' },
  })
  const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const again = bearer(await as.token({ jti: 'another token' }))
  const own = await postJson(url, call(1), { headers: { ...session, ...again } })
  t.equal(own.status, 200)
  for (const token of [await as.token({ sub: 'eve' }), secretKey]) {
    const strange = await postJson(url, call(2), { headers: { ...session, ...bearer(token) } })
    t.equal(strange.status, 404)
    const stream = await fetchRaw(url, {
      headers: { ...session, ...bearer(token), accept: 'text/event-stream' },
    })
    t.equal(stream.status, 404)
  }
})

t.test('nor has another replica a session for anybody but its owner', async (t) => {
  const around = { as: await startIssuer(t), backend: await startBackend(t) }
  const config = { store: { type: 'redis', ...(await anyRedis(t)) } }
  const [one, other] = await Promise.all([
    startReplica(t, around, {}, config),
    startReplica(t, around, {}, config),
  ])
  const { as, backend } = around
  const opened = await postJson(`${one.url}/mcp`, opening, {
    headers: { ...bearer(await as.token()), accept: 'application/json, text/event-stream' },
  })
  t.equal(opened.status, 200)
  const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const url = `${other.url}/mcp`
  const calls = () => backend.seen.filter(({ method }) => method === 'tools/call').length
  for (const token of [await as.token({ sub: 'eve' }), secretKey]) {
    const headers = { ...session, ...bearer(token) }
    t.equal((await postJson(url, call(1), { headers })).status, 404)
    const accept = 'text/event-stream'
    t.equal((await fetchRaw(url, { headers: { ...headers, accept } })).status, 404)
    t.equal((await fetchRaw(url, { method: 'DELETE', headers })).status, 404)
  }
  t.equal(calls(), 0, 'the backend hears nothing of them')
  const again = bearer(await as.token({ jti: 'another token' }))
  const own = await postJson(url, call(2), { headers: { ...session, ...again } })
  t.match(own, { status: 200 })
  t.equal(calls(), 1)
  t.equal(backend.seen.at(-1)?.['x-user-id'], `${as.issuer}|ann`)
})

t.test('an issuer that is away is no reason to throw tokens away', async (t) => {
  const { url, as } = await setUp(t)
  const token = await as.token()
  t.equal((await postJson(url, call(1), { headers: bearer(token) })).status, 200)
  as.stop()
  t.equal((await postJson(url, call(2), { headers: bearer(await as.token()) })).status, 200)

  const fresh = await setUp(t)
  fresh.as.stop()
  const answer = await postJson(fresh.url, call(1), { headers: bearer(await fresh.as.token()) })
  t.match(answer, { status: 503, headers: { 'retry-after': /^\d+$/ } })
})

t.test('who asks too often is told when to come back', async (t) => {
  const limits = { rateLimits: { requests: { count: 3, time: '60s' } } }
  const { url, as } = await setUp(t, {}, limits)
  const ann = bearer(await as.token())
  for (let id = 1; id <= 3; id++) {
    t.equal((await postJson(url, call(id), { headers: ann })).status, 200)
  }
  const much = await postJson(url, call(4), { headers: ann })
  t.match(much, { status: 429, headers: { 'retry-after': /^\d+$/ } })
  t.match(JSON.parse(much.body), { jsonrpc: '2.0', error: { code: -32000 } })
  const bob = bearer(await as.token({ sub: 'bob' }))
  t.equal((await postJson(url, call(5), { headers: bob })).status, 200, 'others are not')
})

t.test('what the backend gets instead of the token', async (t) => {
  const secret = 'a shared secret of at least thirty-two bytes'
  const { url, as, backend } = await setUp(t, {
    credential: { type: 'jwt', key: secret, audience: 'backend', claims: { who: '{claims.sub}' } },
  })
  await postJson(url, call(1), { headers: bearer(await as.token()) })
  const [, payload = ''] = String(backend.seen.at(-1)?.['authorization']).split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
  t.match(claims, { sub: 'ann', aud: 'backend', who: 'ann' })
})
