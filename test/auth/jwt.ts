import type { ServerResponse } from 'node:http'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import { OAuth2Server } from 'oauth2-mock-server'
import t from 'tap'
import type { Test } from 'tap'
import type { Authenticated, Verifier } from '../../src/auth/auth.ts'
import { createJwtVerifier, createVerifiers, isMeantFor } from '../../src/auth/jwt.ts'
import type { JwtIssuer } from '../../src/auth/jwt.ts'
import { ProxyError } from '../../src/errors.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

const issuer = 'https://as.example.com'
const audience = 'https://mcp.example.com/mcp'
const secret = 'a secret of the two that is long enough for all of them'
/** ms since 1970 in every test. */
const now = 1_800_000_000_000
const seconds = now / 1000

const [ec, rsa, stranger] = await Promise.all([
  generateKeyPair('ES256', { extractable: true }),
  generateKeyPair('RS256', { extractable: true }),
  generateKeyPair('ES256', { extractable: true }),
])
const jwk = async (key: CryptoKey, kid: string): Promise<JWK> => ({
  ...(await exportJWK(key)),
  kid,
})
const published = await Promise.all([jwk(ec.publicKey, 'ec'), jwk(rsa.publicKey, 'rsa')])

/** A server of keys, and a verifier for its issuer. */
async function stage(t: Test, changes: Partial<JwtIssuer> = {}) {
  const answer: { keys: readonly unknown[]; status: number } = { keys: published, status: 200 }
  let asked = 0
  const as = await listen((_, response: ServerResponse) => {
    asked++
    response.writeHead(answer.status).end(JSON.stringify({ keys: answer.keys }))
  })
  t.teardown(() => as.close())
  const clock = manualClock()
  let wall = now
  const config: JwtIssuer = {
    issuer,
    audience: [audience],
    algorithms: ['ES256', 'RS256'],
    jwksUrl: `${as.url}/keys`,
    clockTolerance: 30_000,
    requireAtJwt: false,
    ...changes,
  }
  const verifier = createJwtVerifier({ issuers: [config] }, { clock, wallClock: () => wall })
  return {
    answer,
    clock,
    verifier,
    asked: () => asked,
    setWall: (ms: number) => (wall = ms),
    verify: (token: string) => verifier.verify(token),
  }
}

const claims = { iss: issuer, sub: 'user-1', aud: audience, exp: seconds + 60 }
type Claims = Record<string, unknown>
const signed = (
  changes: Claims = {},
  header: Claims = {},
  key: Parameters<SignJWT['sign']>[0] = ec.privateKey,
): Promise<string> =>
  new SignJWT({ ...claims, ...changes })
    .setProtectedHeader({ alg: 'ES256', kid: 'ec', ...header })
    .sign(key)
const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A refusal that tells what it should, and nothing of the token. */
async function refuses(t: Test, verifying: Promise<unknown>, token: string, message: RegExp) {
  const error = await verifying.then(
    (value) => t.fail('accepted', { value }),
    (reason: unknown) => reason,
  )
  t.match(error, { code: 'TOKEN_INVALID', message })
  if (!(error instanceof ProxyError)) return
  t.equal(error.cause, undefined, 'claims do not get into the log')
  for (const part of token.split('.').filter((each) => each !== '')) {
    t.notOk(error.message.includes(part))
  }
}

t.test('a token is accepted, and says who it is', async (t) => {
  const { verify, asked } = await stage(t)
  const extra = { scope: 'read write', client_id: 'app', email: 'a@example.com', nbf: seconds }
  t.strictSame(await verify(await signed(extra)), {
    principal: `${issuer}|user-1`,
    clientId: 'app',
    scopes: ['read', 'write'],
    claims: { ...claims, ...extra },
    expires: (seconds + 60) * 1000 + 30_000,
  } satisfies Authenticated)
  const rs = await verify(
    await signed({ azp: 'old' }, { alg: 'RS256', kid: 'rsa' }, rsa.privateKey),
  )
  t.match(rs, { clientId: 'old', scopes: [] })
  t.equal((await verify(await signed({ client_id: 'app', azp: 'other' })))?.clientId, 'app')
  t.equal((await verify(await signed({ client_id: 7 })))?.clientId, undefined)
  t.equal(asked(), 1)
})

