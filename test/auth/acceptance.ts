import t from 'tap'
import { createHash } from 'node:crypto'
import { acceptanceDefaults, TokenAcceptance } from '../../src/auth/acceptance.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

const segment = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

const jwt = (claims: unknown, header: unknown = { alg: 'HS256' }): string =>
  `${segment(header)}.${segment(claims)}.c2lnbmF0dXJl`

const digest = (token: string): string =>
  `sha256:${createHash('sha256').update(token).digest('hex')}`

const one = { iss: 'https://as.example.com', sub: 'user-1' }
const principal = 'https://as.example.com|user-1'

t.test('a JWT is whose it claims to be, once the backend has accepted that very token', (t) => {
  const acceptance = new TokenAcceptance(acceptanceDefaults, manualClock())
  const token = jwt(one)
  t.equal(acceptance.principalOf(token), undefined)
  t.equal(acceptance.accepted(token), principal)
  t.equal(acceptance.principalOf(token), principal)
  t.equal(
    acceptance.principalOf(`${token.slice(0, -2)}AA`),
    undefined,
    'not with another signature',
  )
  t.equal(acceptance.principalOf(jwt({ ...one, sub: 'user-2' })), undefined)
  t.equal(acceptance.principalOf(''), undefined)
  t.end()
})

t.test('two tokens of one user are one principal, and of two issuers two', (t) => {
  const acceptance = new TokenAcceptance(acceptanceDefaults, manualClock())
  const first = acceptance.accepted(jwt({ ...one, jti: '1' }))
  t.equal(acceptance.accepted(jwt({ ...one, jti: '2' })), first)
  t.not(acceptance.accepted(jwt({ ...one, iss: 'https://other.example.com' })), first)
  t.end()
})

t.test('whatever claims no issuer and subject is known by its digest', (t) => {
  const tokens = {
    opaque: 'gho_16C7e42F292c6912E7710c838347Ae178B4a',
    'no subject': jwt({ iss: 'https://as.example.com' }),
    'no issuer': jwt({ sub: 'user-1' }),
    'an empty subject': jwt({ ...one, sub: '' }),
    'an empty issuer': jwt({ ...one, iss: '' }),
    'a subject that is a number': jwt({ ...one, sub: 1 }),
    'an issuer that is a list': jwt({ ...one, iss: ['https://as.example.com'] }),
    'a bar in the issuer': jwt({ iss: 'https://as.example.com|user', sub: '1' }),
    'claims that are a list': jwt([one]),
    'claims that are no JSON': `${segment({ alg: 'HS256' })}.${segment('{"iss"')}.x`,
    'a header that is no JSON': jwt(one, '{'),
    'two segments': jwt(one).split('.').slice(0, 2).join('.'),
    'five segments, as of a JWE': `${jwt(one)}.x.y`,
    'dots alone': '..',
    null: jwt('null'),
  }
  const acceptance = new TokenAcceptance(acceptanceDefaults, manualClock())
  for (const [what, token] of Object.entries(tokens)) {
    t.equal(acceptance.accepted(token), digest(token), what)
    t.equal(acceptance.principalOf(token), digest(token), what)
  }
  t.end()
})

t.test('an acceptance ends with its time, and each new one lasts as long', (t) => {
  const clock = manualClock(1_000)
  const acceptance = new TokenAcceptance({ lifetime: 60_000, capacity: 10 }, clock)
  const token = jwt(one)
  acceptance.accepted(token)
  clock.advance(59_999)
  t.equal(acceptance.principalOf(token), principal)
  acceptance.accepted(token)
  clock.advance(59_999)
  t.equal(acceptance.principalOf(token), principal)
  clock.advance(1)
  t.equal(acceptance.principalOf(token), undefined)
  t.equal(acceptance.size, 0)
  t.end()
})

t.test('five minutes are the longest, whatever is configured', (t) => {
  const clock = manualClock()
  const acceptance = new TokenAcceptance({ lifetime: 86_400_000, capacity: 10 }, clock)
  acceptance.accepted('a')
  clock.advance(299_999)
  t.ok(acceptance.principalOf('a'))
  clock.advance(1)
  t.equal(acceptance.principalOf('a'), undefined)
  t.end()
})

t.test('a refusal ends it at once, for that token alone', (t) => {
  const acceptance = new TokenAcceptance(acceptanceDefaults, manualClock())
  acceptance.accepted('a')
  acceptance.accepted('b')
  acceptance.refused('a')
  acceptance.refused('never seen')
  t.equal(acceptance.principalOf('a'), undefined)
  t.equal(acceptance.principalOf('b'), digest('b'))
  t.end()
})

t.test('it holds no more than its capacity, and the one accepted first goes first', (t) => {
  const acceptance = new TokenAcceptance({ lifetime: 60_000, capacity: 3 }, manualClock())
  for (const token of ['a', 'b', 'c', 'a', 'd']) acceptance.accepted(token)
  t.equal(acceptance.size, 3)
  t.same(
    ['a', 'b', 'c', 'd'].map((token) => acceptance.principalOf(token) !== undefined),
    [false, true, true, true],
  )
  t.end()
})
