import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { connectRedis, keyOf, storeAway } from '../../src/sessions/redis.ts'
import type { RedisConfig } from '../../src/sessions/redis.ts'
import { ProxyError } from '../../src/errors.ts'
import { freePort } from '../fixtures/free-port.ts'
import { ownRedis, redisProgram } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** What a server answers to a connection with this configuration. */
async function ping(t: Test, config: Omit<RedisConfig, 'prefix'>): Promise<string> {
  const redis = connectRedis({ ...config, prefix: 'p' })
  redis.on('error', () => undefined)
  t.teardown(() => redis.disconnect())
  try {
    return String(await redis.ping())
  } catch (error) {
    return (error as Error).message
  }
}

t.test('passwords and users, in the URL or beside it', async (t) => {
  const { port } = await ownRedis(
    t,
    ['--user', 'ann', 'on', '>secret', '~*', '&*', '+@all', '--user', 'default', 'off'],
    {
      username: 'ann',
      password: 'secret',
    },
  )
  const url = `redis://127.0.0.1:${port}`
  t.equal(await ping(t, { url: `redis://ann:secret@127.0.0.1:${port}` }), 'PONG')
  t.equal(await ping(t, { url, username: 'ann', password: 'secret' }), 'PONG')
  t.not(await ping(t, { url }), 'PONG')
  t.not(await ping(t, { url, username: 'ann', password: 'wrong' }), 'PONG')
})

const hasOpenssl = (): boolean => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

t.test(
  'TLS, by a certificate of our own making',
  { skip: hasOpenssl() ? false : 'openssl, which makes the certificate, is not on PATH' },
  async (t) => {
    const folder = t.testdir()
    const [key, cert] = [`${folder}/key.pem`, `${folder}/cert.pem`]
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
    const files = ['-nodes', '-keyout', key, '-out', cert, '-days', '1']
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', ...files, ...subject], {
      stdio: 'ignore',
    })
    const tlsPort = await freePort()
    const tls = ['--tls-port', String(tlsPort), '--tls-cert-file', cert, '--tls-key-file', key]
    await ownRedis(t, [...tls, '--tls-ca-cert-file', cert, '--tls-auth-clients', 'no'])
    t.match(redisProgram(), /-server$/)
    const url = `rediss://127.0.0.1:${tlsPort}`
    const ca = readFileSync(cert, 'utf8')
    t.equal(await ping(t, { url, tls: { ca, verify: true } }), 'PONG')
    t.equal(await ping(t, { url, tls: { verify: false } }), 'PONG')
    t.not(await ping(t, { url }), 'PONG', 'a certificate that nobody vouches for')
  },
)

t.test('a connection comes back by itself', async (t) => {
  const server = await ownRedis(t)
  const redis = connectRedis({ url: server.url, prefix: 'p' })
  redis.on('error', () => undefined)
  t.teardown(() => redis.disconnect())
  t.equal(await redis.ping(), 'PONG')
  await server.kill()
  await t.rejects(redis.ping())
  await server.start()
  await waitFor(async () => (await redis.ping().catch(() => '')) === 'PONG', { what: 'an answer' })
})

t.test('what belongs together has one slot', async (t) => {
  t.equal(keyOf('shop', 'session', 'a'), 'shop:{s:a}:session')
  t.equal(keyOf('shop', 'events', 'a'), 'shop:{s:a}:events')
  t.equal(keyOf('shop', 'mail', 'a'), 'shop:{r:a}:mail')
  t.equal(keyOf('shop', 'home', 'a'), 'shop:{h:a}:home')
})

t.test('whatever the server did wrong, it is away', async (t) => {
  t.match(storeAway(new Error('CLUSTERDOWN')), { code: 'STORE_UNAVAILABLE', retryAfter: 2 })
  const limit = new ProxyError('LIMIT_REACHED', 'full')
  t.equal(storeAway(limit), limit)
})
