import t from 'tap'
import {
  isInternal,
  pathOf,
  redirectTarget,
  resolveEndpoint,
  underPrefix,
} from '../../src/backends/origins.ts'

const stream = new URL('https://mcp.example.com/api/sse')
const local = new URL('http://127.0.0.1:4100/sse')

t.test(
  'an endpoint is resolved against the stream and stays on an origin that was configured',
  async (t) => {
    const cases: readonly (readonly [string, URL, string | undefined])[] = [
      ['/messages?session_id=a%2Fb', stream, 'https://mcp.example.com/messages?session_id=a%2Fb'],
      ['messages?sid=1', stream, 'https://mcp.example.com/api/messages?sid=1'],
      ['?sid=1', stream, 'https://mcp.example.com/api/sse?sid=1'],
      ['/mcp/messages?', stream, 'https://mcp.example.com/mcp/messages?'],
      ['/m?sid=1 \t', stream, 'https://mcp.example.com/m?sid=1'],
      ['/m?sid=1#top', stream, 'https://mcp.example.com/m?sid=1'],
      ['https://mcp.example.com/m', stream, 'https://mcp.example.com/m'],
      ['http://mcp.example.com/m', stream, 'https://mcp.example.com/m'],
      ['https://mcp.example.com:8443/m', stream, 'https://mcp.example.com/m'],
      ['http://0.0.0.0:8000/m?sid=1', stream, 'https://mcp.example.com/m?sid=1'],
      ['http://localhost:8000/m', stream, 'https://mcp.example.com/m'],
      ['http://backend:8000/m', stream, 'https://mcp.example.com/m'],
      ['http://api.shop.svc.cluster.local/m', stream, 'https://mcp.example.com/m'],
      ['http://192.168.1.9/m', stream, 'https://mcp.example.com/m'],
      ['http://[::1]:8000/m', stream, 'https://mcp.example.com/m'],
      ['http://127.0.0.1:9999/m', local, 'http://127.0.0.1:4100/m'],
      ['https://post.example.com/m', stream, 'https://post.example.com/m'],
      ['https://user:secret@post.example.com/m', stream, 'https://post.example.com/m'],
      ['https://evil.example/m', stream, undefined],
      ['//evil.example/m', stream, undefined],
      ['https://mcp.example.com@evil.example/m', stream, undefined],
      ['https://mcp.example.com.evil.example/m', stream, undefined],
      ['https://93.184.216.34/m', stream, undefined],
      ['ftp://mcp.example.com/m', stream, undefined],
      ['javascript:alert(1)', stream, undefined],
      ['http://', stream, undefined],
    ]
    for (const [data, base, url] of cases) {
      const resolved = resolveEndpoint(data, base, ['https://post.example.com'])
      t.equal(resolved.ok ? resolved.url.href : undefined, url, data)
    }
  },
)

t.test('a refused endpoint is named by its origin and never by its path', async (t) => {
  const resolved = resolveEndpoint('https://evil.example/m?token=1', stream, [])
  t.match(resolved, { ok: false, reason: /https:\/\/evil\.example,/ })
  t.notMatch(resolved, { reason: /token/ })
})

t.test('a lost mount prefix is taken from the directory of the stream', async (t) => {
  const cases: readonly (readonly [string, string, string | undefined])[] = [
    ['https://a.example/messages?sid=1', 'https://a.example/api/sse', '/api/messages?sid=1'],
    ['https://a.example/api/messages', 'https://a.example/api/sse', undefined],
    ['https://a.example/messages', 'https://a.example/sse', undefined],
    ['https://b.example/messages', 'https://a.example/api/sse', undefined],
  ]
  for (const [endpoint, from, path] of cases) {
    const url = underPrefix(new URL(endpoint), new URL(from))
    t.equal(url && pathOf(url), path, endpoint)
  }
})

t.test('a redirect is followed where it stays with the backend', async (t) => {
  const from = 'https://mcp.example.com/mcp'
  const cases: readonly (readonly [string, string, string | undefined])[] = [
    ['/mcp/', from, 'https://mcp.example.com/mcp/'],
    ['http://mcp.example.com/mcp/', from, 'https://mcp.example.com/mcp/'],
    ['http://mcp.example.com:8000/mcp/', from, 'https://mcp.example.com/mcp/'],
    ['http://backend-internal:8000/mcp/', from, 'https://mcp.example.com/mcp/'],
    ['https://mcp.example.com:8443/mcp/', from, undefined],
    ['https://login.example.com/', from, undefined],
    ['http://127.0.0.1:2/mcp', 'http://127.0.0.1:1/mcp', undefined],
    ['https://mcp.example.com/mcp', 'http://mcp.example.com/mcp', undefined],
    ['http://[', from, undefined],
  ]
  for (const [location, base, url] of cases) {
    const target = redirectTarget(location, new URL(base))
    t.equal(target.ok ? target.url.href : undefined, url, `${location} from ${base}`)
  }
})

t.test('inner hosts are told from public ones', async (t) => {
  for (const host of [
    'localhost',
    'a.localhost',
    '0.0.0.0',
    '10.1.2.3',
    '172.31.0.1',
    '[fd00::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    'api.internal',
    'db.',
  ]) {
    t.equal(isInternal(host), true, host)
  }
  for (const host of [
    'example.com',
    '8.8.8.8',
    '172.32.0.1',
    '[2606:4700::1]',
    'local.example.com',
    'internal.io',
  ]) {
    t.equal(isInternal(host), false, host)
  }
})
