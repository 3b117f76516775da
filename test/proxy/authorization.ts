import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import type { Admission } from '../../src/auth/guard.ts'
import { createRateLimits } from '../../src/auth/rate-limits.ts'
import { createAuthorization } from '../../src/proxy/authorization.ts'
import { createRouter } from '../../src/proxy/router.ts'
import { configured } from '../fixtures/configured.ts'
import { stagedServices } from '../fixtures/conversing.ts'

/** An answer that is only looked at for its end. */
function answer() {
  let destroyed = false
  const events = new EventEmitter()
  const response = Object.assign(events, { destroy: () => void (destroyed = true) })
  return { response: response as unknown as ServerResponse, isOver: () => destroyed, events }
}

const backend = { url: 'http://127.0.0.1:1' }

function setUp(routes: readonly object[] = [{ name: 'a', path: '/a', backend }], more = {}) {
  const services = stagedServices()
  const config = configured({ ...more, routes })
  const limits = createRateLimits({})
  const route = createRouter(config.routes)
  const authorization = createAuthorization({ config, services, limits, route })
  return { services, config, authorization, route }
}

const until = (expires: number | undefined): Admission => ({
  principal: 'ann',
  client: undefined,
  expires,
  parameters: {},
  reads: false,
  permit() {},
  headers: async (inbound) => ({ ...inbound }),
})

t.test('an answer ends a minute after its credential', (t) => {
  const { services, authorization } = setUp()
  const { response, isOver } = answer()
  authorization.endWith(until(Date.now() + 10_000), response)
  services.clock.advance(60_000)
  t.equal(isOver(), false)
  services.clock.advance(11_000)
  t.equal(isOver(), true)
  t.end()
})

t.test('one that has ended by itself leaves no timer', (t) => {
  const { services, authorization } = setUp()
  const before = services.clock.due.length
  const { response, events } = answer()
  authorization.endWith(until(Date.now() + 10_000), response)
  t.equal(services.clock.due.length, before + 1)
  events.emit('close')
  t.equal(services.clock.due.length, before)
  t.end()
})

t.test('a credential without an end ends nothing', (t) => {
  const { services, authorization } = setUp()
  const before = services.clock.due.length
  authorization.endWith(until(undefined), answer().response)
  authorization.endWith(undefined, answer().response)
  t.equal(services.clock.due.length, before)
  t.end()
})

const keys = [{ sha256: '0'.repeat(64), principal: 'robot' }]
const verify = { type: 'verify', apiKeys: keys, scopes: ['use'] }

const asking = (method: string, url: string, rawHeaders: readonly string[] = []) =>
  ({
    method,
    url,
    rawHeaders,
    headers: Object.fromEntries(
      rawHeaders.flatMap((name, index) =>
        index % 2 === 0 ? [[name.toLowerCase(), rawHeaders[index + 1]]] : [],
      ),
    ),
    socket: { remoteAddress: '10.0.0.9' },
  }) as unknown as IncomingMessage

/** What is served under a path without a token; undefined: nothing of OAuth. */
async function served(
  authorization: ReturnType<typeof setUp>['authorization'],
  path: string,
  method = 'GET',
) {
  let status = 0
  let body = ''
  const response = {
    writeHead: (code: number) => void (status = code),
    end: (text = '') => void (body = text),
  } as unknown as ServerResponse
  const ours = await authorization.serve(asking(method, path), response, path)
  return ours ? { status, body } : undefined
}

const wellKnown = '/.well-known/oauth-protected-resource'

