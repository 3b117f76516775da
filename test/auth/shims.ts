import t from 'tap'
import * as v1 from '@modelcontextprotocol/sdk/client/auth.js'
import * as v2 from '@modelcontextprotocol/client'
import { createHash, randomBytes } from 'node:crypto'
import { PassThrough } from 'node:stream'
import type { Test } from 'tap'
import { endpointsOf, facadeDocument, mapResource, trouble } from '../../src/auth/facade.ts'
import {
  createAuthorizationServer,
  discoveryDefaults,
} from '../../src/auth/authorization-server.ts'
import { serveShim, shimDefaults } from '../../src/auth/shims.ts'
import type { ShimAnswer, ShimOptions, ShimRequest } from '../../src/auth/shims.ts'
import type { Endpoints } from '../../src/auth/facade.ts'
import { systemClock } from '../../src/clock.ts'
import { freePort } from '../fixtures/free-port.ts'
import { fetchRaw } from '../fixtures/http.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { issued, refusals, registered } from '../fixtures/oauth-fastapi.ts'
import { html, json, oauthServer, redirectTo, silence } from '../fixtures/oauth-server.ts'
import type { OauthServer } from '../fixtures/oauth-server.ts'
import { answer } from '../fixtures/scripted.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const form = 'application/x-www-form-urlencoded'

const bodyOf = async function* (...chunks: string[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield Buffer.from(chunk, 'latin1')
}

const asking = (method: string, path: string, more: Partial<ShimRequest> = {}): ShimRequest => ({
  method,
  path,
  query: '',
  headers: {},
  body: bodyOf(),
  ...more,
})

const posting = (path: string, body: string, headers: ShimRequest['headers'] = {}): ShimRequest =>
  asking('POST', path, { headers: { 'content-type': form, ...headers }, body: bodyOf(body) })

const endpointsAt = (url: string): Endpoints => ({
  authorization: `${url}/oauth/authorize`,
  token: `${url}/oauth/token`,
  registration: `${url}/oauth/register`,
  revocation: `${url}/oauth/revoke`,
})

const nowhere = endpointsAt('http://127.0.0.1:1')

const serve = (
  request: ShimRequest,
  endpoints: Endpoints | undefined,
  options: Partial<ShimOptions> = {},
): Promise<ShimAnswer> =>
  serveShim(request, endpoints, { ...shimDefaults, ...options }, { clock: systemClock })

const errorIn = ({ body }: ShimAnswer): string => JSON.parse(body).error

t.test('a browser is sent on with its query byte for byte', async (t) => {
  const query = 'state=%7e+a%20b%2B&resource=https://mcp.example.com/mcp&x&&y=;%zz?/@'
  const got = await serve(asking('GET', '/authorize', { query }), nowhere)
  t.strictSame(got, {
    status: 302,
    headers: {
      'cache-control': 'no-store',
      pragma: 'no-cache',
      location: `${nowhere.authorization}?${query}`,
      'referrer-policy': 'no-referrer',
    },
    body: '',
  })
  const head = await serve(asking('HEAD', '/authorize', { query }), nowhere)
  t.equal(head.headers['location'], `${nowhere.authorization}?${query}`)
})

t.test('the endpoint’s own query is kept (RFC 6749, section 3.1)', async (t) => {
  const to = async (authorization: string, query: string): Promise<string | undefined> =>
    (await serve(asking('GET', '/authorize', { query }), { ...nowhere, authorization })).headers[
      'location'
    ]
  t.equal(await to('https://as/a?t=1', 'x=2'), 'https://as/a?t=1&x=2')
  t.equal(await to('https://as/a?t=1', ''), 'https://as/a?t=1')
  t.equal(await to('https://as/a', ''), 'https://as/a')
})

t.test('nothing in a query leaves its header or becomes a fragment', async (t) => {
  const query = 'a=b\r\nset-cookie: x\u00e9\u20ac\ud800#frag'
  const got = await serve(asking('GET', '/authorize', { query }), nowhere)
  t.equal(
    got.headers['location'],
    `${nowhere.authorization}?a=b%0d%0aset-cookie:%20x%e9%e2%82%ac%ef%bf%bd%23frag`,
  )
})

t.test('a POST goes to the server with what it needs, and no more', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', json(JSON.parse(issued)))
  const body = 'grant_type=authorization_code&code=%C3%A9+x&redirect_uri=cursor://a/b'
  const got = await serve(
    posting('/token', body, {
      authorization: 'Basic YTpi',
      cookie: 'session=1',
      host: 'mcp.example.com',
      origin: 'https://claude.ai',
      'user-agent': 'x',
      'x-user-id': 'admin',
      'x-forwarded-for': '10.0.0.1',
      connection: 'x-user-id',
    }),
    endpointsAt(server.url),
  )
  t.equal(got.status, 200)
  t.equal(got.body, issued)
  t.notOk('www-authenticate' in got.headers)
  const seen = server.seen[0]
  t.equal(seen?.body, body)
  t.strictSame(
    { ...seen?.headers, connection: '' },
    {
      connection: '',
      host: new URL(server.url).host,
      'content-length': String(body.length),
      'content-type': form,
      authorization: 'Basic YTpi',
      accept: 'application/json',
      'accept-encoding': 'identity',
    },
  )
})

