// `auth: relay` as its users have it: official clients find the authorization server of a backend that knows nothing of us,
// log in there, and their tokens are judged by the backend alone.
import { auth as authV2 } from '@modelcontextprotocol/client'
import { auth as authV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import t from 'tap'
import type { Test } from 'tap'
import { freePort } from '../fixtures/free-port.ts'
import { fetchRaw, postJson } from '../fixtures/http.ts'
import { listen, readText } from '../fixtures/listen.ts'
import { oauthServer } from '../fixtures/oauth-server.ts'
import { startProxy } from '../fixtures/proxy.ts'

const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'look' } }

/** An MCP server that lets `good` in and nobody else, and says so as it likes. */
async function startBackend(t: Test, good: () => readonly string[], refusal = 401) {
  const seen: (string | undefined)[] = []
  const server = await listen(async (request, response) => {
    const text = await readText(request)
    const { authorization } = request.headers
    seen.push(authorization)
    const token = authorization?.replace(/^Bearer /, '')
    if (token === undefined || !good().includes(token)) {
      response.writeHead(refusal, {
        'content-type': 'application/json',
        'www-authenticate': 'Bearer error="invalid_token", error_description="it is over"',
      })
      response.end('{"detail":"Not authenticated"}')
      return
    }
    if (text === '') return void response.writeHead(204).end()
    const { id, method } = JSON.parse(text) as { id?: number; method: string }
    if (id === undefined) return void response.writeHead(202).end()
    const result =
      method === 'initialize'
        ? {
            protocolVersion: '2025-06-18',
            capabilities: {},
            serverInfo: { name: 'b', version: '1' },
          }
        : { content: [{ type: 'text', text: 'seen' }] }
    response.writeHead(200, {
      'content-type': 'application/json',
      ...(method === 'initialize' && { 'mcp-session-id': 'of-the-backend' }),
    })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })
  t.teardown(() => server.close())
  return { url: `${server.url}/mcp`, seen }
}

