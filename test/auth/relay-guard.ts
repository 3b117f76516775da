import { hash } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { parametersIn } from '../../src/auth/challenge.ts'
import type { Knock } from '../../src/auth/guard.ts'
import { createRelayGuard } from '../../src/auth/relay-guard.ts'
import type { RelayConfig } from '../../src/auth/relay-guard.ts'
import { ProxyError } from '../../src/errors.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { listen } from '../fixtures/listen.ts'
import { json, oauthServer } from '../fixtures/oauth-server.ts'

const resource = 'https://mcp.example.com/mcp'
const publicOrigin = 'https://mcp.example.com'
const metadata = `${publicOrigin}/.well-known/oauth-protected-resource/mcp`

/** An authorization server of these words; `undefined`: it has no metadata. */
async function serverOf(
  t: Test,
  document: ((url: string) => Readonly<Record<string, unknown>>) | undefined,
): Promise<string> {
  const server = await listen((request, response) => {
    const known = request.url === '/.well-known/oauth-authorization-server'
    if (!known || document === undefined) return void response.writeHead(404).end()
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify({
        issuer: server.url,
        authorization_endpoint: `${server.url}/authorize`,
        token_endpoint: `${server.url}/token`,
        registration_endpoint: `${server.url}/register`,
        code_challenge_methods_supported: ['S256'],
        ...document(server.url),
      }),
    )
  })
  t.teardown(() => server.close())
  return server.url
}

function guardOf(t: Test, url: string, config: Partial<RelayConfig> = {}) {
  const clock = manualClock()
  const counted: string[] = []
  const guard = createRelayGuard(
    {
      route: 'shop',
      backendUrl: new URL('/mcp', url),
      authorizationServer: undefined,
      as: 'own-origin',
      scopes: ['use'],
      optional: false,
      publicOrigin,
      ...config,
    },
    {
      clock,
      limits: {
        request: async (route, principal) => void counted.push(`${route} ${principal}`),
        beforeVerifying: async () => void counted.push('before'),
        failed: async () => void counted.push('failed'),
        registration: async () => undefined,
        held: 0,
      },
    },
  )
  t.teardown(() => guard.close())
  const knock = (authorization: string | undefined, more: Partial<Knock> = {}) =>
    guard.admit({
      method: 'POST',
      headers: authorization === undefined ? {} : { authorization },
      query: '',
      address: '10.0.0.9',
      resource,
      parameters: {},
      ...more,
    })
  return { guard, clock, knock, counted }
}

/** One that is never asked. */
const away = (t: Test, config: Partial<RelayConfig> = {}) =>
  guardOf(t, 'http://127.0.0.1:1', config)