const refusedClaims: Record<string, [Claims, RegExp]> = {
  'another audience': [{ aud: 'https://mcp.example.com/other' }, /another audience/],
  'a list of other audiences': [{ aud: ['https://a.example.com', 'b'] }, /another audience/],
  'an empty list of audiences': [{ aud: [] }, /another audience/],
  'an audience that is no text': [{ aud: { [audience]: true } }, /another audience/],
  'no audience': [{ aud: undefined }, /no "aud"/],
  expired: [{ exp: seconds - 30 }, /has expired/],
  'no end': [{ exp: undefined }, /no "exp"/],
  'an end that is no number': [{ exp: '9999999999' }, /"exp" is not accepted/],
  'not valid yet': [{ nbf: seconds + 31 }, /not valid yet/],
  'no subject': [{ sub: undefined }, /no "sub"/],
  'an empty subject': [{ sub: '' }, /"sub" is not accepted/],
  'a subject that is no text': [{ sub: 7 }, /"sub" is not accepted/],
}
for (const [name, [changes, message]] of Object.entries(refusedClaims)) {
  t.test(`a token is refused: ${name}`, async (t) => {
    const { verify } = await stage(t)
    // As JSON, because jose refuses to sign some of them by its own methods.
    const token = await signed(changes)
    await refuses(t, verify(token), token, message)
  })
}

t.test('clocks may differ by the tolerance and no more', async (t) => {
  const { verify, setWall } = await stage(t)
  const token = await signed({ exp: seconds, nbf: seconds })
  for (const [ms, message] of [
    [-31_000, /not valid yet/],
    [-30_000, undefined],
    [29_999, undefined],
    [30_000, /has expired/],
  ] as const) {
    setWall(now + ms)
    if (message !== undefined) await refuses(t, verify(token), token, message)
    else t.equal((await verify(token))?.expires, now + 30_000, String(ms))
  }
})

t.test('an audience may be one of several, on either side', async (t) => {
  const { verify } = await stage(t, { audience: ['urn:old', audience] })
  for (const aud of [
    'urn:old',
    audience,
    ['x', audience],
    ['urn:old', 7],
    'HTTPS://MCP.example.COM/mcp',
  ]) {
    t.ok(await verify(await signed({ aud })), String(aud))
  }
})

const audiences: [unknown, string, boolean][] = [
  ['https://h', 'https://h/', true],
  ['https://h/', 'https://h', true],
  ['HTTPS://H:8443', 'https://h:8443/', true],
  ['https://h/MCP', 'https://h/mcp', false],
  ['https://h/mcp/', 'https://h/mcp', false],
  ['https://h/mcp', 'https://h', false],
  ['https://h/?a', 'https://h/', false],
  ['https://h.evil.test', 'https://h', false],
  ['https://h@evil.test', 'https://h', false],
  ['http://h', 'https://h', false],
  ['Memory', 'memory', false],
  ['memory', 'memory', true],
  ['urn:A', 'urn:a', false],
  [['a', 'https://H'], 'https://h/', true],
  [[], 'a', false],
  [[['a']], 'a', false],
  [undefined, 'undefined', false],
  ['', 'a', false],
]
for (const [aud, ours, meant] of audiences) {
  t.test(`${JSON.stringify(aud)} is ${meant ? '' : 'not '}meant for ${ours}`, async (t) => {
    t.equal(isMeantFor(aud, ['other', ours]), meant)
    t.equal(isMeantFor(aud, []), false)
  })
}

t.test('an algorithm that is not listed is refused without asking the issuer', async (t) => {
  const { verify, asked } = await stage(t, { algorithms: ['ES256'] })
  const unsigned = `${encode({ alg: 'none' })}.${encode(claims)}.`
  const spki = new TextEncoder().encode(await exportSPKI(rsa.publicKey))
  const tokens = [
    unsigned,
    `${encode({ alg: 'NONE' })}.${encode(claims)}.${encode('x')}`,
    `${encode({ kid: 'ec' })}.${encode(claims)}.${encode('x')}`,
    `${encode({ alg: ['ES256'] })}.${encode(claims)}.${encode('x')}`,
    await signed({}, { alg: 'RS256', kid: 'rsa' }, rsa.privateKey),
    await signed({}, { alg: 'HS256', kid: 'rsa' }, spki),
  ]
  for (const token of tokens) await refuses(t, verify(token), token, /algorithm is not accepted/)
  t.equal(asked(), 0)
})

t.test('a public key is never a secret, even where secrets are accepted', async (t) => {
  const { verify } = await stage(t, { algorithms: ['RS256', 'HS256'], secret })
  const spki = new TextEncoder().encode(await exportSPKI(rsa.publicKey))
  const forged = await signed({}, { alg: 'HS256', kid: 'rsa' }, spki)
  await refuses(t, verify(forged), forged, /signature is wrong/)
  const empty = await signed({}, { alg: 'HS256' }, Buffer.alloc(32))
  await refuses(t, verify(empty), empty, /signature is wrong/)
  t.ok(await verify(await signed({}, { alg: 'HS256' }, Buffer.from(secret))))
  t.ok(await verify(await signed({}, { alg: 'RS256', kid: 'rsa' }, rsa.privateKey)))
})

