import t from 'tap'
import { mendAnswer, oauthError, refusalOf, unavailable } from '../../src/auth/mend.ts'
import type { PostedEndpoint } from '../../src/auth/mend.ts'
import { issued, refusals, registered } from '../fixtures/oauth-fastapi.ts'

for (const { what, endpoint, grant, status, body, mended } of refusals) {
  t.test(`FastAPI at ${endpoint}, ${status}: ${what}`, (t) => {
    const answer = mendAnswer(endpoint, { status, body }, grant)
    t.equal(answer.status, mended.status)
    t.same(JSON.parse(answer.body), { error: mended.error, error_description: mended.says })
    t.end()
  })
}

t.test('a token and a client pass to the byte, with the status that they should have', (t) => {
  t.same(mendAnswer('token', { status: 200, body: issued }), { status: 200, body: issued })
  t.same(mendAnswer('register', { status: 200, body: registered }), {
    status: 201,
    body: registered,
  })
  t.same(mendAnswer('register', { status: 201, body: registered }), {
    status: 201,
    body: registered,
  })
  for (const body of ['', 'ok', '{"revoked":true}', '<p>done</p>']) {
    t.same(mendAnswer('revoke', { status: 200, body }), { status: 200, body: '' })
  }
  t.same(mendAnswer('revoke', { status: 204, body: '' }), { status: 200, body: '' })
  t.end()
})

t.test('an error in the form of OAuth passes to the byte', (t) => {
  const body = '{ "error": "invalid_grant",\n "error_description": "expired", "more": 1.0 }'
  for (const [status, expected] of [
    [400, 400],
    [401, 401],
    [403, 403],
    [500, 500],
    [503, 503],
    [404, 400],
    [422, 400],
    [200, 400],
    [302, 400],
  ] as const) {
    t.same(mendAnswer('token', { status, body }), { status: expected, body }, String(status))
  }
  t.same(mendAnswer('revoke', { status: 200, body }), { status: 400, body })
  t.end()
})

t.test('an error that FastAPI has wrapped is unwrapped', (t) => {
  const error = { error: 'invalid_client', error_description: 'gone' }
  const answer = mendAnswer('token', { status: 401, body: JSON.stringify({ detail: error }) })
  t.equal(answer.status, 401)
  t.same(JSON.parse(answer.body), error)
  t.end()
})

t.test('a refusal in yet another form becomes one of OAuth', (t) => {
  const cases: [PostedEndpoint, number, unknown, number, string, string][] = [
    [
      'token',
      200,
      { error: 'Missing required parameters' },
      400,
      'invalid_request',
      'Missing required parameters',
    ],
    ['token', 400, { message: 'Bad code' }, 400, 'invalid_grant', 'Bad code'],
    ['token', 400, { error: { code: 'x' } }, 400, 'invalid_grant', 'the request was refused'],
    ['token', 415, { detail: 'not a form' }, 400, 'invalid_request', 'not a form'],
    ['token', 404, { detail: 'Client not found' }, 401, 'invalid_client', 'Client not found'],
    ['register', 401, { detail: 'no' }, 401, 'invalid_token', 'no'],
    ['register', 409, {}, 400, 'invalid_client_metadata', 'the request was refused'],
    ['token', 400, { detail: [{ msg: 'm' }, 'x', null, { loc: [] }] }, 400, 'invalid_grant', 'm; '],
  ]
  for (const [endpoint, status, body, expected, error, says] of cases) {
    const answer = mendAnswer(endpoint, { status, body: JSON.stringify(body) })
    t.equal(answer.status, expected, says)
    t.same(JSON.parse(answer.body), { error, error_description: says })
  }
  t.end()
})