t.test('of the answer, only what is ours to say goes back', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', (response) =>
    answer(response, issued, {
      headers: {
        'set-cookie': 'session=1',
        'cache-control': 'public, max-age=3600',
        'access-control-allow-origin': 'https://other.example.com',
        'access-control-allow-credentials': 'true',
        server: 'uvicorn',
        'retry-after': '7',
      },
    }),
  )
  const got = await serve(posting('/token', ''), endpointsAt(server.url))
  t.strictSame(got.headers, {
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'WWW-Authenticate, Retry-After',
    'cache-control': 'no-store',
    pragma: 'no-cache',
    'content-type': 'application/json',
  })
})

t.test('registering is 201, revoking is 200 without a body', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/register', json(JSON.parse(registered)))
  const made = await serve(
    asking('POST', '/register', {
      headers: { 'content-type': 'application/json' },
      body: bodyOf('{"redirect_', 'uris":[]}'),
    }),
    endpointsAt(server.url),
  )
  t.match(made, { status: 201, body: registered })
  t.match(server.seen[0], { body: '{"redirect_uris":[]}', headers: { 'content-type': /json/ } })
  const revoked = await serve(posting('/revoke', 'token=x'), endpointsAt(server.url))
  t.match(revoked, { status: 200, body: '' })
  t.notOk('content-type' in revoked.headers)
})

t.test('what FastAPI refuses is mended on its way', async (t) => {
  const server = await oauthServer(t)
  for (const { what, endpoint, grant = '', status, body, mended } of refusals) {
    server.at(`/oauth/${endpoint}`, (response) => answer(response, body, { status }))
    const sent = grant === '' ? 'x=1' : `x=1&grant_type=${grant}`
    const got = await serve(posting(`/${endpoint}`, sent), endpointsAt(server.url))
    t.match(
      { status: got.status, error: errorIn(got) },
      {
        status: mended.status,
        error: mended.error,
      },
      what,
    )
    t.match(got.headers, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  }
})

t.test('a client that used Basic is told so again with 401 (RFC 6749, section 5.2)', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', (response) =>
    answer(response, '{"error":"invalid_client"}', {
      status: 401,
      headers: { 'www-authenticate': 'Basic realm="backend.internal"' },
    }),
  )
  const basic = posting('/token', '', { authorization: 'Basic YTpi' })
  const got = await serve(basic, endpointsAt(server.url))
  t.match(got, { status: 401, headers: { 'www-authenticate': 'Basic realm="token"' } })
  const without = await serve(posting('/token', ''), endpointsAt(server.url))
  t.equal(without.headers['www-authenticate'], undefined)
})

t.test('a redirect of a POST is neither followed nor passed on', async (t) => {
  const server = await oauthServer(t)
  for (const status of [301, 302, 303, 307, 308]) {
    server.at('/oauth/token', redirectTo(`${server.url}/oauth/token/`, status))
    const got = await serve(posting('/token', 'code=x'), endpointsAt(server.url))
    t.equal(got.status, 502)
    t.equal(errorIn(got), 'server_error')
    t.notOk('location' in got.headers)
  }
  t.same(new Set(server.seen.map(({ path }) => path)), new Set(['/oauth/token']))
})