t.test('a shared secret needs no keys', async (t) => {
  const { verify, asked } = await stage(t, { algorithms: ['HS256'], secret })
  t.ok(await verify(await signed({}, { alg: 'HS256', kid: 'unheard-of' }, Buffer.from(secret))))
  t.equal(asked(), 0)
})

t.test('a signature that is wrong is refused', async (t) => {
  const { verify } = await stage(t)
  const [header, payload, signature = ''] = (await signed()).split('.')
  const other = encode({ ...claims, sub: 'admin' })
  const forged = await signed({}, {}, stranger.privateKey)
  for (const token of [
    `${header}.${other}.${signature}`,
    `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
    `${header}.${payload}.${encode('short')}`,
    `${header}.${payload}.`,
    forged,
  ]) {
    await refuses(t, verify(token), token, /signature is wrong/)
  }
})

t.test('a token of an issuer that is not listed is left to other verifiers', async (t) => {
  const { verify, asked } = await stage(t)
  for (const iss of [
    `${issuer}/`,
    issuer.toUpperCase(),
    'https://as.example.com.evil.test',
    '',
    7,
  ]) {
    t.equal(await verify(await signed({ iss })), undefined, String(iss))
  }
  t.equal(await verify(await signed({ iss: undefined })), undefined)
  t.equal(await verify(await signed({ iss: [issuer] })), undefined)
  t.equal(asked(), 0)
})

const header = encode({ alg: 'ES256' })
const noJwts: Record<string, string> = {
  empty: '',
  opaque: 'gho_16C7e42F292c6912E7710c838347Ae178B4a',
  'two segments': `${header}.${encode(claims)}`,
  'four segments': `${header}.${encode(claims)}.a.b`,
  'five segments, encrypted': `${header}.a.${encode(claims)}.b.c`,
  'only dots': '..',
  'no header': `.${encode(claims)}.a`,
  'no payload': `${header}..a`,
  'header no base64url': `{"alg":"ES256"}.${encode(claims)}.a`,
  'header no JSON': `${encode('alg')}.${encode(claims)}.a`,
  'header an array': `${encode(['ES256'])}.${encode(claims)}.a`,
  'header null': `${encode(null)}.${encode(claims)}.a`,
  'payload no base64url': `${header}.é.a`,
  'payload no JSON': `${header}.${encode('{"iss":')}.a`,
  'payload an array': `${header}.${encode([claims])}.a`,
  'payload null': `${header}.${encode(null)}.a`,
  'payload no UTF-8': `${header}.${Buffer.from([0x22, 0xff, 0x22]).toString('base64url')}.a`,
}
for (const [name, token] of Object.entries(noJwts)) {
  t.test(`what is no JWT is left to other verifiers: ${name}`, async (t) => {
    const { verify, asked } = await stage(t)
    t.equal(await verify(token), undefined)
    t.equal(asked(), 0)
  })
}

t.test('a JWT of a listed issuer that is malformed is refused', async (t) => {
  const { verify } = await stage(t)
  const payload = encode(claims)
  for (const token of [
    `${header}.${payload}.é`,
    `${encode({ alg: 'ES256', crit: ['unheard-of'], 'unheard-of': 1 })}.${payload}.${encode('x')}`,
  ]) {
    await refuses(t, verify(token), token, /malformed/)
  }
})

t.test('a token that is too long is refused unread', async (t) => {
  const { verify } = await stage(t)
  const pad = (length: number): string => 'x'.repeat(length)
  const long = await signed({ pad: pad(16_384) })
  await refuses(t, verify(long), long, /longer than 16384/)
  await refuses(t, verify(pad(16_385)), pad(16_385), /longer than 16384/)
  t.equal(await verify(pad(16_384)), undefined)
})

t.test('a JWT that is made for another purpose is refused', async (t) => {
  const usual = await stage(t)
  const strict = await stage(t, { requireAtJwt: true })
  for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'JWT', undefined]) {
    const token = await signed({}, { typ })
    t.ok(await usual.verify(token), String(typ))
    if (typ?.toLowerCase().endsWith('at+jwt')) t.ok(await strict.verify(token), typ)
    else await refuses(t, strict.verify(token), token, /no access token/)
  }
  for (const typ of ['logout+jwt', 'dpop+jwt', 'application/json', '']) {
    const token = await signed({}, { typ })
    await refuses(t, usual.verify(token), token, /no access token/)
  }
})

t.test('keys rotate: the new one is found, the old one is forgotten', async (t) => {
  const { verify, answer, clock, asked } = await stage(t)
  const [before, after] = [await signed(), await signed({}, { kid: 'new' }, stranger.privateKey)]
  t.ok(await verify(before))
  answer.keys = [await jwk(stranger.publicKey, 'new')]
  await refuses(t, verify(after), after, /key that its issuer does not have/)
  t.equal(asked(), 1)
  clock.advance(30_000)
  t.ok(await verify(after))
  await refuses(t, verify(before), before, /key that its issuer does not have/)
  t.equal(asked(), 2)
})

t.test('an issuer that is away never makes a token invalid', async (t) => {
  const { verify, answer, clock } = await stage(t)
  const token = await signed()
  answer.status = 500
  await t.rejects(verify(token), { code: 'AUTH_UNAVAILABLE', status: 503, retryAfter: 5 })
  answer.status = 200
  clock.advance(5_000)
  t.ok(await verify(token))
  answer.status = 500
  clock.advance(86_400_000 - 1)
  t.ok(await verify(token), 'the last good set serves')
  await t.rejects(verify(await signed({}, { kid: 'new' })), { code: 'AUTH_UNAVAILABLE' })
  clock.advance(5_000)
  await t.rejects(verify(token), { code: 'AUTH_UNAVAILABLE', status: 503, retryAfter: 5 })
})

t.test('a token without a key id is tried with the keys that fit', async (t) => {
  const { verify, answer } = await stage(t)
  answer.keys = [await jwk(stranger.publicKey, 'a'), { ...published[0], kid: 'b' }]
  t.ok(await verify(await signed({}, { kid: undefined })))
  const forged = await signed({}, { kid: undefined }, (await generateKeyPair('ES256')).privateKey)
  await refuses(t, verify(forged), forged, /signature is wrong/)
  const late = await signed({ exp: seconds - 60 }, { kid: undefined })
  await refuses(t, verify(late), late, /has expired/)
})

t.test('of many keys that fit only a few are tried', async (t) => {
  const { verify, answer } = await stage(t)
  const other = await jwk(stranger.publicKey, 'a')
  answer.keys = [other, other, other, other, published[0]]
  const token = await signed({}, { kid: undefined })
  await refuses(t, verify(token), token, /signature is wrong/)
})

t.test("a published key that is no good is the issuer's fault", async (t) => {
  const unusable = { ...published[0], x: 'AAAA' }
  const hidden = { ...(await exportJWK(ec.privateKey)), kid: 'ec' }
  for (const key of [unusable, hidden]) {
    const { verify, answer } = await stage(t)
    answer.keys = [key]
    await t.rejects(verify(await signed()), { code: 'AUTH_UNAVAILABLE', retryAfter: 30 })
  }
})

t.test('issuers do not vouch for one another', async (t) => {
  const as = await listen((request, response) => {
    const key = request.url === '/one' ? published[0] : published[1]
    response.end(JSON.stringify({ keys: [{ ...key, kid: 'k' }] }))
  })
  t.teardown(() => as.close())
  const common = { algorithms: ['ES256', 'RS256'], clockTolerance: 0, requireAtJwt: false }
  const verifier = createJwtVerifier(
    {
      issuers: ['one', 'two'].map((name) => ({
        ...common,
        issuer: `https://${name}.example.com`,
        audience: [name],
        jwksUrl: `${as.url}/${name}`,
      })),
    },
    { clock: manualClock(), wallClock: () => now },
  )
  const token = (name: string, aud: string, key: CryptoKey, alg: string) =>
    signed({ iss: `https://${name}.example.com`, aud }, { alg, kid: 'k' }, key)
  t.match(await verifier.verify(await token('one', 'one', ec.privateKey, 'ES256')), {
    principal: 'https://one.example.com|user-1',
  })
  t.match(await verifier.verify(await token('two', 'two', rsa.privateKey, 'RS256')), {
    principal: 'https://two.example.com|user-1',
  })
  for (const forged of [
    await token('two', 'two', ec.privateKey, 'ES256'),
    await token('one', 'one', rsa.privateKey, 'RS256'),
    await token('one', 'two', ec.privateKey, 'ES256'),
  ]) {
    await t.rejects(verifier.verify(forged), { code: 'TOKEN_INVALID' })
  }
})

