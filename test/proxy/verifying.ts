import { hash } from 'node:crypto'
import t from 'tap'
import { createRateLimits } from '../../src/auth/rate-limits.ts'
import { verifyGuardOf } from '../../src/proxy/verifying.ts'
import type { McpRoute } from '../../src/config/schema.ts'
import { configured } from '../fixtures/configured.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

const key = 'k'.repeat(32)

/** What the backend gets of a client with a key. */
async function sentOn(auth: object): Promise<Record<string, string | undefined>> {
  const { routes } = configured({
    publicUrl: 'https://mcp.example.com',
    routes: [
      {
        name: 'shop',
        path: '/mcp',
        backend: { url: 'http://127.0.0.1:1' },
        auth: {
          type: 'verify',
          apiKeys: [{ sha256: hash('sha256', key), principal: 'robot' }],
          ...auth,
        },
      },
    ],
  })
  const guard = verifyGuardOf(routes[0] as McpRoute, {
    clock: manualClock(),
    limits: createRateLimits({}),
  })
  const headers = { authorization: `Bearer ${key}`, accept: 'a' }
  const resource = 'https://mcp.example.com/mcp'
  const knock = { method: 'POST', headers, query: '', address: '::1', resource, parameters: {} }
  return (await guard.admit(knock)).headers(headers)
}

t.test('each kind of credential comes to the guard as it is written', async (t) => {
  const sent = await sentOn({ headers: { 'x-user': '{principal}' } })
  t.match(sent, { accept: 'a', 'x-user': 'api-key|robot' })
  t.equal(sent['authorization'], undefined)
  t.match(await sentOn({ credential: { type: 'forward' } }), { authorization: `Bearer ${key}` })
  const own = { type: 'headers', headers: { authorization: 'Bearer ours' } }
  t.match(await sentOn({ credential: own }), { authorization: 'Bearer ours' })
  const named = { issuer: 'us', audience: 'them', subject: '{principal}' }
  const made = { type: 'jwt', key: 's'.repeat(32), ...named }
  const { authorization = '' } = await sentOn({ credential: made })
  const claims = Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString()
  t.match(JSON.parse(claims), { iss: 'us', aud: 'them', sub: 'api-key|robot' })
})

t.test('what cannot be used names its route', async (t) => {
  const credential = { type: 'jwt', key: 'short', issuer: 'us', audience: 'them' }
  await t.rejects(sentOn({ credential }), {
    code: 'CONFIG_INVALID',
    message: /^route "shop": credential\./,
  })
  await t.rejects(sentOn({ headers: { 'x-user': '{id}' } }), { message: /^route "shop": auth/ })
})
