import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { decodeJwt, jwtVerify } from 'jose'
import t from 'tap'
import { createBackendCredential, keptTokens } from '../../src/auth/credential.ts'
import type { MintedConfig } from '../../src/auth/credential.ts'
import type { Identity } from '../../src/auth/identity.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'

const who = (sub: string, more: Partial<Identity> = {}): Identity => ({
  principal: `https://as.example.com|${sub}`,
  clientId: 'client-1',
  scopes: [],
  expires: undefined,
  claims: { sub, email: `${sub}@example.com` },
  ...more,
})
const inbound = { Authorization: 'Bearer SECRET', accept: 'application/json' }
const secret = 'a secret that backend and proxy share'
const minted: MintedConfig = {
  type: 'jwt',
  algorithm: 'HS256',
  key: secret,
  issuer: 'https://legacy.example.com',
  audience: 'legacy-mcp',
  subject: '{claims.sub}',
  lifetime: 300_000,
}
const start = Date.UTC(2026, 0, 1)

/** A credential that mints, with a clock in ms since 1970. */
function minting(config: Partial<MintedConfig> = {}) {
  const at = { now: start }
  const credential = createBackendCredential({ ...minted, ...config }, () => at.now)
  const tokenFor = async (someone: Identity): Promise<string> => {
    const headers = await credential.replace(inbound, someone)
    return /^Bearer (\S+)$/.exec(headers['authorization'] ?? '')?.[1] ?? ''
  }
  return { at, credential, tokenFor }
}

t.test('the token of the client goes, in every spelling', async (t) => {
  for (const name of ['authorization', 'Authorization', 'AUTHORIZATION']) {
    const sent = { [name]: 'Bearer SECRET', accept: 'a/b' }
    const none = createBackendCredential({ type: 'none' })
    t.strictSame(await none.replace(sent, who('u')), { accept: 'a/b' }, name)
    const headers = createBackendCredential({ type: 'headers', headers: { 'X-Api-Key': 'k' } })
    t.strictSame(await headers.replace(sent, who('u')), { accept: 'a/b', 'x-api-key': 'k' })
    const { credential } = minting()
    const got = await credential.replace(sent, who('u'))
    t.strictSame(Object.keys(got).sort(), ['accept', 'authorization'])
    t.notMatch(JSON.stringify(got), /SECRET/)
  }
})

t.test('it stays only where it is to be forwarded', async (t) => {
  const forward = createBackendCredential({ type: 'forward' })
  t.strictSame(await forward.replace(inbound, who('u')), inbound)
})

t.test('a client cannot send what the proxy sets', async (t) => {
  const headers = { Authorization: 'Basic ours', 'x-api-key': 'ours' }
  const credential = createBackendCredential({ type: 'headers', headers })
  const sent = { 'X-API-KEY': 'theirs', x_api_key: 'theirs', 'X_Api-Key': 'theirs', ...inbound }
  t.strictSame(await credential.replace(sent, who('u')), {
    accept: 'application/json',
    authorization: 'Basic ours',
    'x-api-key': 'ours',
  })
})

t.test('a header that would end another one is refused at the start', async (t) => {
  for (const value of ['a\r\nx: y', 'a\n', '\0', 'ë', '']) {
    const make = () => createBackendCredential({ type: 'headers', headers: { 'x-key': value } })
    t.throws(make, { code: 'CONFIG_INVALID', message: /headers\.x-key/ }, JSON.stringify(value))
  }
  for (const name of ['x key', 'x:key', 'x\r\n', '']) {
    const make = () => createBackendCredential({ type: 'headers', headers: { [name]: 'v' } })
    t.throws(make, { code: 'CONFIG_INVALID' }, JSON.stringify(name))
  }
})

t.test('a token made for the backend is what the backend takes', async (t) => {
  const claims = { email: '{claims.email}', client: '{client}', kind: 'user' }
  const { tokenFor } = minting({ claims, keyId: 'key-1' })
  const { payload, protectedHeader } = await jwtVerify(
    await tokenFor(who('u')),
    new TextEncoder().encode(secret),
    { issuer: 'https://legacy.example.com', audience: 'legacy-mcp', currentDate: new Date(start) },
  )
  t.strictSame(protectedHeader, { alg: 'HS256', typ: 'JWT', kid: 'key-1' })
  t.strictSame(payload, {
    sub: 'u',
    email: 'u@example.com',
    client: 'client-1',
    kind: 'user',
    iss: 'https://legacy.example.com',
    aud: 'legacy-mcp',
    iat: start / 1000 - 5,
    exp: start / 1000 + 300,
  })
})

t.test('private keys of every PEM form sign', async (t) => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const cases = [
    ['ES256', ec, 'pkcs8'],
    ['ES256', ec, 'sec1'],
    ['RS256', rsa, 'pkcs8'],
    ['RS256', rsa, 'pkcs1'],
  ] as const
  for (const [algorithm, pair, type] of cases) {
    const key = pair.privateKey.export({ type: type as 'pkcs8', format: 'pem' }).toString()
    const token = await minting({ algorithm, key }).tokenFor(who('u'))
    const { payload } = await jwtVerify(token, pair.publicKey, {
      algorithms: [algorithm],
      currentDate: new Date(start),
    })
    t.equal(payload.sub, 'u', `${algorithm} ${type}`)
  }
})

