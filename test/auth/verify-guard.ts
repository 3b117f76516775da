import { createHash } from 'node:crypto'
import { SignJWT } from 'jose'
import t from 'tap'
import type { Test } from 'tap'
import type { Knock } from '../../src/auth/guard.ts'
import { createVerifyGuard } from '../../src/auth/verify-guard.ts'
import type { VerifyConfig } from '../../src/auth/verify-guard.ts'
import { ProxyError } from '../../src/errors.ts'
import type { Message } from '../../src/protocol/jsonrpc.ts'
import { message } from '../fixtures/conversing.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

const resource = 'https://mcp.example.com/mcp'
const secret = 'a shared secret of at least thirty-two bytes'
const issuer = 'https://as.example.com'

const hs256 = { algorithms: ['HS256'], clockTolerance: 30_000, requireAtJwt: false }

const keyOf = (name: string, scopes: readonly string[]) => ({
  sha256: createHash('sha256').update(name).digest('hex'),
  principal: name,
  scopes,
})

/** Limits that tell what they were asked, in order, and refuse what the test says. */
function told(refuse: readonly string[] = []) {
  const asked: string[] = []
  const take = (what: string, ...of: string[]): Promise<void> => {
    asked.push([what, ...of].join(' '))
    return refuse.includes(what)
      ? Promise.reject(new ProxyError('RATE_LIMITED', what, { retryAfter: 3 }))
      : Promise.resolve()
  }
  return {
    asked,
    limits: {
      request: (route: string, principal: string) => take('request', route, principal),
      beforeVerifying: (address: string) => take('before', address),
      failed: (address: string) => take('failed', address),
      registration: () => take('registration'),
      held: 0,
    },
  }
}

function guardOf(config: Partial<VerifyConfig> = {}, refuse: readonly string[] = []) {
  const { asked, limits } = told(refuse)
  const guard = createVerifyGuard(
    {
      route: 'shop',
      issuers: [],
      introspection: undefined,
      apiKeys: [keyOf('ann', ['use']), keyOf('root', ['root']), keyOf('eve', [])],
      scopes: ['use'],
      tools: { drop: ['admin', 'write'], look: [], constructor: ['strange'] },
      implies: { root: ['use', 'admin', 'write'] },
      headers: {},
      parameters: {},
      id: undefined,
      credential: { type: 'none' },
      ...config,
    },
    { clock: manualClock(), limits },
  )
  const knock = (token: string | undefined, more: Partial<Knock> = {}) =>
    guard.admit({
      method: 'POST',
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      query: '',
      address: '10.0.0.9',
      resource,
      parameters: {},
      ...more,
    })
  return { guard, knock, asked }
}

const rejected = async (promise: Promise<unknown>): Promise<ProxyError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof ProxyError) return error
    throw error
  }
  throw new Error('it was not rejected')
}

const refusedBy = (task: () => void): Promise<ProxyError> => rejected((async () => task())())

const challengeOf = ({ headers }: ProxyError): string => headers['www-authenticate'] ?? ''

const request = (name: unknown, method = 'tools/call'): Message =>
  message({ jsonrpc: '2.0', id: 1, method, params: { name } })

t.test('limits are asked in the order of what costs', async (t) => {
  const cases: [string, string | undefined, readonly string[], string | undefined][] = [
    ['a good key', 'ann', ['before 10.0.0.9', 'request shop api-key|ann'], undefined],
    ['a wrong key', 'bob', ['before 10.0.0.9', 'failed 10.0.0.9'], 'TOKEN_INVALID'],
    ['no key', undefined, [], 'TOKEN_MISSING'],
    ['too few scopes', 'eve', ['before 10.0.0.9'], 'SCOPE_INSUFFICIENT'],
  ]
  for (const [what, token, expected, code] of cases) {
    const { knock, asked } = guardOf()
    if (code === undefined) await knock(token)
    else t.equal((await rejected(knock(token))).code, code, what)
    t.same(asked, expected, what)
  }
})

