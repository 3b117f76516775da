import type { IncomingMessage, ServerResponse } from 'node:http'
import { Events, OAuth2Server } from 'oauth2-mock-server'
import t from 'tap'
import type { Test } from 'tap'
import { createIntrospectionVerifier } from '../../src/auth/introspection.ts'
import type { IntrospectionConfig } from '../../src/auth/introspection.ts'
import type { ProxyError } from '../../src/errors.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'
import { freePort } from '../fixtures/free-port.ts'
import { listen, readText } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const issuer = 'https://as.example.com'
const audience = 'https://mcp.example.com/mcp'
/** ms since 1970 in every test, until its clock goes on. */
const start = 1_800_000_000_000
const seconds = start / 1000
const active: JsonObject = {
  active: true,
  sub: 'user-1',
  aud: audience,
  client_id: 'app',
  scope: 'read write',
  exp: seconds + 600,
}

interface Question {
  readonly headers: IncomingMessage['headers']
  readonly method: string | undefined
  readonly form: URLSearchParams
}

/** An introspection endpoint that says what the test wants, and a verifier that asks it. */
async function stage(t: Test, changes: Partial<IntrospectionConfig> = {}) {
  const says: { value: unknown; status: number; respond?: (response: ServerResponse) => void } = {
    value: active,
    status: 200,
  }
  const questions: Question[] = []
  const as = await listen((request, response) => {
    void readText(request).then((text) => {
      const { headers, method } = request
      questions.push({ headers, method, form: new URLSearchParams(text) })
      if (says.respond !== undefined) return says.respond(response)
      const text2 = typeof says.value === 'string' ? says.value : JSON.stringify(says.value)
      response.writeHead(says.status, { 'content-type': 'application/json' }).end(text2)
    })
  })
  t.teardown(() => as.close())
  const clock = manualClock()
  const failures: unknown[] = []
  const verifier = createIntrospectionVerifier(
    {
      url: `${as.url}/introspect`,
      issuer,
      audience: [audience],
      clients: [],
      clientId: 'proxy',
      clientSecret: 'hush',
      clientAuth: 'client_secret_basic',
      cacheSize: 100,
      ...changes,
    },
    {
      clock,
      wallClock: () => start + clock.now(),
      onFailure: (_, reason) => failures.push(reason),
    },
  )
  return { says, questions, clock, failures, verify: (token: string) => verifier.verify(token) }
}

t.test('an active token says who it is', async (t) => {
  const { verify, questions } = await stage(t)
  t.strictSame(await verify('opaque'), {
    principal: `${issuer}|user-1`,
    clientId: 'app',
    scopes: ['read', 'write'],
    claims: active,
    expires: (seconds + 600) * 1000,
  })
  t.match(questions, [{ method: 'POST', headers: { accept: 'application/json' } }])
  t.equal(questions[0]?.form.get('token'), 'opaque')
  t.equal(questions[0]?.form.get('token_type_hint'), 'access_token')
})

t.test('a token without an end has none', async (t) => {
  const { verify, says } = await stage(t)
  says.value = { ...active, exp: undefined }
  t.equal((await verify('opaque'))?.expires, undefined)
})

t.test('we say who we are by form-encoded Basic credentials', async (t) => {
  const { verify, questions } = await stage(t, { clientId: 'a:b c', clientSecret: 'p%ü+&' })
  await verify('opaque')
  const [scheme, encoded = ''] = String(questions[0]?.headers.authorization).split(' ')
  t.equal(scheme, 'Basic')
  // RFC 6749, section 2.3.1 and appendix B.
  t.equal(Buffer.from(encoded, 'base64').toString(), 'a%3Ab+c:p%25%C3%BC%2B%26')
  t.notOk(questions[0]?.form.has('client_id') || questions[0]?.form.has('client_secret'))
})

t.test('we say who we are in the form', async (t) => {
  const changes = {
    clientId: 'a:b',
    clientSecret: 'p&q',
    clientAuth: 'client_secret_post',
  } as const
  const { verify, questions } = await stage(t, changes)
  await verify('a&client_id=evil')
  const { headers, form } = questions[0]!
  t.equal(headers.authorization, undefined)
  t.strictSame(form.getAll('client_id'), ['a:b'])
  t.equal(form.get('client_secret'), 'p&q')
  t.equal(form.get('token'), 'a&client_id=evil')
})

t.test(
  'a token that is not active is left to other verifiers, and asked for again later',
  async (t) => {
    const { verify, says, questions, clock } = await stage(t)
    says.value = { active: false, sub: 'user-1', aud: audience }
    t.equal(await verify('opaque'), undefined)
    says.value = active
    clock.advance(9_999)
    t.equal(await verify('opaque'), undefined)
    t.equal(questions.length, 1)
    clock.advance(1)
    t.ok(await verify('opaque'))
    t.equal(questions.length, 2)
  },
)

