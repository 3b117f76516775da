import t from 'tap'
import { OAuth2Server } from 'oauth2-mock-server'
import type { Test } from 'tap'
import { request } from 'undici'
import {
  ask,
  createAuthorizationServer,
  discoveryDefaults,
} from '../../src/auth/authorization-server.ts'
import type {
  AuthorizationServer,
  AuthorizationServerOptions,
  HttpRequest,
} from '../../src/auth/authorization-server.ts'
import type { Discovery } from '../../src/auth/facade.ts'
import { systemClock } from '../../src/clock.ts'
import { freePort } from '../fixtures/free-port.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import type { ManualClock } from '../fixtures/manual-clock.ts'
import { html, json, oauthServer, redirectTo, silence } from '../fixtures/oauth-server.ts'
import type { OauthServer } from '../fixtures/oauth-server.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Found extends AuthorizationServer {
  readonly clock: ManualClock
  readonly looks: Discovery[]
}

/** Looks at `backendUrl`, with a clock that stands. */
const finder = (
  t: Test,
  backendUrl: string,
  options: Partial<AuthorizationServerOptions> = {},
  http?: HttpRequest,
): Found => {
  const clock = manualClock()
  const looks: Discovery[] = []
  const server = createAuthorizationServer(
    { ...discoveryDefaults, backendUrl: new URL(backendUrl), ...options },
    { clock, onLook: (found) => looks.push(found), ...(http && { request: http }) },
  )
  t.teardown(() => server.close())
  return { ...server, clock, looks }
}

const paths = (server: OauthServer): string[] => server.seen.map(({ path }) => path)

const prm = '/.well-known/oauth-protected-resource'
const rfc8414 = '/.well-known/oauth-authorization-server'
const oidc = '/.well-known/openid-configuration'

/** Leads requests for a public name to a server on loopback. */
const leading =
  (from: string, to: string): HttpRequest =>
  (url, options) =>
    request(String(url).replace(from, to), options)

t.test('the backend’s own metadata says which server it is', async (t) => {
  const server = await oauthServer(t, { path: '/realms/one' })
  const found = finder(t, `${server.url}/mcp`)
  t.match(found.current(), { ok: false, fault: 'pending' })
  t.match(await found.ready(), {
    ok: true,
    trouble: undefined,
    metadata: {
      issuer: server.issuer,
      emitsIss: false,
      endpoints: { token: `${server.issuer}/oauth/token` },
    },
  })
  t.same(paths(server), [`${prm}/mcp`, `${rfc8414}/realms/one`])
  t.equal(server.seen[0]?.headers['authorization'], undefined)
  t.same(found.looks, [found.current()])
})

t.test(
  'what the backend tells clients to ask for is kept, as far as it can be asked for',
  async (t) => {
    const server = await oauthServer(t, { path: '/as', protectedResource: false })
    const say = (scopes_supported: unknown) =>
      server.at(prm, json({ authorization_servers: [server.issuer], scopes_supported }))
    say(['mcp:use', 7, 'a b', '', 'say "x"', 'mcp:admin'])
    const found = finder(t, `${server.url}/mcp`)
    t.same(found.scopes(), [])
    await found.ready()
    t.same(found.scopes(), ['mcp:use', 'mcp:admin'])
    say('mcp:use')
    await found.look()
    t.same(found.scopes(), [])
  },
)

t.test('a server that sends iss is known as such (RFC 9207)', async (t) => {
  const server = await oauthServer(t, { iss: true })
  t.match(await finder(t, `${server.url}/mcp`).ready(), { metadata: { emitsIss: true } })
})

t.test('protected resource metadata at the root counts where the path has none', async (t) => {
  const server = await oauthServer(t, { path: '/as', protectedResource: false })
  server.at(prm, json({ authorization_servers: [server.issuer] }))
  t.match(await finder(t, `${server.url}/a/mcp/`).ready(), { metadata: { issuer: server.issuer } })
  t.same(paths(server), [`${prm}/a/mcp`, prm, `${rfc8414}/as`])
})