async function setUp(
  t: Test,
  { good = ['good'], iss = false, refusal = 401, auth = {} as Record<string, unknown> } = {},
) {
  const as = await oauthServer(t, { iss })
  const backend = await startBackend(t, () => good, refusal)
  const port = await freePort()
  const publicUrl = `http://127.0.0.1:${port}`
  const proxy = await startProxy({
    config: { publicUrl, listen: { host: '127.0.0.1', port } },
    routes: [
      {
        name: 'shop',
        path: '/mcp',
        backend: { url: backend.url, dialect: 'streamable' },
        auth: { type: 'relay', authorizationServer: as.issuer, scopes: ['use'], ...auth },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  return { as, backend, proxy, url: `${proxy.url}/mcp` }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

t.test('without a token the backend is not asked', async (t) => {
  const { url, backend, proxy } = await setUp(t)
  for (const method of ['POST', 'GET', 'DELETE', 'HEAD']) {
    const answer = await fetchRaw(url, { method, ...(method === 'POST' && { body: '{}' }) })
    t.equal(answer.status, 401, method)
    t.equal(
      answer.headers['www-authenticate'],
      `Bearer resource_metadata="${proxy.url}/.well-known/oauth-protected-resource/mcp", scope="use"`,
    )
  }
  t.same(backend.seen, [])
})

t.test('what the backend says of a token is told as ours', async (t) => {
  const { url, proxy } = await setUp(t)
  t.equal((await postJson(url, call, { headers: bearer('good') })).status, 200)
  const bad = await postJson(url, call, { headers: bearer('bad') })
  t.equal(bad.status, 401)
  t.equal(
    bad.headers['www-authenticate'],
    `Bearer resource_metadata="${proxy.url}/.well-known/oauth-protected-resource/mcp", scope="use", error="invalid_token", error_description="it is over"`,
  )
})

t.test('403 with a token stays what it is', async (t) => {
  const { url } = await setUp(t, { refusal: 403 })
  t.equal((await postJson(url, call, { headers: bearer('bad') })).status, 403)
})

t.test('a session is nobody’s whose token the backend has not accepted', async (t) => {
  const jwt = (sub: string, signature: string): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    return `${part({ alg: 'HS256' })}.${part({ iss: 'https://as.example', sub })}.${signature}`
  }
  const ann = jwt('ann', 'right')
  const { url } = await setUp(t, { good: [ann, jwt('eve', 'right')] })
  const params = {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'c', version: '1' },
  }
  const opened = await postJson(
    url,
    { jsonrpc: '2.0', id: 0, method: 'initialize', params },
    { headers: bearer(ann) },
  )
  t.equal(opened.status, 200)
  const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const listenWith = (token: string) =>
    fetchRaw(url, {
      method: 'DELETE',
      headers: { ...session, ...bearer(token), accept: 'text/event-stream' },
    })
  t.equal((await listenWith(jwt('ann', 'forged'))).status, 401, 'claims are not believed')
  t.equal((await listenWith(jwt('eve', 'right'))).status, 404, 'nor does another user have it')
  t.equal((await listenWith(ann)).status, 204)
})

/** A browser of few words, and the place where an SDK keeps what it got. */
function provider() {
  const kept: Record<string, unknown> = {}
  let code: string | undefined
  const own = {
    redirectUrl: 'http://127.0.0.1:9/callback',
    clientMetadata: {
      client_name: 'test',
      redirect_uris: ['http://127.0.0.1:9/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    state: () => 'a-state',
    clientInformation: () => kept['client'],
    saveClientInformation: (value: unknown) => void (kept['client'] = value),
    tokens: () => kept['tokens'],
    saveTokens: (value: unknown) => void (kept['tokens'] = value),
    codeVerifier: () => kept['verifier'],
    saveCodeVerifier: (value: unknown) => void (kept['verifier'] = value),
    async redirectToAuthorization(url: URL) {
      const { headers } = await fetchRaw(url.href)
      kept['callback'] = new URL(String(headers.location))
      code = (kept['callback'] as URL).searchParams.get('code') ?? undefined
    },
  }
  return { own, kept, code: () => code }
}

for (const iss of [false, true]) {
  for (const [name, auth] of Object.entries({ 'first SDK': authV1, 'second SDK': authV2 })) {
    const how = iss ? 'that names itself' : 'that does not name itself'
    t.test(`${name} logs in at an authorization server ${how}`, async (t) => {
      const { url, as } = await setUp(t, { iss })
      const { own, kept, code } = provider()
      const login = auth as (given: unknown, options: object) => Promise<string>
      t.equal(await login(own, { serverUrl: url }), 'REDIRECT')
      t.ok(code())
      const callback = kept['callback'] as URL
      const authorizationCode = code()
      const named = callback.searchParams.get('iss') ?? undefined
      const options = {
        serverUrl: url,
        authorizationCode,
        ...(named !== undefined && { iss: named }),
      }
      t.equal(await login(own, options), 'AUTHORIZED')
      t.match(kept['tokens'], { access_token: String, refresh_token: String })
      t.ok(
        as.seen.some(({ path }) => path.includes('/authorize?') && path.includes('resource=')),
        'with the resource as it knows it',
      )
      t.equal(await login(own, { serverUrl: url }), 'AUTHORIZED', 'and refreshes')
    })
  }
}

t.test('clients that look for it at our root are led there', async (t) => {
  const { proxy, as } = await setUp(t)
  const query = 'client_id=x&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&state=a%20b'
  const sent = await fetchRaw(`${proxy.url}/authorize?${query}`)
  t.match(sent, {
    status: 302,
    headers: { location: `${as.url}/oauth/authorize?${query}`, 'cache-control': 'no-store' },
  })
  const registered = await postJson(`${proxy.url}/register`, {
    client_name: 'x',
    redirect_uris: ['http://127.0.0.1/cb'],
  })
  t.equal(registered.status, 201)
  t.match(JSON.parse(registered.body), { client_id: String })
  const facade = await fetchRaw(`${proxy.url}/.well-known/oauth-authorization-server`)
  t.match(JSON.parse(facade.body), {
    issuer: proxy.url,
    token_endpoint: `${proxy.url}/token`,
  })
})

t.test('who needs no token reaches an SSE server that is yet to be found out', async (t) => {
  let tell: (event: string) => void = () => {}
  const server = await listen(async (request, response) => {
    if (request.method === 'GET') {
      tell = (event) => void response.write(event)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      return tell('event: endpoint\ndata: /messages\n\n')
    }
    const text = await readText(request)
    response.writeHead(request.url === '/messages' ? 202 : 405).end()
    if (request.url !== '/messages') return
    const { id } = JSON.parse(text) as { id: number }
    const result = { protocolVersion: '2024-11-05', capabilities: {}, serverInfo: {} }
    tell(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`)
  })
  t.teardown(() => server.close())
  const proxy = await startProxy({
    config: { publicUrl: 'https://mcp.example.com' },
    routes: [
      {
        name: 'a',
        path: '/sse',
        backend: { url: `${server.url}/sse` },
        auth: { type: 'relay', authorizationServer: 'https://as.example.com', optional: true },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  const params = {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'c', version: '1' },
  }
  const answer = await postJson(`${proxy.url}/sse`, {
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params,
  })
  t.equal(answer.status, 200, 'its own 405 to a POST is no demand for a token')
})
