import t from 'tap'
import {
  endpointsOf,
  facadeDocument,
  mapResource,
  metadataUrls,
  quoted,
  readMetadata,
  shimPaths,
  trouble,
  withoutSlash,
} from '../../src/auth/facade.ts'
import type { ServerMetadata } from '../../src/auth/facade.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'

const backend = new URL('https://backend.example.com/mcp')
const issuer = 'https://as.example.com'
const fits = (said: string): boolean => said === issuer

const document = {
  issuer,
  authorization_endpoint: 'https://as.example.com/oauth/authorize',
  token_endpoint: 'https://as.example.com/oauth/token',
  registration_endpoint: 'https://as.example.com/oauth/register',
  code_challenge_methods_supported: ['S256', 'plain'],
}

const read = (more: JsonObject, from = backend) =>
  readMetadata({ ...document, ...more }, fits, from)

const metadataOf = (more: JsonObject = {}): ServerMetadata => {
  const found = read(more)
  if (!found.ok) throw new Error(found.reason)
  return found.metadata
}

t.test('metadata is looked for in the three places, in order, each once', (t) => {
  const cases = {
    'https://as.example.com': [
      'https://as.example.com/.well-known/oauth-authorization-server',
      'https://as.example.com/.well-known/openid-configuration',
    ],
    'https://as.example.com/tenant/one/': [
      'https://as.example.com/.well-known/oauth-authorization-server/tenant/one',
      'https://as.example.com/.well-known/openid-configuration/tenant/one',
      'https://as.example.com/tenant/one/.well-known/openid-configuration',
    ],
  }
  for (const [from, expected] of Object.entries(cases)) {
    t.same(metadataUrls(new URL(from)), expected)
  }
  t.equal(withoutSlash('https://a/'), 'https://a')
  t.end()
})

t.test('metadata is read: endpoints as they are spelt, the rest as it is', (t) => {
  const spelt = 'https://AS.example.com:443/oauth/../token?tenant=%7e'
  const found = metadataOf({ token_endpoint: spelt, registration_endpoint: null, more: 1 })
  t.same(found.endpoints, {
    authorization: document.authorization_endpoint,
    token: spelt,
    registration: undefined,
    revocation: undefined,
  })
  t.equal(found.issuer, issuer)
  t.equal(found.document['more'], 1)
  t.end()
})

t.test('iss is emitted only where the metadata says true (RFC 9207)', (t) => {
  const flag = 'authorization_response_iss_parameter_supported'
  t.equal(metadataOf().emitsIss, false)
  t.equal(metadataOf({ [flag]: true }).emitsIss, true)
  t.equal(metadataOf({ [flag]: 'true' }).emitsIss, false)
  t.end()
})

t.test('what must not be trusted is refused by name', (t) => {
  const cases: [JsonObject, string, RegExp][] = [
    [{ issuer: `${issuer}/` }, 'issuer-mismatch', /another issuer, "https:\/\/as\.example\.com\/"/],
    [{ issuer: 'https://AS.example.com' }, 'issuer-mismatch', /another issuer/],
    [{ issuer: null }, 'issuer-mismatch', /another issuer, null/],
    [{ issuer: 'x'.repeat(10_000) }, 'issuer-mismatch', /^.{0,300}$/],
    [{ token_endpoint: null }, 'invalid', /lacks/],
    [{ authorization_endpoint: null }, 'invalid', /lacks/],
    [{ token_endpoint: '/oauth/token' }, 'invalid', /token_endpoint is no URL/],
    [{ token_endpoint: 7 }, 'invalid', /token_endpoint is no URL/],
    [{ token_endpoint: `${issuer}/token#x` }, 'invalid', /token_endpoint/],
    [{ token_endpoint: 'https://u:p@as.example.com/' }, 'invalid', /token_endpoint/],
    [{ token_endpoint: 'https://u@as.example.com/' }, 'invalid', /token_endpoint/],
    [{ token_endpoint: 'https://:p@as.example.com/' }, 'invalid', /token_endpoint/],
    [{ authorization_endpoint: `${issuer}/a\r\nset-cookie: x` }, 'invalid', /authorization/],
    [{ authorization_endpoint: `${issuer}/é` }, 'invalid', /authorization/],
    [{ authorization_endpoint: 'javascript:alert(1)' }, 'insecure', /authorization/],
    [{ revocation_endpoint: 'http://as.example.com/revoke' }, 'insecure', /revocation/],
    [{ registration_endpoint: 'http://127.0.0.1/register' }, 'insecure', /registration/],
    [{ code_challenge_methods_supported: ['plain'] }, 'no-s256', /S256/],
    [{ code_challenge_methods_supported: null }, 'no-s256', /S256/],
    [{ code_challenge_methods_supported: 'S256' }, 'no-s256', /S256/],
  ]
  for (const [more, fault, reason] of cases) {
    t.match(read(more), { ok: false, fault, reason }, JSON.stringify(more).slice(0, 80))
  }
  t.end()
})

t.test('http is for those who reach the backend by http themselves', (t) => {
  const more = { token_endpoint: 'http://127.0.0.1:1/token' }
  t.equal(read(more, new URL('http://127.0.0.1:1/mcp')).ok, true)
  t.end()
})

