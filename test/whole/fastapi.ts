// `auth: relay` in front of a real FastAPI application that nobody has made ready for it: what it answers by itself no client
// would begin to log in on; through the proxy an official client logs in and calls a tool.
import { hash } from 'node:crypto'
import {
  Client,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client'
import type {
  OAuthClientProvider,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from '@modelcontextprotocol/client'
import t from 'tap'
import type { Test } from 'tap'
import { identity, textOf } from '../fixtures/clients.ts'
import { startFastapi } from '../fixtures/fastapi.ts'
import { freePort } from '../fixtures/free-port.ts'
import { fetchRaw, postJson } from '../fixtures/http.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'whoami' } }
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

async function setUp(t: Test, { dialect = 'rpc', auth = {} as Record<string, unknown> } = {}) {
  const backend = await startFastapi(t)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const proxy = await startProxy({
    config: { publicUrl: url, listen: { host: '127.0.0.1', port } },
    routes: [
      {
        name: 'app',
        path: '/mcp',
        backend: { url: `${backend}/mcp`, dialect },
        auth: { type: 'relay', ...auth },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  const leads = async (): Promise<boolean> => (await fetchRaw(`${url}/authorize`)).status === 302
  await waitFor(leads, { what: 'the look at the authorization server', timeout: 20_000 })
  const challenge = `Bearer resource_metadata="${url}/.well-known/oauth-protected-resource/mcp"`
  return { backend, url, challenge }
}

const postForm = (url: string, fields: Readonly<Record<string, string>>) =>
  fetchRaw(url, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(fields).toString(),
  })

/** A browser without a user, and the memory of a client. */
function browsing() {
  const redirectUrl = 'http://127.0.0.1:9/callback'
  let client: StoredOAuthClientInformation | undefined
  let tokens: StoredOAuthTokens | undefined
  let verifier = ''
  let callback = new URLSearchParams()
  const provider: OAuthClientProvider = {
    redirectUrl,
    clientMetadata: {
      client_name: identity.name,
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    state: () => 'a-state',
    clientInformation: () => client,
    saveClientInformation: (value) => void (client = value),
    tokens: () => tokens,
    saveTokens: (value) => void (tokens = value),
    saveCodeVerifier: (value) => void (verifier = value),
    codeVerifier: () => verifier,
    async redirectToAuthorization(url) {
      const { headers } = await fetchRaw(url.href)
      callback = new URL(String(headers.location)).searchParams
    },
  }
  return { provider, callback: () => callback, clientId: () => client?.client_id }
}

t.setTimeout(180_000)

t.test('what the application answers by itself', async (t) => {
  const url = await startFastapi(t)
  const refused = await postJson(`${url}/mcp`, call)
  t.equal(refused.status, 403)
  t.notOk(refused.headers['www-authenticate'])
  t.equal((await fetchRaw(`${url}/mcp`)).status, 405)
  t.equal((await fetchRaw(`${url}/mcp`, { method: 'HEAD' })).status, 405)
  const refresh = { grant_type: 'refresh_token', refresh_token: 'x', client_id: 'c' }
  t.equal((await postForm(`${url}/token`, refresh)).status, 422)
})

for (const dialect of ['rpc', 'auto']) {
  for (const optional of [false, true]) {
    const how = `${dialect}, ${optional ? 'asked without a token too' : 'asked with a token only'}`
    t.test(`an official client logs in and calls a tool: ${how}`, async (t) => {
      const { url } = await setUp(t, { dialect, auth: { optional } })
      const { provider, callback, clientId } = browsing()
      const connect = async (transport: StreamableHTTPClientTransport): Promise<Client> => {
        const client = new Client(identity, {
          capabilities: {},
          versionNegotiation: { mode: 'legacy' },
        })
        await client.connect(transport)
        return client
      }
      const open = () =>
        new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { authProvider: provider })
      const first = open()
      await t.rejects(connect(first), UnauthorizedError)
      await first.finishAuth(callback())
      const client = await connect(open())
      t.teardown(() => client.close())
      const { tools } = await client.listTools()
      t.equal(tools[0]?.name, 'whoami')
      const result = await client.callTool({ name: 'whoami', arguments: {} })
      t.match(clientId(), /^client-/)
      t.equal(textOf(result), clientId(), 'as the user whom the application knows')
    })
  }
}

t.test('a refusal is a challenge that a client begins to log in on', async (t) => {
  for (const optional of [false, true]) {
    const { url, challenge } = await setUp(t, { auth: { optional } })
    const refused = await postJson(`${url}/mcp`, call)
    t.match(refused, { status: 401, headers: { 'www-authenticate': challenge } })
    const bad = await postJson(`${url}/mcp`, call, { headers: bearer('bad') })
    t.equal(bad.status, 401)
    t.equal(bad.headers['www-authenticate'], `${challenge}, error="invalid_token"`)
    // Where a token is optional, a GET opens a stream, which is ours: the application has none.
    for (const method of optional ? [] : ['GET', 'HEAD', 'DELETE']) {
      const answer = await fetchRaw(`${url}/mcp`, { method })
      t.match(answer, { status: 401, headers: { 'www-authenticate': challenge } }, method)
    }
  }
})

t.test('a client that invents the endpoints at our root logs in there', async (t) => {
  const { url, backend } = await setUp(t)
  const redirectUri = 'http://127.0.0.1:9/callback'
  const registered = await postJson(`${url}/register`, { redirect_uris: [redirectUri] })
  t.equal(registered.status, 201)
  const { client_id: clientId } = JSON.parse(registered.body) as { client_id: string }

  const verifier = 'v'.repeat(43)
  const asked = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    state: 'a b',
    code_challenge: hash('sha256', verifier, 'base64url'),
    code_challenge_method: 'S256',
  })
  const sent = await fetchRaw(`${url}/authorize?${asked}`)
  t.match(sent, { status: 302, headers: { location: `${backend}/authorize?${asked}` } })
  const back = await fetchRaw(String(sent.headers.location))
  const code = new URL(String(back.headers.location)).searchParams.get('code') ?? ''

  const fields = { client_id: clientId, code, code_verifier: verifier }
  const wrong = { ...fields, grant_type: 'authorization_code', code: 'another' }
  const refused = await postForm(`${url}/token`, wrong)
  t.equal(refused.status, 400)
  t.match(JSON.parse(refused.body), { error: 'invalid_grant' })

  const issued = await postForm(`${url}/token`, { ...fields, grant_type: 'authorization_code' })
  t.equal(issued.status, 200)
  const { access_token: token } = JSON.parse(issued.body) as { access_token: string }
  const called = await postJson(`${url}/mcp`, call, { headers: bearer(token) })
  t.equal(called.status, 200)
  t.match(JSON.parse(called.body), { id: 1, result: { content: [{ text: clientId }] } })

  const refresh = { grant_type: 'refresh_token', refresh_token: 'x', client_id: clientId }
  const refreshed = await postForm(`${url}/token`, refresh)
  t.equal(refreshed.status, 400)
  t.match(JSON.parse(refreshed.body), {
    error: 'unsupported_grant_type',
    error_description: /code: field required/i,
  })
  t.equal((await postForm(`${url}/revoke`, { token })).status, 404, 'it has nothing to revoke with')
})
