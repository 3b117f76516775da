import t from 'tap'
import {
  createEdge,
  forwardedHeaders,
  IdentityCheck,
  identityOf,
  principalOf,
} from '../../src/proxy/edge.ts'

const edge = (over: object = {}) =>
  createEdge({
    listen: { host: '127.0.0.1', port: 8080 },
    publicUrl: undefined,
    origins: ['https://claude.ai'],
    hosts: [],
    ...over,
  })

t.test('bound to loopback, only loopback host names are served', async (t) => {
  const { admit } = edge({ hosts: ['mcp.test'], publicUrl: 'https://public.example/x' })
  for (const host of [
    '127.0.0.1:8080',
    'localhost',
    'LOCALHOST:1',
    '[::1]:8080',
    'mcp.test:8080',
    'public.example',
  ]) {
    t.doesNotThrow(() => admit({ host }), host)
  }
  for (const host of [
    'evil.test',
    '127.0.0.1.evil.test',
    'localhost.evil.test:80',
    '',
    undefined,
  ]) {
    t.throws(() => admit({ host }), { code: 'HOST_FORBIDDEN', status: 403 }, String(host))
  }
  t.doesNotThrow(() => edge({ listen: { host: '0.0.0.0', port: 1 } }).admit({ host: 'any.test' }))
})

t.test('a present Origin must be allowed', async (t) => {
  const { admit } = edge({ publicUrl: 'https://public.example/x' })
  const host = 'localhost'
  for (const origin of [
    'https://claude.ai',
    'https://public.example',
    'http://localhost:6274',
    'http://[::1]:1',
  ]) {
    t.match(admit({ host, origin }), { 'access-control-allow-origin': origin, vary: 'Origin' })
  }
  for (const origin of [
    'https://evil.test',
    'null',
    'http://localhost.evil.test',
    'https://claude.ai.evil.test',
    'HTTPS://claude.ai/',
  ]) {
    t.throws(() => admit({ host, origin }), { code: 'ORIGIN_FORBIDDEN', status: 403 }, origin)
  }
  t.same(admit({ host }), {})
  t.throws(
    () =>
      edge({ listen: { host: '0.0.0.0', port: 1 } }).admit({ host, origin: 'http://localhost' }),
    { code: 'ORIGIN_FORBIDDEN' },
    'loopback origins are trusted only on loopback',
  )
  t.match(edge({ origins: ['*'] }).admit({ host, origin: 'https://any.test' }), {
    'access-control-allow-origin': 'https://any.test',
  })
})

t.test('a preflight is told what it asked for', async (t) => {
  const headers = { 'access-control-request-headers': 'x-mine, content-type' }
  t.match(edge().preflight(headers, 'GET, POST'), {
    'access-control-allow-headers': 'x-mine, content-type',
    'access-control-allow-methods': 'GET, POST',
  })
  t.match(edge().preflight({}, 'POST')['access-control-allow-headers'], /mcp-session-id/)
})

t.test('headers for the backend', async (t) => {
  const from = { address: '10.0.0.9', publicUrl: new URL('https://public.example') }
  const given = {
    host: 'localhost:8080',
    connection: 'keep-alive, X-Secret-Hop',
    'x-secret-hop': '1',
    'keep-alive': '1',
    authorization: 'Bearer t',
    'x-api-key': 'k',
    traceparent: '00-1',
    'user-agent': 'ua',
    'x-user-id': 'spoofed',
    x_user_id: 'spoofed',
    'x-client-name': 'spoofed',
    'x-forwarded-for': '1.1.1.1',
    forwarded: 'for=1.1.1.1',
    cookie: 'a=b',
    origin: 'https://claude.ai',
    'mcp-session-id': 's',
    'mcp-protocol-version': '2025-06-18',
    'mcp-method': 'tools/list',
    'accept-encoding': 'gzip',
    'proxy-authorization': 'x',
    'content-length': '3',
  }
  t.same(forwardedHeaders(given, { 'x-user-id': 'real' }, from), {
    authorization: 'Bearer t',
    'x-api-key': 'k',
    traceparent: '00-1',
    'user-agent': 'ua',
    'x-forwarded-for': '10.0.0.9',
    'x-forwarded-host': 'public.example',
    'x-forwarded-proto': 'https',
    'x-user-id': 'real',
  })
})

t.test(
  'callers with other credentials have another principal; descriptions make no difference',
  async (t) => {
    const base = principalOf({ authorization: 'a', 'x-user-id': 'u' })
    t.equal(
      principalOf({ 'x-user-id': 'u', authorization: 'a', 'user-agent': 'x', traceparent: 'y' }),
      base,
    )
    const others: Record<string, string>[] = [
      { authorization: 'b', 'x-user-id': 'u' },
      { authorization: 'a' },
      { authorization: 'a', 'x-user-id': 'u', 'x-api-key': '1' },
    ]
    for (const other of others) t.not(principalOf(other), base)
  },
)