t.test('without any, the backend’s origin is the issuer, in either spelling', async (t) => {
  for (const slash of ['', '/']) {
    const server = await oauthServer(t, { protectedResource: false })
    server.metadata['issuer'] = server.url + slash
    t.match(await finder(t, `${server.url}/mcp`).ready(), {
      ok: true,
      metadata: { issuer: server.url + slash },
    })
    t.same(paths(server), [`${prm}/mcp`, prm, rfc8414])
  }
})

t.test('useless protected resource metadata is as good as none', async (t) => {
  for (const reply of [
    html(),
    html(403),
    html(500),
    json({ resource: 'x' }),
    json({ authorization_servers: [] }),
    json({ authorization_servers: [7] }),
    json([]),
    redirectTo('https://elsewhere.example.com/'),
  ]) {
    const server = await oauthServer(t)
    server.at(`${prm}/mcp`, reply)
    t.match(await finder(t, `${server.url}/mcp`).ready(), { metadata: { issuer: server.url } })
  }
})

t.test('the OpenID forms are asked next, the appended one last', async (t) => {
  const server = await oauthServer(t, { path: '/realms/one' })
  server.at(`${rfc8414}/realms/one`, undefined)
  server.at(`/realms/one${oidc}`, json(server.metadata))
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: true })
  t.same(paths(server).slice(1), [
    `${rfc8414}/realms/one`,
    `${oidc}/realms/one`,
    `/realms/one${oidc}`,
  ])
})

t.test(
  'a form that is a page, a crash or of another issuer does not hide the next one',
  async (t) => {
    for (const reply of [
      html(),
      html(500),
      redirectTo('/elsewhere'),
      json({ issuer: 'https://other.example.com' }),
    ]) {
      const server = await oauthServer(t)
      server.at(rfc8414, reply)
      server.at(oidc, json(server.metadata))
      t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: true })
    }
  },
)

t.test('what is wrong is named', async (t) => {
  const cases = {
    'not-found': undefined,
    invalid: html(),
    redirected: redirectTo('/moved'),
    'issuer-mismatch': json({ issuer: 'http://localhost:8000' }),
  } as const
  for (const [fault, reply] of Object.entries(cases)) {
    const server = await oauthServer(t)
    server.at(rfc8414, reply)
    const found = await finder(t, `${server.url}/mcp`).ready()
    t.match(found, { ok: false, fault, reason: server.issuer }, fault)
    t.equal(server.seen.at(-1)?.path, oidc)
  }
  const crashed = await oauthServer(t)
  crashed.at(rfc8414, html(500))
  t.match(await finder(t, `${crashed.url}/mcp`).ready(), { fault: 'invalid', reason: /500/ })
})

t.test('a server that is asleep or overrun is unreachable, whoever says so', async (t) => {
  for (const status of [408, 429, 502, 503, 504]) {
    for (const path of [`${prm}/mcp`, rfc8414]) {
      const server = await oauthServer(t)
      server.at(path, html(status))
      t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault: 'unreachable' })
      t.equal(server.seen.at(-1)?.path, path)
    }
  }
})

t.test('a redirect is not followed', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, redirectTo('/moved'))
  server.at('/moved', json(server.metadata))
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault: 'redirected' })
  t.notOk(paths(server).includes('/moved'))
})

t.test('a server that is not there is unreachable, and no further place is asked', async (t) => {
  const port = await freePort()
  t.match(await finder(t, `http://127.0.0.1:${port}/mcp`).ready(), {
    ok: false,
    fault: 'unreachable',
    reason: /oauth-protected-resource\/mcp gave no answer \(ECONNREFUSED\)/,
  })
  const server = await oauthServer(t)
  server.at(rfc8414, (response) => response.destroy())
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault: 'unreachable' })
  t.notOk(paths(server).includes(oidc))
})

t.test('a slow server has its time, and not more', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, (response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{')
  })
  const found = finder(t, `${server.url}/mcp`, { timeout: 10_000 })
  await waitFor(() => server.seen.length === 2)
  found.clock.advance(9_999)
  t.match(found.current(), { fault: 'pending' })
  found.clock.advance(1)
  t.match(await found.ready(), { ok: false, fault: 'unreachable', reason: /over 10000 ms/ })
  await waitFor(() => server.seen[1]?.closed)
})