t.test('a page is no token', async (t) => {
  const server = await oauthServer(t)
  for (const status of [200, 400, 404, 500]) {
    server.at('/oauth/token', html(status))
    const got = await serve(posting('/token', ''), endpointsAt(server.url))
    t.equal(got.status, 502)
    t.equal(errorIn(got), 'server_error')
    t.notMatch(got.body, 'An app')
  }
})

t.test('a server that is not there is 503 with a time to come back', async (t) => {
  const gone = endpointsAt(`http://127.0.0.1:${await freePort()}`)
  const server = await oauthServer(t)
  server.at('/oauth/token', (response) => response.destroy())
  server.at('/oauth/register', html(502))
  for (const [path, endpoints] of [
    ['/token', gone],
    ['/token', endpointsAt(server.url)],
    ['/register', endpointsAt(server.url)],
    ['/token', undefined],
    ['/authorize', undefined],
  ] as const) {
    const asked = path === '/authorize' ? asking('GET', path) : posting(path, 'x')
    const got = await serve(asked, endpoints)
    t.match(got, { status: 503, headers: { 'retry-after': '5' } })
    t.equal(errorIn(got), 'temporarily_unavailable')
  }
})

t.test('the server’s own time to come back is passed on', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', (response) =>
    answer(response, '{}', { status: 429, headers: { 'retry-after': '60' } }),
  )
  const got = await serve(posting('/token', ''), endpointsAt(server.url))
  t.match(got, { status: 429, headers: { 'retry-after': '60' } })
})

t.test('a slow server has ten seconds for the whole of its answer', async (t) => {
  const server = await oauthServer(t)
  const beginning = (response: { write(text: string): boolean }): void =>
    void response.write('{"access_token":')
  for (const reply of [silence, beginning]) {
    const clock = manualClock()
    server.at('/oauth/token', reply)
    const before = server.seen.length
    const asked = posting('/token', 'code=x')
    const got = serveShim(asked, endpointsAt(server.url), shimDefaults, { clock })
    let over = false
    void got.then(() => (over = true))
    await waitFor(() => server.seen.length > before)
    t.same(clock.due, [10_000], 'the time of the body is called off')
    clock.advance(9_999)
    t.notOk(server.seen.at(-1)?.closed)
    t.notOk(over)
    clock.advance(1)
    t.match(await got, { status: 504, headers: { 'retry-after': '5' } })
    t.equal(errorIn(await got), 'temporarily_unavailable')
    await waitFor(() => server.seen.at(-1)?.closed)
    t.equal(clock.waiting, 0)
  }
})

t.test('a huge answer is cut off', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', (response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(16_384)));
    }
    response.on('drain', more)
    more()
  })
  const got = await serve(posting('/token', ''), endpointsAt(server.url))
  t.equal(got.status, 502)
  t.match(JSON.parse(got.body), { error: 'server_error', error_description: /65536/ })
  await waitFor(() => server.seen[0]?.closed)
})

t.test('a body may have 64 KiB, and nothing of a larger one is sent on', async (t) => {
  const server = await oauthServer(t)
  server.at('/oauth/token', json(JSON.parse(issued)))
  const whole = await serve(posting('/token', 'x'.repeat(65_536)), endpointsAt(server.url))
  t.equal(whole.status, 200)
  t.equal(server.seen.length, 1)
  let pulled = 0
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    for (;;) {
      pulled++
      yield Buffer.alloc(16_384)
    }
  }
  for (const request of [
    posting('/token', 'x'.repeat(65_537)),
    asking('POST', '/token', { body: endless() }),
    posting('/token', 'short', { 'content-length': '65537' }),
  ]) {
    const got = await serve(request, endpointsAt(server.url))
    t.match(got, { status: 413, headers: { connection: 'close' } })
    t.equal(errorIn(got), 'invalid_request')
  }
  t.equal(pulled, 5)
  t.equal(server.seen.length, 1)
})

t.test('a body that stalls or breaks is given up, and nothing is sent on', async (t) => {
  const server = await oauthServer(t)
  const clock = manualClock()
  const stalled = new PassThrough()
  stalled.write('grant_type=')
  const asked = asking('POST', '/token', { body: stalled })
  const got = serveShim(asked, endpointsAt(server.url), shimDefaults, { clock })
  clock.advance(10_000)
  t.match(await got, { status: 408, headers: { connection: 'close' } })
  t.equal(clock.waiting, 0)
  const broken = new PassThrough()
  broken.destroy(new Error('gone'))
  t.match(await serve(asking('POST', '/token', { body: broken }), endpointsAt(server.url)), {
    status: 400,
  })
  t.equal(server.seen.length, 0)
})

