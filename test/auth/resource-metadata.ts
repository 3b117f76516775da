import t from 'tap'
import {
  metadataUrl,
  resourceAskedFor,
  resourceMetadata,
} from '../../src/auth/resource-metadata.ts'

const wellKnown = '/.well-known/oauth-protected-resource'

t.test('the document names the resource as clients see it, and nothing empty', async (t) => {
  const url = 'https://mcp.example.com/a%20b/mcp'
  const facts = { authorizationServers: ['https://as.example.com/'], scopes: ['use'], name: 'shop' }
  t.strictSame(JSON.parse(resourceMetadata(url, facts)), {
    resource: url,
    authorization_servers: ['https://as.example.com/'],
    scopes_supported: ['use'],
    bearer_methods_supported: ['header'],
    resource_name: 'shop',
  })
  const bare = resourceMetadata(url, { authorizationServers: [], scopes: [], name: 'shop' })
  t.strictSame(Object.keys(JSON.parse(bare) as object), [
    'resource',
    'bearer_methods_supported',
    'resource_name',
  ])
})

t.test('the well-known path goes between the origin and the path of the resource', async (t) => {
  const cases: Readonly<Record<string, string>> = {
    'https://h.example': `https://h.example${wellKnown}`,
    'https://h.example/': `https://h.example${wellKnown}`,
    'https://h.example/mcp': `https://h.example${wellKnown}/mcp`,
    'https://h.example:8443/base/mcp': `https://h.example:8443${wellKnown}/base/mcp`,
    'https://h.example/a%2Fb/c%20d': `https://h.example${wellKnown}/a%2Fb/c%20d`,
    'https://h.example/mcp?a=b': `https://h.example${wellKnown}/mcp`,
  }
  for (const [resource, expected] of Object.entries(cases)) {
    t.equal(metadataUrl(resource), expected, resource)
  }
})

t.test('what is asked for is found before and behind the path, and at the root', async (t) => {
  const cases: [string, string | undefined][] = [
    [wellKnown, ''],
    [`${wellKnown}/`, ''],
    [`${wellKnown}/mcp`, '/mcp'],
    [`${wellKnown}/mcp/`, '/mcp'],
    [`${wellKnown}/a/b%2Fc`, '/a/b%2Fc'],
    [`/mcp${wellKnown}`, '/mcp'],
    [`/a/b${wellKnown}`, '/a/b'],
    [`${wellKnown}x`, undefined],
    [`${wellKnown}-more/mcp`, undefined],
    [`/mcp${wellKnown}/more`, undefined],
    ['/mcp/.well-known/oauth-protected-resourc', undefined],
    ['/.well-known/oauth-authorization-server/mcp', undefined],
    ['/mcp', undefined],
    ['', undefined],
  ]
  for (const [path, expected] of cases) t.equal(resourceAskedFor(path), expected, path)
})

t.test('the path of the public URL may have been taken off, or not', async (t) => {
  const cases: [string, string | undefined][] = [
    [`${wellKnown}/base/mcp`, '/mcp'],
    [`${wellKnown}/mcp`, '/mcp'],
    [`${wellKnown}/based/mcp`, '/based/mcp'],
    [`${wellKnown}/base/base/mcp`, '/base/mcp'],
    [`/mcp${wellKnown}`, '/mcp'],
  ]
  for (const [path, expected] of cases) t.equal(resourceAskedFor(path, '/base'), expected, path)
})

t.test('where a client is sent, it finds the resource that it came from', async (t) => {
  for (const path of ['/mcp', '/a/b', '/a%20b/mcp']) {
    for (const prefix of ['', '/base']) {
      const url = metadataUrl(`https://h.example${prefix}${path}`)
      t.equal(resourceAskedFor(new URL(url).pathname, prefix), path, prefix + path)
    }
  }
})