t.test('tokens of a whole authorization server, found by its metadata', async (t) => {
  const as = new OAuth2Server()
  await as.issuer.keys.generate('RS256')
  await as.start(0, '127.0.0.1')
  t.teardown(() => as.stop())
  const name = as.issuer.url ?? ''
  const verifier = createJwtVerifier(
    {
      issuers: [
        {
          issuer: name,
          audience: [audience],
          algorithms: ['RS256'],
          clockTolerance: 0,
          requireAtJwt: false,
        },
      ],
    },
    { clock: manualClock() },
  )
  const build = (aud: string) =>
    as.issuer.buildToken({
      scopesOrTransform: (_, payload) => Object.assign(payload, { aud, sub: 'u', scope: 'read' }),
    })
  t.match(await verifier.verify(await build(audience)), {
    principal: `${name}|u`,
    scopes: ['read'],
  })
  await t.rejects(verifier.verify(await build('other')), { code: 'TOKEN_INVALID' })
})

const wrong: Record<string, [Partial<JwtIssuer>, RegExp]> = {
  'no algorithm': [{ algorithms: [] }, /an algorithm is needed/],
  'algorithm none': [{ algorithms: ['RS256', 'none'] }, /"none" is not supported/],
  'an unknown algorithm': [{ algorithms: ['rs256'] }, /"rs256" is not supported/],
  'HS256 without a secret': [{ algorithms: ['HS256'] }, /"HS256" needs a secret/],
  'HS256 with an empty secret': [{ algorithms: ['HS256'], secret: '' }, /"HS256" needs a secret/],
  'no URL as issuer': [{ issuer: 'as' }, /issuer "as": not an absolute URL/],
  'no URL for keys': [{ jwksUrl: '/keys' }, /jwksUrl is no absolute URL/],
}
for (const [name, [changes, message]] of Object.entries(wrong)) {
  t.test(`a configuration is refused: ${name}`, async (t) => {
    await t.rejects(stage(t, changes), { code: 'CONFIG_INVALID', message })
  })
}

