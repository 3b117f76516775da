import t from 'tap'
import { challengeText, parametersIn } from '../../src/auth/challenge.ts'

const metadata = 'https://mcp.example.com/.well-known/oauth-protected-resource/mcp'

t.test('a challenge begins with Bearer and says what is there', async (t) => {
  t.equal(challengeText({ metadata }), `Bearer resource_metadata="${metadata}"`)
  t.equal(challengeText({ metadata, scopes: [] }), `Bearer resource_metadata="${metadata}"`)
  t.equal(
    challengeText({
      metadata,
      scopes: ['use', 'files:read'],
      error: 'insufficient_scope',
      description: 'more',
    }),
    `Bearer resource_metadata="${metadata}", scope="use files:read", error="insufficient_scope", error_description="more"`,
  )
})

t.test('without an error nothing is described (RFC 6750, section 3.1)', async (t) => {
  t.notMatch(challengeText({ metadata, description: 'more' }), /description/)
})

t.test('whatever stands in it, it stays one header and one challenge', async (t) => {
  const hostile = [
    'a", error="invalid_token',
    'a\\", x="b',
    'a\\',
    'a\r\nset-cookie: a=b',
    'é\0\u2028',
    '𝒳',
  ]
  for (const [index, text] of hostile.entries()) {
    const challenge = challengeText({
      metadata,
      scopes: [text],
      error: 'invalid_token',
      description: text,
    })
    t.match(challenge, /^[\x20-\x7e]*$/, String(index))
    const plain = text.replace(/[^\x20-\x7e]/g, '?')
    t.same(
      parametersIn(challenge),
      {
        resource_metadata: metadata,
        scope: plain,
        error: 'invalid_token',
        error_description: plain,
      },
      String(index),
    )
  }
})

t.test('the parameters of a challenge are read however they are written', async (t) => {
  const cases: [string | undefined, Record<string, string>][] = [
    ['Bearer error="invalid_token"', { error: 'invalid_token' }],
    ['  bEaReR\tERROR = invalid_token', { error: 'invalid_token' }],
    ['Bearer realm="a, b", scope="x y",error=e', { realm: 'a, b', scope: 'x y', error: 'e' }],
    [String.raw`Bearer realm="a \"error=x\" b"`, { realm: 'a "error=x" b' }],
    ['Bearer scope="", error="e"', { scope: '', error: 'e' }],
    ['Bearer', {}],
    ['Bearer ', {}],
    ['Bearer e30.e30.x', {}],
    ['Bearers error="e"', {}],
    ['Basic realm="x", error="e"', {}],
    ['', {}],
    [undefined, {}],
  ]
  for (const [challenge, expected] of cases) {
    t.strictSame({ ...parametersIn(challenge) }, expected, String(challenge))
  }
})

t.test('what a challenge names is no prototype', async (t) => {
  const found = parametersIn('Bearer __proto__="x", constructor="y", error="e"')
  t.equal(found['error'], 'e')
  t.equal(Object.getPrototypeOf(found), Object.prototype)
})

t.test('a challenge without an end costs nothing', async (t) => {
  t.same(parametersIn(`Bearer ${'a'.repeat(200_000)}`), {})
  t.equal(parametersIn(`Bearer error="e", ${'a'.repeat(200_000)}`)['error'], 'e')
})