t.test('a limit that is met ends it there', async (t) => {
  const much = guardOf({}, ['before'])
  t.match(await rejected(much.knock('ann')), { code: 'RATE_LIMITED', retryAfter: 3 })
  t.same(much.asked, ['before 10.0.0.9'], 'nothing is verified')
  const often = guardOf({}, ['request'])
  t.match(await rejected(often.knock('ann')), { status: 429, headers: {} })
  t.same(often.asked.length, 2)
})

t.test('what is wrong with a token is said with where to get another', async (t) => {
  const { knock } = guardOf()
  const start = `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="use"`
  t.equal(challengeOf(await rejected(knock(undefined))), start)
  t.match(challengeOf(await rejected(knock('bob'))), `${start}, error="invalid_token"`)
  const headers = { authorization: 'Basic YTpi' }
  for (const more of [{ headers }, { query: 'access_token=ann' }]) {
    const { asked, knock: again } = guardOf()
    const error = await rejected(again('ann', more))
    t.equal(error.status, 401)
    t.match(challengeOf(error), `${start}, error="invalid_request"`)
    t.same(asked, [])
  }
})

t.test('scopes of tools: what is missing is asked for at once', async (t) => {
  const ann = await guardOf().knock('ann')
  const one = await refusedBy(() => ann.permit([request('drop')]))
  t.match(one, { code: 'SCOPE_INSUFFICIENT', status: 403, message: /admin write$/ })
  t.match(challengeOf(one), /error="insufficient_scope"/)
  t.match(challengeOf(one), /scope="use admin write"/)
  ann.permit([])
  ann.permit([request('look'), request('unknown'), request('__proto__'), request('toString')])
  t.equal((await refusedBy(() => ann.permit([request('constructor')]))).status, 403)
})

t.test('a batch is let through as a whole or not at all', async (t) => {
  const { knock } = guardOf({ tools: { drop: ['admin'], sell: ['money'], look: ['use'] } })
  const ann = await knock('ann')
  ann.permit([request('look'), request('look')])
  const both = await refusedBy(() =>
    ann.permit([request('look'), request('drop'), request('sell'), request('drop')]),
  )
  t.match(challengeOf(both), /scope="use admin money"/)
  const root = await knock('root')
  root.permit([request('drop'), request('look')])
  const money = await refusedBy(() => root.permit([request('drop'), request('sell')]))
  t.match(challengeOf(money), /scope="use admin money root"/, 'and what is there')
})

t.test('only calls of tools need the scopes of tools', async (t) => {
  const ann = await guardOf().knock('ann')
  ann.permit([
    request('drop', 'prompts/get'),
    request('drop', 'Tools/Call'),
    request(['drop']),
    request({ name: 'drop' }),
    message({ jsonrpc: '2.0', id: 1, result: { name: 'drop' } }),
    message({ jsonrpc: '2.0', id: 1, method: 'tools/call' }),
    message({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: ['drop'] }),
  ])
  t.pass('no other message is held up')
})

t.test('the metadata lists the scopes of all tools once', async (t) => {
  const { guard } = guardOf({ tools: { a: ['use', 'x'], b: ['x', 'y'] } })
  t.equal(guard.type, 'verify')
  t.same(await guard.facts(), { authorizationServers: [], scopes: ['use', 'x', 'y'], name: 'shop' })
})

t.test('a mapped header is ours in every spelling', async (t) => {
  for (const name of ['x-user-id', 'X-User-Id', 'x_user_id', 'X_USER-id']) {
    const { knock } = guardOf({ headers: { [name]: '{principal}' } })
    const sent = { 'x-user-id': 'eve', x_user_id: 'eve', 'X-USER_ID': 'eve', accept: 'a' }
    const got = await (await knock('ann')).headers(sent)
    const { 'x-causeway-principal': principal, accept, ...rest } = got
    t.equal(principal, 'api-key|ann')
    t.equal(accept, 'a')
    t.same(rest, { [name.toLowerCase()]: 'api-key|ann' }, name)
  }
})