t.test('a description has no quotes, no controls and an end (RFC 6749, section 5.2)', (t) => {
  const detail = `"a"\\\r\n\u2028é${'x'.repeat(1000)}`
  const { body } = mendAnswer('token', { status: 400, body: JSON.stringify({ detail }) })
  const { error_description: words } = JSON.parse(body)
  t.match(words, /^'a''\?\?\?\?x+$/)
  t.equal(words.length, 200)
  t.end()
})

t.test('what was sent is never repeated', (t) => {
  const detail = [{ loc: ['body', 'code'], msg: 'bad', input: 's3cret', ctx: { given: 's3cret' } }]
  const { body } = mendAnswer('token', { status: 422, body: JSON.stringify({ detail }) })
  t.notMatch(body, 's3cret')
  t.match(body, 'code: bad')
  t.end()
})

t.test('pages, redirects, crashes and answers without sense are the server’s fault', (t) => {
  const page = '<html>Traceback: s3cret</html>'
  const cases: [PostedEndpoint, number, string][] = [
    ['token', 200, page],
    ['token', 200, ''],
    ['token', 200, '{}'],
    ['token', 200, '[]'],
    ['token', 200, '{"access_token":7}'],
    ['token', 200, registered],
    ['token', 400, page],
    ['token', 403, page],
    ['token', 404, page],
    ['token', 307, ''],
    ['token', 302, '{"detail":"elsewhere"}'],
    ['token', 500, 'Internal Server Error'],
    ['token', 500, '{"detail":"Traceback: s3cret"}'],
    ['register', 200, issued],
    ['register', 200, page],
    ['revoke', 500, page],
  ]
  for (const [endpoint, status, body] of cases) {
    const answer = mendAnswer(endpoint, { status, body })
    t.equal(answer.status, 502, `${status} ${body}`)
    t.equal(JSON.parse(answer.body).error, 'server_error')
    t.notMatch(answer.body, 's3cret')
  }
  t.end()
})

t.test('a server that is not there, or asked too often, is there again later', (t) => {
  for (const [status, expected] of [
    [502, 503],
    [503, 503],
    [504, 503],
    [429, 429],
  ] as const) {
    const answer = mendAnswer('token', { status, body: '<h1>Bad Gateway</h1>' })
    t.equal(answer.status, expected)
    t.equal(JSON.parse(answer.body).error, 'temporarily_unavailable')
  }
  t.same(unavailable(504, 'x'), oauthError(504, 'temporarily_unavailable', 'x'))
  t.end()
})

t.test('403 without a token is 401, without an error (RFC 6750, section 3.1)', (t) => {
  for (const status of [401, 403]) {
    t.same(refusalOf({ status, challenge: undefined }, false), { status: 401, scopes: [] })
  }
  t.same(
    refusalOf(
      { status: 401, challenge: 'Bearer error="invalid_token", scope="mcp:tools mcp:prompts"' },
      false,
    ),
    { status: 401, scopes: ['mcp:tools', 'mcp:prompts'] },
  )
  for (const status of [200, 202, 400, 404, 406, 500, 503]) {
    t.equal(refusalOf({ status, challenge: undefined }, false), undefined, String(status))
  }
  t.end()
})

t.test('401 with a token keeps what the backend says of it, and nothing else', (t) => {
  t.same(refusalOf({ status: 401, challenge: undefined }, true), {
    status: 401,
    error: 'invalid_token',
    scopes: [],
  })
  const challenge =
    'Bearer realm="x", error="invalid_token", error_description="it \\"expired\\"", scope="a b", resource_metadata="https://backend.internal/"'
  t.same(refusalOf({ status: 401, challenge }, true), {
    status: 401,
    error: 'invalid_token',
    description: "it 'expired'",
    scopes: ['a', 'b'],
  })
  t.match(refusalOf({ status: 401, challenge: 'Bearer error="made_up"' }, true), {
    error: 'invalid_token',
  })
  t.match(refusalOf({ status: 401, challenge: 'Basic realm="x"' }, true), {
    status: 401,
    error: 'invalid_token',
  })
  t.end()
})

t.test('403 and 405 with a token stay what they are', (t) => {
  for (const status of [403, 405]) {
    t.equal(refusalOf({ status, challenge: undefined }, true), undefined)
    t.equal(refusalOf({ status, challenge: 'Bearer error="invalid_token"' }, true), undefined)
  }
  t.same(
    refusalOf({ status: 403, challenge: 'Bearer error="insufficient_scope", scope="w"' }, true),
    { status: 403, error: 'insufficient_scope', scopes: ['w'] },
  )
  t.end()
})

t.test('what a backend is known to say of an expired token becomes 401', (t) => {
  const signs = [{ status: 403, body: /expired/i }]
  const expired = { status: 403, challenge: undefined, body: '{"detail":"Token Expired"}' }
  t.same(refusalOf(expired, true, signs), { status: 401, error: 'invalid_token', scopes: [] })
  t.equal(refusalOf({ ...expired, body: '{"detail":"not yours"}' }, true, signs), undefined)
  t.equal(refusalOf({ ...expired, status: 400 }, true, signs), undefined)
  t.equal(refusalOf({ status: 403, challenge: undefined }, true, signs), undefined)
  t.end()
})