t.test('pages of any origin may ask, and are told so beforehand', async (t) => {
  for (const path of ['/token', '/register', '/revoke']) {
    const got = await serve(asking('OPTIONS', path), undefined)
    t.match(got, {
      status: 204,
      body: '',
      headers: {
        'access-control-allow-origin': '*',
        'access-control-allow-methods': 'POST, OPTIONS',
        'access-control-allow-headers': /Authorization, Content-Type/,
      },
    })
    t.notOk('access-control-allow-credentials' in got.headers)
  }
  const page = await serve(asking('OPTIONS', '/authorize'), undefined)
  t.strictSame(page, { status: 204, headers: { allow: 'GET, HEAD, OPTIONS' }, body: '' })
})

t.test('another method is 405, another path and a missing endpoint 404, all in JSON', async (t) => {
  const none = { ...nowhere, registration: undefined, revocation: undefined }
  for (const [method, path, status, allow] of [
    ['POST', '/authorize', 405, 'GET, HEAD, OPTIONS'],
    ['GET', '/token', 405, 'POST, OPTIONS'],
    ['HEAD', '/register', 405, 'POST, OPTIONS'],
    ['DELETE', '/revoke', 405, 'POST, OPTIONS'],
    ['POST', '/register', 404, undefined],
    ['POST', '/revoke', 404, undefined],
    ['POST', '/token/', 404, undefined],
    ['GET', '/constructor', 404, undefined],
  ] as const) {
    const got = await serve(asking(method, path), none)
    t.equal(got.status, status, `${method} ${path}`)
    t.equal(got.headers['allow'], allow)
    t.equal(errorIn(got), 'invalid_request')
  }
})

t.test('resource is mapped in query and form where that is asked for, else nowhere', async (t) => {
  const server = await oauthServer(t)
  const mapping = {
    mapResource: (text: string) =>
      mapResource(text, 'https://mcp.example.com/mcp', 'https://backend.example.com/mcp'),
  }
  const text = 'code=\xc3\xa9%zz&resource=https%3A%2F%2Fmcp.example.com%2Fmcp'
  const mapped = text.replace('mcp.example', 'backend.example')
  const browsed = asking('GET', '/authorize', { query: text.slice(11) })
  t.match((await serve(browsed, nowhere, mapping)).headers, { location: /\?resource=.*backend/ })
  t.match((await serve(browsed, nowhere)).headers, { location: /\?resource=.*mcp\.example/ })
  const raw = (body: string): string => Buffer.from(body, 'latin1').toString()
  await serve(posting('/token', text), endpointsAt(server.url), mapping)
  t.equal(server.seen.at(-1)?.body, raw(mapped))
  t.equal(server.seen.at(-1)?.headers['content-length'], String(mapped.length))
  await serve(posting('/token', text), endpointsAt(server.url))
  t.equal(server.seen.at(-1)?.body, raw(text))
  const other = posting('/token', text, { 'content-type': 'application/json' })
  await serve(other, endpointsAt(server.url), mapping)
  t.equal(server.seen.at(-1)?.body, raw(text))
})

/** A bridge with nothing but the facade and the shims. */
const bridge = async (t: Test, server: OauthServer): Promise<string> => {
  const backendUrl = new URL(`${server.url}/mcp`)
  const clock = systemClock
  const found = createAuthorizationServer({ ...discoveryDefaults, backendUrl }, { clock })
  t.teardown(() => found.close())
  await found.ready()
  const front = await listen((incoming, response) => {
    const [path = '', query = ''] = (incoming.url ?? '').split('?')
    const current = found.current()
    if (path === '/.well-known/oauth-authorization-server' && current.ok) {
      return answer(response, JSON.stringify(facadeDocument(current.metadata, front.url)))
    }
    const { method = '', headers } = incoming
    const asked = { method, path, query, headers, body: incoming }
    void serveShim(asked, endpointsOf(current, backendUrl), shimDefaults, { clock }).then((got) => {
      response.writeHead(got.status, got.headers)
      response.end(got.body)
    })
  })
  t.teardown(() => front.close())
  return front.url
}