t.test('requests go where the metadata says, or to the default paths where there is none', (t) => {
  const metadata = metadataOf()
  t.equal(endpointsOf({ ok: true, metadata, trouble: undefined }, backend), metadata.endpoints)
  t.same(endpointsOf(trouble('not-found', ''), backend), {
    authorization: 'https://backend.example.com/authorize',
    token: 'https://backend.example.com/token',
    registration: 'https://backend.example.com/register',
    revocation: 'https://backend.example.com/revoke',
  })
  for (const fault of [
    'pending',
    'unreachable',
    'redirected',
    'invalid',
    'insecure',
    'issuer-mismatch',
    'no-s256',
  ] as const) {
    t.equal(endpointsOf(trouble(fault, ''), backend), undefined, fault)
  }
  t.end()
})

t.test(
  'the facade has our issuer and endpoints, and nothing that is true of the others alone',
  (t) => {
    const metadata = metadataOf({
      revocation_endpoint: 'https://as.example.com/revoke',
      revocation_endpoint_auth_methods_supported: ['private_key_jwt'],
      introspection_endpoint: 'https://as.example.com/introspect',
      userinfo_endpoint: 'https://as.example.com/me',
      pushed_authorization_request_endpoint: 'https://as.example.com/par',
      mtls_endpoint_aliases: { token_endpoint: 'https://mtls.example.com/token' },
      signed_metadata: 'eyJ.x.y',
      dpop_signing_alg_values_supported: ['ES256'],
      authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: [
        'none',
        'private_key_jwt',
        'client_secret_jwt',
        'client_secret_post',
        'client_secret_basic',
        'tls_client_auth',
      ],
      jwks_uri: 'https://as.example.com/jwks',
      scopes_supported: ['mcp:tools'],
      response_types_supported: ['code'],
      grant_types_supported: ['authorization_code'],
      client_id_metadata_document_supported: true,
      service_documentation: null,
    })
    t.strictSame(facadeDocument(metadata, 'https://mcp.example.com'), {
      issuer: 'https://mcp.example.com',
      authorization_endpoint: 'https://mcp.example.com/authorize',
      token_endpoint: 'https://mcp.example.com/token',
      registration_endpoint: 'https://mcp.example.com/register',
      revocation_endpoint: 'https://mcp.example.com/revoke',
      token_endpoint_auth_methods_supported: ['none', 'client_secret_post', 'client_secret_basic'],
      scopes_supported: ['mcp:tools'],
      response_types_supported: ['code'],
      grant_types_supported: ['authorization_code'],
      code_challenge_methods_supported: ['S256', 'plain'],
      client_id_metadata_document_supported: true,
      jwks_uri: 'https://as.example.com/jwks',
    })
    t.end()
  },
)

t.test('the facade offers no endpoint that the server lacks', (t) => {
  const facade = facadeDocument(metadataOf({ registration_endpoint: null }), 'https://m.example')
  t.notOk('registration_endpoint' in facade)
  t.notOk('revocation_endpoint' in facade)
  t.equal(facade['token_endpoint'], `https://m.example${shimPaths.token}`)
  t.end()
})

const ours = 'https://mcp.example.com/mcp'
const theirs = 'https://backend.example.com/mcp?a=b&c'

t.test('our resource becomes the backend’s, and every other byte stays', (t) => {
  const to = encodeURIComponent(theirs)
  const cases: [string, string][] = [
    [`resource=${encodeURIComponent(ours)}`, `resource=${to}`],
    [`resource=${ours}`, `resource=${to}`],
    [`resource=${ours}/`, `resource=${to}`],
    [`resource=${encodeURIComponent(`${ours}?via=chatgpt`)}`, `resource=${to}`],
    ['resource=HTTPS%3A%2F%2FMCP.example.com:443/mcp', `resource=${to}`],
    [`r%65source=${ours}`, `r%65source=${to}`],
    [`state=%7E+a%20b&resource=${ours}&code=%zz&&x`, `state=%7E+a%20b&resource=${to}&code=%zz&&x`],
    [`resource=${ours}&resource=${ours}`, `resource=${to}&resource=${to}`],
  ]
  for (const [text, expected] of cases) t.equal(mapResource(text, ours, theirs), expected, text)
  t.end()
})

t.test('a foreign resource stays, for the authorization server to refuse', (t) => {
  for (const text of [
    '',
    'state=x',
    'resource',
    'resource=',
    'resource=mcp',
    'resource=%zz',
    'resource=https://other.example.com/mcp',
    'resource=http://mcp.example.com/mcp',
    'resource=https://mcp.example.com/mcp/more',
    'resource=https://mcp.example.com/',
    'resource=https://mcp.example.com.evil.test/mcp',
    `Resource=${ours}`,
    `redirect_uri=${ours}`,
    `state=resource=${ours}`,
  ]) {
    t.equal(mapResource(text, ours, theirs), text, text)
  }
  t.end()
})

t.test('a word of another server fits a log', (t) => {
  t.equal(quoted('a\r\nb'), String.raw`"a\r\nb"`)
  t.equal(quoted('x'.repeat(1_000)).length, 200)
  t.equal(quoted(undefined), 'undefined')
  t.end()
})