t.test('nobody’s word counts for the principal, nor does the token go on', async (t) => {
  const { knock } = guardOf()
  const got = await (
    await knock('ann')
  ).headers({ 'x-causeway-principal': 'eve', authorization: 'Bearer ann', accept: 'a' })
  t.same(got, { 'x-causeway-principal': 'api-key|ann', accept: 'a' })
  const forwarding = guardOf({ credential: { type: 'forward' } })
  const kept = await (await forwarding.knock('ann')).headers({ authorization: 'Bearer ann' })
  t.equal(kept['authorization'], 'Bearer ann', 'unless it was meant for both')
})

t.test('a mapped header goes before a credential of the same name', async (t) => {
  const { knock } = guardOf({
    headers: { 'x-user-id': '{principal}' },
    credential: { type: 'headers', headers: { 'x-user-id': 'everybody', 'x-api-key': 'k' } },
  })
  const got = await (await knock('ann')).headers({ 'X-Api_Key': 'eve' })
  t.same(got, {
    'x-user-id': 'api-key|ann',
    'x-api-key': 'k',
    'x-causeway-principal': 'api-key|ann',
  })
})

t.test('a path that names somebody else is refused', async (t) => {
  const { knock } = guardOf({
    apiKeys: [keyOf('ann', ['use']), keyOf('a/../b', ['use'])],
    parameters: { user: '{id}' },
    id: { claim: '{principal}', table: { 'api-key|ann': 'u-1', 'api-key|a/../b': '../u-1' } },
  })
  t.same((await knock('ann')).parameters, { user: 'u-1' }, 'filled where the path lacks it')
  const own = await knock('ann', { parameters: { user: 'u-1', other: 'x' } })
  t.same(own.parameters, { user: 'u-1' })
  for (const user of ['u-2', 'U-1', 'u-1 ', '', 'u%2D1', '__proto__']) {
    const error = await rejected(knock('ann', { parameters: { user } }))
    t.match(error, { code: 'SCOPE_INSUFFICIENT', status: 403 }, user)
    t.notMatch(error.message, /u-1/, 'and is not told whom to name')
  }
  t.equal((await rejected(knock('a/../b'))).code, 'TOKEN_INVALID', 'no path is made of it')
})

async function idService(t: Test) {
  let asked = 0
  const server = await listen((_, response) => {
    asked++
    response.end('{"id":"u-1"}')
  })
  t.teardown(() => server.close())
  const id = { claim: '{principal}', url: `${server.url}/?of={value}` }
  return { id, asked: () => asked }
}

t.test(
  'a token that lacks what a template asks for is refused with where to get another',
  async (t) => {
    const claim = '{claims.email}'
    const jwt = { algorithm: 'HS256', key: secret, subject: claim, lifetime: 60_000 } as const
    const lacking: Readonly<Record<string, Partial<VerifyConfig>>> = {
      header: { headers: { 'x-a': claim } },
      parameter: { parameters: { user: claim } },
      credential: { credential: { type: 'jwt', ...jwt } },
    }
    for (const [what, config] of Object.entries(lacking)) {
      const { knock } = guardOf(config)
      const error = await rejected(knock('ann').then(({ headers }) => headers({})))
      t.match(error, { code: 'TOKEN_INVALID', status: 401 }, what)
      t.match(challengeOf(error), /^Bearer resource_metadata=.*error="invalid_token"/, what)
    }
  },
)

t.test('messages are to be read whole where tools have scopes', async (t) => {
  t.equal((await guardOf().knock('ann')).reads, true)
  t.equal((await guardOf({ tools: {} }).knock('ann')).reads, false)
})