t.test('a key that does not fit is found at the start, and never shown', async (t) => {
  const pem = ({ privateKey }: { readonly privateKey: KeyObject }): string =>
    privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const ec = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  const otherCurve = pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }))
  const rsa = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }))
  const smallRsa = pem(generateKeyPairSync('rsa', { modulusLength: 1024 }))
  const edwards = pem(generateKeyPairSync('ed25519'))
  const cases: readonly (readonly [MintedConfig['algorithm'], string, RegExp])[] = [
    ['HS256', ec, /takes a secret, not PEM/],
    ['HS256', 'SECRET', /32 bytes or more, not 6/],
    ['HS256', '', /32 bytes or more, not 0/],
    ['RS256', ec, /key of RSA/],
    ['RS256', smallRsa, /2048 bits/],
    ['ES256', rsa, /curve P-256/],
    ['ES256', otherCurve, /curve P-256/],
    ['ES256', edwards, /curve P-256/],
    ['ES256', 'SECRET', /private key in PEM/],
  ]
  for (const [algorithm, key, message] of cases) {
    const error = (() => {
      try {
        return void minting({ algorithm, key })
      } catch (reason) {
        return reason as Error
      }
    })()
    t.match(error, { code: 'CONFIG_INVALID', message }, `${algorithm} ${message}`)
    t.notMatch(`${error?.message} ${String(error?.cause)}`, /SECRET|BEGIN/)
  }
})

t.test('nothing lives longer than five minutes, or says what has a key of its own', async (t) => {
  for (const lifetime of [300_001, 999, 0, -1, Number.NaN, Infinity]) {
    t.throws(() => minting({ lifetime }), { code: 'CONFIG_INVALID', message: /lifetime/ })
  }
  for (const name of ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat']) {
    const make = () => minting({ claims: { [name]: 'x' } })
    t.throws(make, { code: 'CONFIG_INVALID', message: `credential.claims.${name}` }, name)
  }
  t.throws(() => minting({ subject: '{sub}' }), { message: /^credential\.subject: character 1/ })
  t.throws(() => minting({ claims: { a: '{' } }), { message: /^credential\.claims\.a: / })
})

t.test('a token is used again until a minute before its end', async (t) => {
  const { at, tokenFor } = minting()
  const first = await tokenFor(who('u'))
  at.now += 239_999
  t.equal(await tokenFor(who('u')), first)
  at.now += 1
  const second = await tokenFor(who('u'))
  t.not(second, first)
  t.equal(decodeJwt(second).exp, start / 1000 + 540)
})

t.test('it is for one principal, and for what is known of it now', async (t) => {
  const { at, tokenFor } = minting({ claims: { email: '{claims.email}' } })
  const first = await tokenFor(who('u'))
  at.now += 1000
  const sameWords = who('u', { principal: 'https://other.example.com|u' })
  t.not(await tokenFor(sameWords), first, 'same claims, other issuer')
  t.equal(decodeJwt(await tokenFor(who('v'))).sub, 'v')
  const renamed = who('u', { claims: { sub: 'u', email: 'new@example.com' } })
  t.equal(decodeJwt(await tokenFor(renamed))['email'], 'new@example.com')
  t.equal(await tokenFor(who('u')), first)
})

t.test('it does not outlive the token that it stands for', async (t) => {
  const { tokenFor } = minting()
  const long = await tokenFor(who('u'))
  const short = await tokenFor(who('u', { expires: start + 90_500 }))
  t.equal(decodeJwt(long).exp, start / 1000 + 300)
  t.equal(decodeJwt(short).exp, start / 1000 + 90)
  const expired = tokenFor(who('u', { expires: start }))
  await t.rejects(expired, { code: 'TOKEN_INVALID', message: /has expired/ })
})

t.test('a missing claim refuses the request, hostile names change nothing', async (t) => {
  const { tokenFor } = minting({ claims: { tenant: '{claims.tenant}' } })
  await t.rejects(tokenFor(who('u')), { code: 'TOKEN_INVALID', message: /claim "tenant"/ })
  for (const name of ['__proto__', 'constructor']) {
    const inherited = minting({ claims: { x: `{claims.${name}}` } })
    await t.rejects(inherited.tokenFor(who('u')), { code: 'TOKEN_INVALID' }, name)
  }
  const claims = JSON.parse('{"__proto__":"{claims.sub}"}') as Record<string, string>
  const payload = decodeJwt(await minting({ claims }).tokenFor(who('u')))
  t.ok(Object.hasOwn(payload, '__proto__'), 'an own claim, as it is configured')
  t.equal(payload.sub, 'u')
  const odd: JsonObject = { sub: 'a"},"admin":true,"x":{"\r\n', email: 'e' }
  const escaped = decodeJwt(await minting().tokenFor(who('u', { claims: odd })))
  t.equal(escaped.sub, odd['sub'])
  t.notOk('admin' in escaped)
})

t.test('so many tokens are kept, the oldest going first', async (t) => {
  const { at, tokenFor } = minting()
  const oldest = await tokenFor(who('first'))
  const second = await tokenFor(who('second'))
  for (let n = 0; n < keptTokens - 1; n++) await tokenFor(who(`u${n}`))
  at.now += 1000
  t.equal(await tokenFor(who('second')), second)
  t.not(await tokenFor(who('first')), oldest)
})