const jwt = (sub: string, signature = 'x'): string => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'HS256' })}.${part({ iss: 'https://as.example', sub })}.${signature}`
}

t.test('a refusal keeps the backend’s error, description and scope, and leads to us', async (t) => {
  const { guard } = away(t)
  const challenge =
    'Bearer realm="x", resource_metadata="https://backend.example/meta", error="insufficient_scope", error_description="needs \\"more\\"", scope="files:read files:write"'
  const told = guard.refusal(resource, { status: 403, challenge }, true)
  t.equal(told?.status, 403)
  t.strictSame(
    { ...parametersIn(told?.challenge) },
    {
      resource_metadata: metadata,
      error: 'insufficient_scope',
      error_description: "needs 'more'",
      scope: 'files:read files:write',
    },
  )
})

t.test('what a backend leaves out is made up for', async (t) => {
  const { guard } = away(t)
  const bare = `Bearer resource_metadata="${metadata}", scope="use"`
  const cases: [
    number,
    string | undefined,
    boolean,
    { status: number; challenge: string } | undefined,
  ][] = [
    [401, undefined, true, { status: 401, challenge: `${bare}, error="invalid_token"` }],
    [401, 'Basic realm="x"', true, { status: 401, challenge: `${bare}, error="invalid_token"` }],
    [401, 'Bearer error="odd"', true, { status: 401, challenge: `${bare}, error="invalid_token"` }],
    [401, 'Bearer error="invalid_token"', false, { status: 401, challenge: bare }],
    [403, undefined, false, { status: 401, challenge: bare }],
    [405, undefined, false, undefined],
    [403, undefined, true, undefined],
    [403, 'Bearer error="invalid_token"', true, undefined],
    [405, undefined, true, undefined],
    [404, undefined, false, undefined],
    [500, 'Bearer error="invalid_token"', true, undefined],
    [200, undefined, false, undefined],
  ]
  for (const [status, challenge, sent, expected] of cases) {
    const what = `${status} ${challenge} ${sent}`
    t.same(guard.refusal(resource, { status, challenge }, sent), expected, what)
  }
})

t.test('a hostile challenge stays within ours', async (t) => {
  const { guard } = away(t)
  const challenge = `Bearer error="invalid_token", error_description="a\\", resource_metadata=\\"https://evil.example", scope="x\\", error=\\"y"`
  const told = guard.refusal(resource, { status: 401, challenge }, true)?.challenge
  const { resource_metadata: at, error } = parametersIn(told)
  t.equal(at, metadata)
  t.equal(error, 'invalid_token')
  t.match(told, /^Bearer [\x20-\x7e]*$/)
})

t.test('without a token nobody comes in, but where that is optional', async (t) => {
  await t.rejects(away(t).knock(undefined), {
    code: 'TOKEN_MISSING',
    headers: { 'www-authenticate': `Bearer resource_metadata="${metadata}", scope="use"` },
  })
  const { knock, counted } = away(t, { optional: true })
  const nobody = await knock(undefined)
  t.match(nobody, { principal: undefined, client: undefined, expires: undefined })
  t.same(await nobody.headers({ accept: 'a' }), { accept: 'a' }, 'and is nobody to the backend')
  nobody.permit([])
  t.equal(nobody.reads, false)
  t.same(counted, [])
  const bad = { code: 'TOKEN_INVALID', headers: { 'www-authenticate': /error="invalid_request"/ } }
  for (const header of ['', 'Basic YTpi', 'Bearer a b']) {
    await t.rejects(knock(header), bad, 'but what is sent must be one token')
  }
  await t.rejects(knock(undefined, { query: 'access_token=a' }), bad)
})

t.test('a token goes on as it is, and its claims are nobody’s word', async (t) => {
  const { guard, knock, counted } = away(t)
  const token = jwt('ann')
  const authorization = `Bearer ${token}`
  const admission = await knock(authorization)
  t.equal(admission.principal, 'https://as.example|ann')
  t.same(await admission.headers({ authorization, 'x-causeway-principal': 'eve' }), {
    authorization,
    'x-causeway-principal': 'https://as.example|ann',
  })
  t.equal(guard.knows(token), false)
  t.same(counted, [`shop unknown ${hash('sha256', token)}`], 'and its victim pays nothing')
  guard.heard({ authorization }, 200)
  await knock(authorization)
  t.equal(counted.at(-1), 'shop https://as.example|ann')
  await knock(`Bearer ${jwt('ann', 'forged')}`)
  t.not(counted.at(-1), 'shop https://as.example|ann')
  t.notOk(counted.includes('before') || counted.includes('failed'), 'nothing is verified here')
})

t.test('where a token is optional, the backend’s yes proves nothing that it claims', async (t) => {
  const { guard, knock } = away(t, { optional: true })
  const principals: (string | undefined)[] = []
  for (const signature of ['forged', 'other']) {
    const authorization = `Bearer ${jwt('ann', signature)}`
    guard.heard({ authorization }, 200)
    principals.push((await knock(authorization)).principal)
  }
  t.match(principals, [/^sha256:/, /^sha256:/])
  t.not(principals[0], principals[1])
})

t.test('the backend’s answer decides whether a token is known', async (t) => {
  const { guard, clock } = away(t)
  const authorization = 'bearer abc'
  for (const status of [100, 199, 300, 302, 400, 403, 404, 429, 500, 503]) {
    guard.heard({ authorization }, status)
    t.equal(guard.knows('abc'), false, `${status} says nothing`)
  }
  for (const status of [200, 202, 204, 299]) {
    guard.heard({ authorization }, status)
    t.equal(guard.knows('abc'), true, String(status))
    guard.heard({ authorization: 'Bearer other' }, 401)
    for (const later of [400, 403, 404, 500]) guard.heard({ authorization }, later)
    t.equal(guard.knows('abc'), true, 'and goes on')
    guard.heard({ authorization }, 401)
    t.equal(guard.knows('abc'), false, 'until it is refused')
  }
  const others: Record<string, string>[] = [
    {},
    { authorization: 'Basic abc' },
    { authorization: 'Bearer abc x' },
  ]
  for (const headers of others) {
    guard.heard(headers, 200)
    t.equal(guard.knows('abc'), false)
  }
  guard.heard({ authorization }, 200)
  clock.advance(300_000)
  t.equal(guard.knows('abc'), false, 'nor is it believed for ever')
})

t.test('clients are told of the authorization server as it writes itself', async (t) => {
  const url = await serverOf(t, () => ({}))
  const { guard } = guardOf(t, url)
  t.same((await guard.facts()).authorizationServers, [url], 'once it has been seen')
  t.equal((await guard.server.ready()).ok, true)
  t.same(await guard.facts(), { authorizationServers: [url], scopes: ['use'], name: 'shop' })
  t.equal(guard.facade(), false)
  t.equal(guard.endpoints()?.token, `${url}/token`)
  const named = away(t, { authorizationServer: 'https://as.example/tenant/' })
  t.same((await named.guard.facts()).authorizationServers, ['https://as.example/tenant/'])
})

t.test('no client is told of a server that may be the wrong one', async (t) => {
  const silent = away(t)
  await t.rejects(silent.guard.facts(), { code: 'AUTH_UNAVAILABLE', status: 503, retryAfter: 5 })
  const none = await serverOf(t, undefined)
  t.same((await guardOf(t, none).guard.facts()).authorizationServers, [none], 'where it has none')
  const server = await listen(() => undefined)
  t.teardown(() => server.close())
  const waiting = guardOf(t, server.url)
  const asked = t.rejects(waiting.guard.facts(), { code: 'AUTH_UNAVAILABLE' })
  waiting.clock.advance(30_000)
  await asked
})

t.test('a facade has our name, but not where the server sends its own', async (t) => {
  const flag = 'authorization_response_iss_parameter_supported'
  const quiet = guardOf(t, await serverOf(t, () => ({})), { as: 'facade' })
  await quiet.guard.server.ready()
  t.equal(quiet.guard.facade(), true)
  t.same((await quiet.guard.facts()).authorizationServers, [publicOrigin])
  const url = await serverOf(t, () => ({ [flag]: true }))
  const naming = guardOf(t, url, { as: 'facade' })
  await naming.guard.server.ready()
  t.equal(naming.guard.facade(), false)
  t.same((await naming.guard.facts()).authorizationServers, [url])
})

t.test('endpoints that cannot be trusted, or lead to ourselves, are none', async (t) => {
  const silent = away(t)
  t.equal(silent.guard.endpoints(), undefined, 'nobody has looked yet')
  const none = await serverOf(t, undefined)
  const guessed = guardOf(t, none)
  await guessed.guard.server.ready()
  t.equal(guessed.guard.endpoints()?.token, `${none}/token`, 'the default paths')
  const own = guardOf(t, none, { publicOrigin: none })
  await own.guard.server.ready()
  t.equal(own.guard.endpoints(), undefined)
  for (const name of ['authorization', 'token', 'registration', 'revocation']) {
    const document = { [`${name}_endpoint`]: `${publicOrigin}:443/${name}` }
    const circle = guardOf(t, await serverOf(t, () => document))
    t.equal((await circle.guard.server.ready()).ok, true)
    t.equal(circle.guard.endpoints(), undefined, name)
  }
})

t.test('clients are told the scopes of the backend where the operator names none', async (t) => {
  const as = await oauthServer(t, { protectedResource: false })
  const supported = { authorization_servers: [as.issuer], scopes_supported: ['mcp:use'] }
  as.at('/.well-known/oauth-protected-resource/mcp', json(supported))
  t.same((await guardOf(t, as.url, { scopes: [] }).guard.facts()).scopes, ['mcp:use'])
  t.same((await guardOf(t, as.url, { scopes: ['mine'] }).guard.facts()).scopes, ['mine'])
})

t.test('an error of ours stays what it is', async (t) => {
  const { guard, clock } = away(t)
  const refusing = createRelayGuard(
    {
      route: 'shop',
      backendUrl: new URL('http://127.0.0.1:1/mcp'),
      authorizationServer: undefined,
      as: 'own-origin',
      scopes: [],
      optional: true,
      publicOrigin,
    },
    {
      clock,
      limits: {
        request: () => Promise.reject(new ProxyError('RATE_LIMITED', 'often', { retryAfter: 9 })),
        beforeVerifying: async () => undefined,
        failed: async () => undefined,
        registration: async () => undefined,
        held: 0,
      },
    },
  )
  t.teardown(() => refusing.close())
  t.equal(guard.type, 'relay')
  const knock = {
    method: 'POST',
    headers: { authorization: 'Bearer abc' },
    query: '',
    address: '',
    resource,
    parameters: {},
  }
  await t.rejects(refusing.admit(knock), { code: 'RATE_LIMITED', retryAfter: 9, headers: {} })
})