t.test('a silent backend is not taken for one without metadata', async (t) => {
  const server = await oauthServer(t)
  server.at(`${prm}/mcp`, silence)
  const found = finder(t, `${server.url}/mcp`)
  await waitFor(() => server.seen.length === 1)
  found.clock.advance(discoveryDefaults.timeout)
  t.match(await found.ready(), { ok: false, fault: 'unreachable' })
  t.equal(server.seen.length, 1)
})

t.test('a document is read up to its limit', async (t) => {
  const server = await oauthServer(t)
  const size = (): number => JSON.stringify(server.metadata).length
  server.metadata['padding'] = ''
  server.metadata['padding'] = 'x'.repeat(4_096 - size())
  t.equal(size(), 4_096)
  const limited = { maxDocument: 4_096 }
  t.match(await finder(t, `${server.url}/mcp`, limited).ready(), { ok: true })
  server.metadata['padding'] += 'x'
  t.match(await finder(t, `${server.url}/mcp`, limited).ready(), {
    ok: false,
    fault: 'invalid',
    reason: /larger than 4096 bytes/,
  })
})

t.test('a document without an end is cut off', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, (response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(' '.repeat(16_384)));
    }
    response.on('drain', more)
    more()
  })
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault: 'invalid' })
  await waitFor(() => server.seen[1]?.closed)
})

t.test('a byte order mark does not matter', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, (response) => void response.end(`\uFEFF${JSON.stringify(server.metadata)}`))
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: true })
})

t.test('a named issuer counts byte for byte, and the backend is not asked for it', async (t) => {
  const server = await oauthServer(t)
  const exact = finder(t, `${server.url}/mcp`, { issuer: server.url })
  t.match(await exact.ready(), { ok: true })
  t.same(paths(server), [rfc8414])
  const slash = finder(t, `${server.url}/mcp`, { issuer: `${server.url}/` })
  t.match(await slash.ready(), { ok: false, fault: 'issuer-mismatch' })
})

t.test('a slash makes another issuer where there is a path', async (t) => {
  const server = await oauthServer(t, { path: '/as' })
  server.metadata['issuer'] = `${server.issuer}/`
  t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault: 'issuer-mismatch' })
})

t.test(
  'an issuer that is no URL of a server is refused before anything is sent to it',
  async (t) => {
    for (const [issuer, fault] of [
      ['as.example.com', 'invalid'],
      ['file:///etc/passwd', 'invalid'],
      ['https://as.example.com/?x', 'invalid'],
      ['https://as.example.com/#x', 'invalid'],
      ['https://user@as.example.com', 'invalid'],
    ] as const) {
      const server = await oauthServer(t)
      server.at(`${prm}/mcp`, json({ authorization_servers: [issuer] }))
      t.match(await finder(t, `${server.url}/mcp`).ready(), { ok: false, fault }, issuer)
      t.equal(server.seen.length, 1)
    }
  },
)

t.test('behind https everything is https', async (t) => {
  const server = await oauthServer(t)
  const backend = 'https://backend.example.com'
  const http = leading(backend, server.url)
  t.match(await finder(t, `${backend}/mcp`, {}, http).ready(), { ok: false, fault: 'insecure' })
  t.same(paths(server), [`${prm}/mcp`])
  server.at(`${prm}/mcp`, undefined)
  Object.assign(server.metadata, {
    issuer: backend,
    authorization_endpoint: `${backend}/authorize`,
    token_endpoint: `${backend}/token`,
    registration_endpoint: `${backend}/register`,
    revocation_endpoint: `http://backend.example.com/revoke`,
  })
  t.match(await finder(t, `${backend}/mcp`, {}, http).ready(), {
    ok: false,
    fault: 'insecure',
    reason: /revocation_endpoint/,
  })
  server.metadata['revocation_endpoint'] = `${backend}/revoke`
  t.match(await finder(t, `${backend}/mcp`, {}, http).ready(), { metadata: { issuer: backend } })
})