t.test('the metadata of each guarded route is served, and of no other', async (t) => {
  const { authorization } = setUp(
    [
      { name: 'b', path: '/b', backend, auth: verify },
      { name: 'a', path: '/a/{user}', backend, auth: verify },
      { name: 'c', path: '/c', backend },
    ],
    { publicUrl: 'https://mcp.example.com/base' },
  )
  const resources: Readonly<Record<string, string>> = {
    [`${wellKnown}/a/ann`]: 'https://mcp.example.com/base/a/ann',
    [`${wellKnown}/base/a/bob`]: 'https://mcp.example.com/base/a/bob',
    [`${wellKnown}/b/`]: 'https://mcp.example.com/base/b',
    [`/b${wellKnown}`]: 'https://mcp.example.com/base/b',
  }
  for (const [path, resource] of Object.entries(resources)) {
    const got = await served(authorization, path)
    t.equal(got?.status, 200, path)
    t.match(JSON.parse(got?.body ?? ''), { resource, scopes_supported: ['use'] }, path)
  }
  for (const path of [wellKnown, `${wellKnown}/c`, `${wellKnown}/d`, `${wellKnown}/a`]) {
    t.match(await served(authorization, path), { status: 404 }, path)
  }
  t.match(await served(authorization, `${wellKnown}/b`, 'HEAD'), { status: 200, body: '' })
  t.match(await served(authorization, `${wellKnown}/c`, 'OPTIONS'), { status: 204, body: '' })
  for (const path of ['/b', '/token', '/.well-known/oauth-authorization-server', '']) {
    t.equal(await served(authorization, path), undefined, path)
  }
})

t.test('where nothing is guarded, nothing of OAuth is ours', async (t) => {
  const { authorization, config, route } = setUp()
  t.equal(await served(authorization, `${wellKnown}/a`), undefined)
  const [a] = config.routes
  const match = route('/a')
  if (a === undefined || !('backend' in a) || match === undefined) throw new Error('no route')
  t.equal(await authorization.admit(asking('POST', '/a'), a, match), undefined)
  t.equal(authorization.guard('a'), undefined)
})

t.test('two Authorization headers are nobody’s, however they are spelt', async (t) => {
  const { authorization, config, route } = setUp(
    [{ name: 'a', path: '/a', backend, auth: verify }],
    {
      publicUrl: 'https://mcp.example.com',
    },
  )
  const [a] = config.routes
  const match = route('/a')
  if (a === undefined || !('backend' in a) || match === undefined) throw new Error('no route')
  const twice = ['authorization', 'Bearer a', 'x-a', 'authorization', 'AUTHORIZATION', 'Bearer b']
  await t.rejects(authorization.admit(asking('POST', '/a', twice), a, match), {
    code: 'TOKEN_INVALID',
    message: /more than one/,
    headers: { 'www-authenticate': /^Bearer .*invalid_request/ },
  })
  const once = ['x-a', 'authorization', 'Authorization', 'Bearer a']
  await t.rejects(authorization.admit(asking('POST', '/a', once), a, match), {
    code: 'TOKEN_INVALID',
    headers: { 'www-authenticate': /invalid_token/ },
  })
  await t.rejects(authorization.admit(asking('POST', '/a?access_token=a'), a, match), {
    code: 'TOKEN_INVALID',
    headers: { 'www-authenticate': /invalid_request/ },
  })
})

t.test('a token is unconfirmed until the backend of that route has accepted it', async (t) => {
  const { authorization, config } = setUp(
    [
      { name: 'a', path: '/a', backend, auth: { type: 'relay' } },
      { name: 'b', path: '/b', backend, auth: { type: 'relay', shims: false } },
      { name: 'c', path: '/c', backend, auth: verify },
    ],
    { publicUrl: 'https://mcp.example.com' },
  )
  t.teardown(() => authorization.close())
  const unconfirmed = (headers: readonly string[]): boolean[] =>
    config.routes.map(
      (route) =>
        'backend' in route && authorization.isUnconfirmed(asking('GET', '/', headers), route),
    )
  const mine = ['Authorization', 'bearer  mine']
  t.same(unconfirmed(mine), [true, true, false])
  authorization.relay('a')?.heard({ authorization: 'Bearer mine' }, 200)
  t.same(unconfirmed(mine), [false, true, false], 'by the other backend it is not')
  t.same(unconfirmed([]), [false, false, false])
})
