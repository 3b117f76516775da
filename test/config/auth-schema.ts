import t from 'tap'
import { authSchema } from '../../src/config/auth-schema.ts'

const fits = (value: unknown): boolean => authSchema.safeParse(value).success
const read = (value: unknown) => authSchema.parse(value)

t.test('nothing written is no authorization, and every default', async (t) => {
  const { type, scopes, shims, optional, as, credential, issuers, id } = read({})
  t.same(
    { type, scopes, shims, optional, as, issuers, id },
    {
      type: 'none',
      scopes: [],
      shims: true,
      optional: false,
      as: 'own-origin',
      issuers: [],
      id: undefined,
    },
  )
  t.match(credential, { type: 'none', lifetime: 300_000, subject: '{claims.sub}' })
})

t.test('an issuer is kept letter by letter, and has safe defaults', async (t) => {
  for (const issuer of ['https://AS.example.com/', 'https://as.example.com:443', 'http://a/b//']) {
    const [found] = read({ issuers: [{ issuer }] }).issuers
    t.equal(found?.issuer, issuer)
    t.same(found?.audience, [])
    t.same(found?.algorithms, ['RS256', 'PS256', 'ES256', 'EdDSA'])
    t.match(found, { clockTolerance: 30_000, requireAtJwt: false })
    t.equal(read({ authorizationServer: issuer }).authorizationServer, issuer)
  }
})

t.test('what is no issuer is refused', async (t) => {
  for (const issuer of [
    '',
    'as.example.com',
    'ftp://a',
    'https://',
    'https://a?b',
    'https://a#b',
    'https://a b',
    'https://a\nb',
    'xhttps://a',
    7,
    null,
  ]) {
    t.notOk(fits({ issuers: [{ issuer }] }), JSON.stringify(issuer))
    t.notOk(fits({ authorizationServer: issuer }), JSON.stringify(issuer))
  }
})

t.test('no algorithm but those that sign', async (t) => {
  for (const algorithms of [
    ['none'],
    ['None'],
    [''],
    [],
    ['rs256'],
    ['RS1'],
    'RS256',
    ['HS256', 'none'],
  ]) {
    t.notOk(fits({ issuers: [{ issuer: 'https://a', algorithms }] }), JSON.stringify(algorithms))
  }
  t.ok(fits({ issuers: [{ issuer: 'https://a', algorithms: ['HS256'], secret: 's' }] }))
})

t.test('a scope is one word of RFC 6749', async (t) => {
  for (const scope of ['use', 'files:read', 'https://a/b', '!', '~', "'"]) {
    t.ok(fits({ scopes: [scope], tools: { a: [scope] }, implies: { b: [scope] } }), scope)
  }
  for (const scope of ['', 'a b', 'a"b', 'a\\b', 'é', 'a\tb', 'a\n', '\x7f']) {
    const what = JSON.stringify(scope)
    t.notOk(fits({ scopes: [scope] }), what)
    t.notOk(fits({ tools: { a: [scope] } }), what)
    t.notOk(fits({ implies: { a: [scope] } }), what)
    t.notOk(fits({ apiKeys: [{ sha256: '0'.repeat(64), principal: 'a', scopes: [scope] }] }), what)
  }
  t.notOk(fits({ scopes: 'use' }))
})

t.test('a key is known by its digest alone', async (t) => {
  const digest = 'aB'.repeat(32)
  t.ok(fits({ apiKeys: [{ sha256: digest, principal: 'robot' }] }))
  for (const sha256 of [
    '',
    'secret',
    digest.slice(1),
    `${digest}0`,
    `${digest}\n`,
    `g${digest.slice(1)}`,
  ]) {
    t.notOk(fits({ apiKeys: [{ sha256, principal: 'robot' }] }), JSON.stringify(sha256))
  }
  t.notOk(fits({ apiKeys: [{ sha256: digest, principal: '' }] }))
  t.notOk(fits({ apiKeys: [{ sha256: digest }] }))
})

t.test('a key that nothing knows is refused, at every level', async (t) => {
  const issuer = { issuer: 'https://a' }
  const introspection = {
    url: 'https://a/i',
    clientId: 'c',
    clientSecret: 's',
    issuer: 'https://a',
  }
  t.ok(fits({ introspection, id: {}, credential: {}, issuers: [issuer] }))
  for (const value of [
    { scope: [] },
    { issuers: [{ ...issuer, aud: [] }] },
    { introspection: { ...introspection, x: 1 } },
    { id: { x: 1 } },
    { credential: { x: 1 } },
    { type: 'Verify' },
    { as: 'proxy' },
    { optional: 'true' },
    { credential: { type: 'passthrough' } },
    { id: { pointer: 'id' } },
    { headers: { 'x-a': '' } },
  ]) {
    t.notOk(fits(value), JSON.stringify(value))
  }
})