t.test('it looks again after its time, and a change counts', async (t) => {
  const server = await oauthServer(t)
  const found = finder(t, `${server.url}/mcp`, { refresh: 600_000 })
  await found.ready()
  t.same(found.clock.due, [600_000])
  server.metadata['token_endpoint'] = `${server.url}/token2`
  found.clock.advance(600_000)
  await waitFor(() => found.looks.length === 2)
  t.match(found.current(), { metadata: { endpoints: { token: `${server.url}/token2` } } })
  t.same(found.clock.due, [600_000])
})

t.test('the last good answer is kept through any trouble, which is told', async (t) => {
  for (const reply of [
    undefined,
    html(),
    html(500),
    json({ issuer: 'https://evil.example.com' }),
    redirectTo('/moved'),
  ]) {
    const server = await oauthServer(t)
    const found = finder(t, `${server.url}/mcp`)
    await found.ready()
    server.at(rfc8414, reply)
    t.match(await found.look(), {
      ok: true,
      metadata: { issuer: server.issuer },
      trouble: { ok: false, fault: String },
    })
    server.at(rfc8414, json(server.metadata))
    t.match(await found.look(), { ok: true, trouble: undefined })
  }
})

t.test('after a failure it looks sooner, then less and less often', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, html(502))
  const found = finder(t, `${server.url}/mcp`, { retry: 5_000, refresh: 30_000 })
  await found.ready()
  for (const [look, due] of [5_000, 10_000, 20_000, 30_000, 30_000].entries()) {
    t.same(found.clock.due, [due])
    found.clock.advance(due)
    await waitFor(() => found.looks.length === look + 2)
  }
  server.at(rfc8414, json(server.metadata))
  t.match(await found.look(), { ok: true })
  server.at(rfc8414, html(502))
  await found.look()
  t.same(found.clock.due, [5_000], 'a success ends the row of failures')
})

t.test('looks at the same time are one', async (t) => {
  const server = await oauthServer(t)
  const found = finder(t, `${server.url}/mcp`)
  const both = await Promise.all([found.ready(), found.look(), found.look()])
  t.equal(new Set(both).size, 1)
  t.equal(server.seen.length, 2)
})

t.test('after closing there are no more looks, and the one under way ends', async (t) => {
  const server = await oauthServer(t)
  server.at(rfc8414, silence)
  const found = finder(t, `${server.url}/mcp`)
  await waitFor(() => server.seen.length === 2)
  found.close()
  found.close()
  t.match(await found.ready(), { fault: 'pending' })
  await waitFor(() => server.seen[1]?.closed)
  t.same(found.looks, [])
  t.equal(found.clock.waiting, 0)
  await found.look()
  t.equal(server.seen.length, 2)
  t.equal(found.clock.waiting, 0)
  const quiet = finder(t, `${(await oauthServer(t)).url}/mcp`)
  await quiet.ready()
  quiet.close()
  t.equal(quiet.clock.waiting, 0)
})

t.test('a server of another make is found', async (t) => {
  const other = new OAuth2Server()
  await other.issuer.keys.generate('RS256')
  await other.start(0, '127.0.0.1')
  t.teardown(() => other.stop())
  const issuer = other.issuer.url ?? ''
  const backend = await oauthServer(t)
  backend.at(`${prm}/mcp`, json({ authorization_servers: [issuer] }))
  t.match(await finder(t, `${backend.url}/mcp`).ready(), {
    ok: true,
    metadata: { issuer, endpoints: { token: `${issuer}/token`, registration: undefined } },
  })
})

t.test('the time limit of a request is called off with its answer', async (t) => {
  const server = await oauthServer(t)
  const clock = manualClock()
  const limits = { timeout: 1_000, maxBytes: 65_536 }
  const got = await ask(
    `${server.url}${rfc8414}`,
    { method: 'GET', headers: {}, ...limits },
    { clock },
  )
  t.match(got, { ok: true, status: 200 })
  t.equal(clock.waiting, 0)
  const none = await ask(
    'nonsense',
    { method: 'GET', headers: {}, ...limits },
    { clock: systemClock },
  )
  t.match(none, { ok: false, fault: 'unreachable' })
})