t.test('an active token is asked for again after a minute', async (t) => {
  const { verify, says, questions, clock } = await stage(t)
  const first = await verify('opaque')
  says.value = { active: false }
  clock.advance(59_999)
  t.strictSame(await verify('opaque'), first)
  t.equal(questions.length, 1)
  t.equal(await verify('other'), undefined, 'every token has its own answer')
  clock.advance(1)
  t.equal(await verify('opaque'), undefined)
})

t.test('an active token is not kept past its end', async (t) => {
  const { verify, says, questions, clock } = await stage(t)
  says.value = { ...active, exp: seconds + 20 }
  t.ok(await verify('opaque'))
  clock.advance(19_999)
  t.ok(await verify('opaque'))
  t.equal(questions.length, 1)
  clock.advance(1)
  await t.rejects(verify('opaque'), { code: 'TOKEN_INVALID', message: 'the token has expired' })
  t.equal(questions.length, 2)
})

type Changes = Record<string, unknown>
const refused: Record<string, [changes: Changes, message: RegExp, clients?: string[]]> = {
  'another audience': [{ aud: 'https://other.example.com' }, /another audience/],
  'another audience, by a client that is known': [{ aud: ['x'] }, /another audience/, ['app']],
  'no audience': [{ aud: undefined }, /another audience/],
  'no audience, by another client': [{ aud: undefined }, /another audience/, ['other']],
  'neither audience nor client': [
    { aud: undefined, client_id: undefined },
    /another audience/,
    ['undefined'],
  ],
  'another issuer': [{ iss: 'https://evil.example.com' }, /another issuer/],
  'no subject': [{ sub: undefined }, /no "sub"/],
  'an empty subject': [{ sub: '' }, /no "sub"/],
  expired: [{ exp: seconds }, /has expired/],
  'an end that is no number': [{ exp: 'soon' }, /"exp" is not accepted/],
}
for (const [name, [changes, message, clients = []]] of Object.entries(refused)) {
  t.test(`an active token is refused: ${name}`, async (t) => {
    const { verify, says, questions, clock } = await stage(t, { clients })
    says.value = { ...active, ...changes }
    for (let i = 0; i < 2; i++) {
      await t.rejects(verify('opaque'), { code: 'TOKEN_INVALID', message })
    }
    t.equal(questions.length, 1, 'and that is kept')
    clock.advance(10_000)
    says.value = active
    t.ok(await verify('opaque'), 'for ten seconds')
  })
}

const accepted: Record<string, [changes: Changes, clients?: string[]]> = {
  'one of several audiences': [{ aud: ['x', audience] }],
  'the audience in capitals': [{ aud: 'HTTPS://MCP.EXAMPLE.COM/mcp' }],
  'no audience, by a client that is known': [{ aud: undefined }, ['other', 'app']],
  'the issuer itself': [{ iss: issuer }],
}
for (const [name, [changes, clients = []]] of Object.entries(accepted)) {
  t.test(`an active token is accepted: ${name}`, async (t) => {
    const { verify, says } = await stage(t, { clients })
    says.value = { ...active, ...changes }
    t.match(await verify('opaque'), { principal: `${issuer}|user-1` })
  })
}

const unavailable: Record<string, [value: unknown, status: number]> = {
  'our credentials are refused': [{ error: 'invalid_client' }, 401],
  'it fails': [{ error: 'server_error' }, 500],
  'it redirects': [active, 307],
  'it answers HTML': ['<p>user-1</p>', 200],
  'it answers an array': [[active], 200],
  'it does not say whether': [{ sub: 'user-1' }, 200],
  'it says so in a text': [{ ...active, active: 'true' }, 200],
}
for (const [name, [value, status]] of Object.entries(unavailable)) {
  t.test(`a server that cannot be understood makes no token invalid: ${name}`, async (t) => {
    const { verify, says, questions, failures } = await stage(t)
    Object.assign(says, { value, status })
    const error = await verify('opaque').catch((reason: unknown) => reason)
    t.match(error, { code: 'AUTH_UNAVAILABLE', status: 503, retryAfter: 5 })
    const told = [error, (error as ProxyError).cause, ...failures].map(String).join()
    for (const hidden of ['opaque', 'hush', 'user-1']) t.notMatch(told, hidden)
    t.equal(failures.length, 1)
    Object.assign(says, { value: active, status: 200 })
    t.ok(await verify('opaque'), 'it is asked again at once')
    t.equal(questions.length, 2)
  })
}