t.test('the look-up of ids is asked only where a template uses {id}', async (t) => {
  const { id, asked } = await idService(t)
  const unused = guardOf({ id, headers: { 'x-user-id': '{principal}' } })
  await (await unused.knock('ann')).headers({})
  t.equal(asked(), 0)
  const inHeader = guardOf({ id, headers: { 'x-user-id': '{id}' } })
  const got = await (await inHeader.knock('ann')).headers({})
  t.equal(got['x-user-id'], 'u-1')
  const inPath = guardOf({ id, parameters: { user: '{id}' } })
  t.same((await inPath.knock('ann')).parameters, { user: 'u-1' })
  t.equal(asked(), 2)
  await rejected(inHeader.knock('eve'))
  await rejected(inHeader.knock('bob'))
  t.equal(asked(), 2, 'and for nobody who is not let in')
})

t.test('a caller without an id is let in only where none is needed', async (t) => {
  const id = { claim: '{principal}', table: { other: 'u-1' } }
  const { knock } = guardOf({ id, headers: { 'x-user-id': '{id}' } })
  t.equal((await rejected(knock('ann'))).code, 'SCOPE_INSUFFICIENT')
  await guardOf({ id }).knock('ann')
})

t.test('templates and issuers that cannot work are found at the start', async (t) => {
  const wrong: Partial<VerifyConfig>[] = [
    { headers: { 'x-a': '{sub}' } },
    { parameters: { user: '{claims.sub' } },
    { id: { claim: '{id}' } },
    { credential: { type: 'jwt', algorithm: 'HS256', key: 'x', subject: 'a', lifetime: 60_000 } },
    { issuers: [{ issuer: 'nowhere', audience: [], ...hs256, secret }] },
    { issuers: [{ issuer, audience: [], ...hs256 }] },
  ]
  for (const config of wrong) {
    t.throws(() => guardOf(config), { code: 'CONFIG_INVALID' }, JSON.stringify(config))
  }
})

t.test('without an audience of its own an issuer means the resource asked for', async (t) => {
  const token = (audience: string) =>
    new SignJWT({ scope: 'use' })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer(issuer)
      .setSubject('ann')
      .setAudience(audience)
      .setExpirationTime('5m')
      .sign(new TextEncoder().encode(secret))
  const other = 'https://mcp.example.com/other'
  const of = (audience: readonly string[]) =>
    guardOf({ issuers: [{ issuer, audience, ...hs256, secret }] })
  const own = of([])
  t.equal((await own.knock(await token(resource))).principal, `${issuer}|ann`)
  t.equal((await own.knock(await token(other), { resource: other })).principal, `${issuer}|ann`)
  for (const [audience, asked] of [
    [other, resource],
    [resource, other],
    [`${resource}/`, resource],
    ['https://resource.example', resource],
  ] as const) {
    const error = await rejected(own.knock(await token(audience), { resource: asked }))
    t.equal(error.code, 'TOKEN_INVALID', audience)
  }
  const fixed = of(['api'])
  t.equal((await fixed.knock(await token('api'))).client, undefined)
  t.equal((await rejected(fixed.knock(await token(resource)))).code, 'TOKEN_INVALID')
  t.same((await fixed.guard.facts()).authorizationServers, [issuer])
})

t.test('tokens with made-up keys, for paths without end, ask the issuer once', async (t) => {
  let asked = 0
  const server = await listen((_, response) => {
    asked++
    response.end('{"keys":[]}')
  })
  t.teardown(() => server.close())
  const keysAt = { issuer, jwksUrl: server.url, algorithms: ['ES256'], audience: [] }
  const { knock } = guardOf({
    issuers: [{ ...keysAt, clockTolerance: 0, requireAtJwt: false }],
  })
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const token = `${part({ alg: 'ES256', kid: 'x' })}.${part({ iss: issuer })}.AAAA`
  for (let path = 0; path < 20; path++) {
    const error = await rejected(knock(token, { resource: `${resource}/${path}` }))
    t.equal(error.code, 'TOKEN_INVALID')
  }
  t.equal(asked, 1)
})