t.test('a configuration is refused: the same issuer twice', async (t) => {
  const each = {
    issuer,
    audience: ['a'],
    algorithms: ['RS256'],
    clockTolerance: 0,
    requireAtJwt: false,
  }
  t.throws(() => createJwtVerifier({ issuers: [each, each] }, { clock: manualClock() }), {
    code: 'CONFIG_INVALID',
    message: /listed twice/,
  })
})

const knows = (principal: string): Verifier => ({
  verify: async () => ({
    principal,
    clientId: undefined,
    scopes: [],
    claims: {},
    expires: undefined,
  }),
})
const knowsNot: Verifier = { verify: async () => undefined }
const fails = (error: unknown): Verifier => ({ verify: () => Promise.reject(error) })
const refusing = fails(new ProxyError('TOKEN_INVALID', 'no'))
const away = fails(new ProxyError('AUTH_UNAVAILABLE', 'away', { retryAfter: 7 }))

const combined: Record<string, [Verifier[], object]> = {
  'the first that knows it': [[knowsNot, knows('a'), knows('b')], { principal: 'a' }],
  'one that comes after one that is away': [[away, knows('a')], { principal: 'a' }],
  none: [[knowsNot, knowsNot], { code: 'TOKEN_INVALID', message: /not known here/ }],
  'none, there being none': [[], { code: 'TOKEN_INVALID' }],
  'one that refuses it decides': [[refusing, knows('a')], { code: 'TOKEN_INVALID', message: 'no' }],
  'nobody, but one is away': [[away, knowsNot], { code: 'AUTH_UNAVAILABLE', retryAfter: 7 }],
  'one that fails otherwise': [[fails(new Error('bug')), knows('a')], { code: 'INTERNAL' }],
}
for (const [name, [verifiers, outcome]] of Object.entries(combined)) {
  t.test(`of several verifiers a token is known to: ${name}`, async (t) => {
    const got = await createVerifiers(verifiers)
      .verify('token')
      .catch((reason: unknown) => reason)
    t.match(got, outcome)
  })
}

t.test(
  'without an audience of its own a token must be meant for what it is used for',
  async (t) => {
    const { verifier } = await stage(t, { audience: [] })
    const token = await signed({ aud: 'https://mcp.example.com/one' })
    t.match(await verifier.verify(token, 'https://mcp.example.com/one'), { principal: String })
    for (const resource of ['https://mcp.example.com/two', '', undefined]) {
      await t.rejects(verifier.verify(token, resource), { code: 'TOKEN_INVALID' })
    }
  },
)