t.test('a server that is down makes no token invalid, and what is kept serves on', async (t) => {
  const { verify } = await stage(t, { url: `http://127.0.0.1:${await freePort()}/introspect` })
  await t.rejects(verify('opaque'), { code: 'AUTH_UNAVAILABLE', retryAfter: 5 })

  const broken = await stage(t)
  await broken.verify('opaque')
  broken.says.respond = (response) => void response.destroy()
  t.ok(await broken.verify('opaque'))
  await t.rejects(broken.verify('other'), { code: 'AUTH_UNAVAILABLE' })
})

t.test('a server that is slow is given up after five seconds', async (t) => {
  const { verify, says, questions, clock, failures } = await stage(t)
  const open: ServerResponse[] = []
  for (const respond of [
    (response: ServerResponse) => void open.push(response),
    // Headers at once, and then nothing.
    (response: ServerResponse) => void response.writeHead(200).write('{'),
  ]) {
    says.respond = respond
    const before = questions.length
    const verifying = verify('opaque')
    const rejected = t.rejects(verifying, { code: 'AUTH_UNAVAILABLE', retryAfter: 5 })
    await waitFor(() => questions.length > before, { what: 'the question' })
    clock.advance(4_999)
    t.equal(clock.waiting, 1)
    clock.advance(1)
    await rejected
    t.equal(clock.waiting, 0)
  }
  t.match(failures, [/no answer in 5000 ms/, /no answer in 5000 ms/])
})

t.test('everybody who comes with the same token waits for one question', async (t) => {
  const { verify, says, questions } = await stage(t)
  const all = await Promise.all([verify('opaque'), verify('opaque'), verify('opaque')])
  t.equal(new Set(all).size, 1)
  t.equal(questions.length, 1)
  says.status = 500
  const failed = await Promise.allSettled([verify('other'), verify('other')])
  t.strictSame(
    failed.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  t.equal(questions.length, 2)
})

t.test('no more than a hundred questions are under way at once', async (t) => {
  const { verify, says, questions } = await stage(t)
  const open: ServerResponse[] = []
  says.respond = (response) => void open.push(response)
  const verifying = Array.from({ length: 100 }, (_, i) => verify(`token-${i}`))
  await t.rejects(verify('one more'), { code: 'AUTH_UNAVAILABLE', retryAfter: 1 })
  await waitFor(() => open.length === 100, { what: 'a hundred questions' })
  delete says.respond
  for (const response of open) response.end('{"active":false}')
  await Promise.all(verifying)
  t.ok(await verify('one more'))
  t.equal(questions.length, 101)
})

t.test('answers are kept within bounds, the oldest goes first', async (t) => {
  const { verify, questions } = await stage(t, { cacheSize: 2 })
  for (const token of ['a', 'b', 'c']) await verify(token)
  t.equal(questions.length, 3)
  await verify('b')
  await verify('c')
  t.equal(questions.length, 3)
  await verify('a')
  t.equal(questions.length, 4)
})

t.test('a flood of made-up tokens is kept within bounds and drives out no good one', async (t) => {
  const { verify, says, questions } = await stage(t, { cacheSize: 2 })
  await verify('good')
  says.value = { active: false }
  for (const token of ['a', 'b', 'c']) t.equal(await verify(token), undefined)
  t.equal(questions.length, 4)
  t.ok(await verify('good'))
  t.equal(await verify('c'), undefined)
  t.equal(questions.length, 4)
  t.equal(await verify('a'), undefined)
  t.equal(questions.length, 5)
})

t.test('a token that is too long is not asked for', async (t) => {
  const { verify, questions } = await stage(t)
  await t.rejects(verify('x'.repeat(16_385)), {
    code: 'TOKEN_INVALID',
    message: /longer than 16384/,
  })
  t.equal(questions.length, 0)
  t.ok(await verify('x'.repeat(16_384)))
})

t.test('a whole authorization server is asked', async (t) => {
  const as = new OAuth2Server()
  await as.issuer.keys.generate('RS256')
  await as.start(0, '127.0.0.1')
  t.teardown(() => as.stop())
  const { verify } = await stage(t, { url: `${as.issuer.url}/introspect` })
  // All it says by itself is that the token is active: not for whom.
  await t.rejects(verify('opaque'), { code: 'TOKEN_INVALID', message: /another audience/ })
  as.service.once(Events.BeforeIntrospect, (response) => {
    response.body = { ...active }
  })
  t.match(await verify('other'), { principal: `${issuer}|user-1` })
})

const wrong: Record<string, [Partial<IntrospectionConfig>, RegExp]> = {
  'no URL': [{ url: '/introspect' }, /no absolute URL/],
}
for (const [name, [changes, message]] of Object.entries(wrong)) {
  t.test(`a configuration is refused: ${name}`, async (t) => {
    await t.rejects(stage(t, changes), { code: 'CONFIG_INVALID', message })
  })
}