t.test('a client cannot say who it is by the headers of other proxies', async (t) => {
  const names = [
    'x-user',
    'x-userid',
    'x-username',
    'remote-user',
    'x-remote-user',
    'x-auth-request-user',
    'x-auth-request-email',
    'x-authenticated-user',
    'x-webauth-user',
    'x-forwarded-user',
    'x-forwarded-email',
    'x-end-user',
    'cf-connecting-ip',
    'true-client-ip',
    'fastly-client-ip',
    'fly-client-ip',
    'client-ip',
    'x-real-ip',
    'x-original-forwarded-for',
    'x-amzn-oidc-identity',
    'x-ms-client-principal-name',
    'x-goog-authenticated-user-email',
    'x-email',
    'x-groups',
    'x-roles',
    'x_user_id',
  ]
  const from = { address: '', publicUrl: undefined }
  for (const name of names) t.same(passed({ [name]: 'root' }), {}, name)
  for (const name of ['user-agent', 'authorization', 'x-api-key', 'x-tenant', 'traceparent']) {
    t.same(passed({ [name]: 'mine' }), { [name]: 'mine' }, name)
  }
  function passed(given: Record<string, string>): Record<string, string> {
    const { 'x-forwarded-proto': _, ...rest } = forwardedHeaders(given, {}, from)
    return rest
  }
})

t.test('what a route sets replaces the client’s, in every spelling of either', async (t) => {
  const from = { address: '', publicUrl: undefined }
  for (const own of ['x-api-key', 'x_api_key']) {
    const got = forwardedHeaders(
      { 'x-api-key': 'mine', x_api_key: 'mine' },
      { [own]: 'operator' },
      from,
    )
    t.same(got, { [own]: 'operator', 'x-forwarded-proto': 'http' }, own)
  }
})

t.test('the same user with a refreshed token is the same owner of a session', async (t) => {
  const bearer = (claims: unknown): { authorization: string } => ({
    authorization: `Bearer e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`,
  })
  const ann = { iss: 'https://login.test', sub: 'ann' }
  const owner = identityOf({ ...bearer({ ...ann, exp: 1 }), 'x-api-key': 'k' })
  t.equal(identityOf({ ...bearer({ ...ann, exp: 2 }), 'x-api-key': 'k' }), owner)
  t.not(principalOf(bearer({ ...ann, exp: 1 })), principalOf(bearer({ ...ann, exp: 2 })))
  const others: Record<string, Record<string, string>> = {
    'another subject': { ...bearer({ ...ann, sub: 'bob' }), 'x-api-key': 'k' },
    'another issuer': { ...bearer({ ...ann, iss: 'https://other.test' }), 'x-api-key': 'k' },
    'another key': { ...bearer(ann), 'x-api-key': 'other' },
    'no key': bearer(ann),
    'no token': { 'x-api-key': 'k' },
    'an opaque token': { authorization: 'Bearer abc', 'x-api-key': 'k' },
  }
  for (const [who, headers] of Object.entries(others)) t.not(identityOf(headers), owner, who)
})

t.test('an opaque token may change, having one may not', async (t) => {
  const opaque = identityOf({ authorization: 'Bearer abc' })
  for (const authorization of ['Bearer def', 'bearer a.b.c', 'Bearer a.bnVsbA.c', 'Bearer ']) {
    t.equal(identityOf({ authorization }), opaque, authorization)
  }
  t.not(identityOf({}), opaque)
  t.not(identityOf({ authorization: 'Basic YTpi' }), opaque)
  t.not(identityOf({ authorization: 'Basic YTpi' }), identityOf({ authorization: 'Basic YTpj' }))
})

t.test('an identity is checked against the same headers, changed headers and others', async (t) => {
  const headers = { authorization: 'Bearer abc', 'x-api-key': 'k', 'user-agent': 'one' }
  const check = new IdentityCheck(identityOf(headers))
  t.equal(check.admits(headers), true)
  t.equal(check.admits({ ...headers, 'user-agent': 'two' }), true)
  t.equal(check.admits({ 'x-api-key': 'k', authorization: 'Bearer def' }), true, 'refreshed')
  t.equal(check.admits({ ...headers, 'x-api-key': 'other' }), false)
  t.equal(check.admits({ 'x-api-key': 'k' }), false)
  t.equal(check.admits(headers), true)
})

t.test('no client says who has been verified, in any spelling', async (t) => {
  const from = { address: '', publicUrl: undefined }
  for (const name of [
    'x-causeway-principal',
    'x_causeway_principal',
    'x-causeway_principal',
    'x-causeway-anything',
  ]) {
    const got = forwardedHeaders({ [name]: 'eve' }, {}, from)
    t.same(got, { 'x-forwarded-proto': 'http' }, name)
  }
})

t.test('a verified caller is told apart by who it is, whatever else it sends', async (t) => {
  const ann = { 'x-causeway-principal': 'ann', 'x-api-key': 'k' }
  const owner = identityOf(ann)
  t.equal(identityOf({ 'x-causeway-principal': 'ann', authorization: 'Bearer new' }), owner)
  t.equal(principalOf({ ...ann, authorization: 'Bearer made anew' }), principalOf(ann))
  t.not(principalOf({ ...ann, 'x-api-key': 'other' }), principalOf(ann), 'pools stay apart')
  const others: Readonly<Record<string, Record<string, string>>> = {
    'another principal': { ...ann, 'x-causeway-principal': 'eve' },
    'nobody verified': { 'x-api-key': 'k' },
    'the same name, by a token': { authorization: 'ann' },
    'the same text as a header': { verified: 'ann' },
    'an empty principal': { 'x-causeway-principal': '' },
  }
  const check = new IdentityCheck(owner)
  t.equal(check.admits(ann), true)
  for (const [who, headers] of Object.entries(others)) {
    t.not(identityOf(headers), owner, who)
    t.not(principalOf(headers), principalOf(ann), who)
    t.equal(check.admits(headers), false, who)
  }
  t.equal(check.admits({ ...ann, authorization: 'Bearer refreshed' }), true)
})