const redirectUri = 'http://127.0.0.1:1/callback'
const clientMetadata = { redirect_uris: [redirectUri], token_endpoint_auth_method: 'none' }

for (const [name, sdk] of [
  ['1', v1],
  ['2', v2],
] as const) {
  t.test(`SDK ${name} registers, logs in and refreshes by the facade alone`, async (t) => {
    const server = await oauthServer(t)
    const url = await bridge(t, server)
    const metadata = await sdk.discoverAuthorizationServerMetadata(url)
    t.equal(metadata?.issuer, url)
    const known = { metadata: metadata as never }
    const client = await sdk.registerClient(url, { ...known, clientMetadata })
    const { authorizationUrl, codeVerifier } = await sdk.startAuthorization(url, {
      ...known,
      clientInformation: client,
      redirectUrl: redirectUri,
      state: 'a b',
      resource: new URL(`${url}/mcp`),
    })
    t.equal(authorizationUrl.origin, url)
    const sent = await fetchRaw(authorizationUrl.href)
    t.equal(sent.status, 302)
    t.equal(new URL(sent.headers.location ?? '').search, authorizationUrl.search)
    const back = new URL((await fetchRaw(sent.headers.location ?? '')).headers.location ?? '')
    t.equal(back.searchParams.get('state'), 'a b')
    const asked = {
      ...known,
      clientInformation: client,
      authorizationCode: back.searchParams.get('code') ?? '',
      codeVerifier,
      redirectUri,
    }
    const tokens = await sdk.exchangeAuthorization(url, asked)
    t.match(tokens, { access_token: 'access-1', refresh_token: 'refresh-1' })
    const refreshed = { ...known, clientInformation: client, refreshToken: 'refresh-1' }
    t.match(await sdk.refreshAuthorization(url, refreshed), { access_token: 'access-1' })
    await t.rejects(sdk.exchangeAuthorization(url, asked), { name: /Error/ }, 'a code serves once')
  })

  t.test(`SDK ${name} understands what FastAPI meant`, async (t) => {
    const server = await oauthServer(t)
    const url = await bridge(t, server)
    server.at('/oauth/token', json({ detail: 'Invalid authorization code' }, 400))
    const clientInformation = { client_id: 'x', redirect_uris: [] }
    const failure = await sdk
      .refreshAuthorization(url, { clientInformation, refreshToken: 'r' })
      .then(
        () => undefined,
        (error: { errorCode?: string; code?: string }) => error,
      )
    t.equal(failure?.errorCode ?? failure?.code, 'invalid_grant')
  })
}

t.test('a client that knows no metadata finds the default paths (2025-03-26)', async (t) => {
  const server = await oauthServer(t)
  const url = await bridge(t, server)
  const client = await v1.registerClient(url, { clientMetadata })
  const verifier = randomBytes(32).toString('base64url')
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: redirectUri,
    state: 's',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  const sent = await fetchRaw(`${url}/authorize?${query}`)
  const back = new URL((await fetchRaw(sent.headers.location ?? '')).headers.location ?? '')
  const grant = new URLSearchParams({
    grant_type: 'authorization_code',
    code: back.searchParams.get('code') ?? '',
    client_id: client.client_id,
    code_verifier: verifier,
  })
  const got = await fetchRaw(`${url}/token`, {
    method: 'POST',
    headers: { 'content-type': form },
    body: String(grant),
  })
  t.match(JSON.parse(got.body), { access_token: 'access-1' })
})

t.test('a browser sees the server’s own iss, untouched', async (t) => {
  const server = await oauthServer(t, { iss: true })
  const url = await bridge(t, server)
  const query = `client_id=x&redirect_uri=${encodeURIComponent(redirectUri)}&state=s`
  const sent = await fetchRaw(`${url}/authorize?${query}`)
  const back = new URL((await fetchRaw(sent.headers.location ?? '')).headers.location ?? '')
  t.equal(back.searchParams.get('iss'), server.issuer)
})

t.test('a backend without metadata is asked at the default paths', async (t) => {
  const server = await oauthServer(t, { protectedResource: false })
  server.at('/token', json(JSON.parse(issued)))
  const endpoints = endpointsOf(trouble('not-found', ''), new URL(`${server.url}/mcp`))
  t.equal((await serve(posting('/token', ''), endpoints)).body, issued)
})
