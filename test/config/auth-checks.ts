import t from 'tap'
import { checkAuth } from '../../src/config/auth-checks.ts'
import { formatPath } from '../../src/config/shape.ts'

const publicUrl = 'https://mcp.example.com'

const check = (auths: readonly unknown[], more: object = { publicUrl }): string[] =>
  checkAuth({ ...more, routes: auths.map((auth) => ({ auth })) }).map(
    ({ path, message }) => `${formatPath(path)}: ${message}`,
  )

const keys = [{ sha256: '0', principal: 'robot' }]

t.test('what is in order has no findings', async (t) => {
  const fine: unknown[] = [
    undefined,
    null,
    'verify',
    {},
    { type: 'none' },
    { type: 'verify', apiKeys: keys, headers: {}, id: {}, credential: {}, scopes: ['use'] },
    { type: 'verify', issuers: [{}] },
    { type: 'verify', introspection: {} },
    { type: 'relay', as: 'facade', optional: true, authorizationServer: 'https://as.example' },
    { type: 'relay', shims: false },
    { type: 'relay', shims: false },
  ]
  t.same(check(fine), [])
  t.same(checkAuth({}), [])
  for (const routes of [undefined, null, 'a', {}, [null, 1, 'a', []]]) {
    t.same(checkAuth({ routes }), [])
  }
})

t.test('a key of one type is refused with another, where it stands', async (t) => {
  const of = {
    relay: ['authorizationServer', 'as', 'shims', 'optional'],
    verify: [
      'issuers',
      'introspection',
      'apiKeys',
      'tools',
      'implies',
      'headers',
      'parameters',
      'id',
      'credential',
    ],
  }
  for (const [meant, names] of Object.entries(of)) {
    const other = meant === 'relay' ? { type: 'verify', apiKeys: keys } : { type: 'relay' }
    for (const name of names) {
      const message = `routes[0].auth.${name}: "${name}" means something only with "type: ${meant}"`
      t.ok(check([{ ...other, [name]: false }]).includes(message), `${other.type} ${name}`)
      t.same(check([{ type: 'none', [name]: [] }]), [message], `none ${name}`)
      t.same(check([{ [name]: null }]), [message], `no type ${name}`)
    }
  }
})

t.test('authorization needs to know the URL that clients see', async (t) => {
  for (const auth of [{ type: 'relay' }, { type: 'verify', apiKeys: keys }]) {
    t.match(check([auth], {}), [/^routes\[0\]\.auth: needs "publicUrl"/])
  }
  t.same(check([{}, { type: 'none' }], {}), [])
})

t.test('verify without anything to verify by would let nobody in', async (t) => {
  for (const more of [{}, { issuers: [] }, { apiKeys: [] }, { issuers: 'a', apiKeys: {} }]) {
    t.match(check([{ type: 'verify', ...more }]), [/nobody could come in/], JSON.stringify(more))
  }
})

t.test('one route alone has the endpoints at the root', async (t) => {
  const found = check([{}, { type: 'relay' }, { type: 'relay', shims: true }, { type: 'relay' }])
  t.match(found, [/^routes\[2\]\.auth: routes\[1\] has/, /^routes\[3\]\.auth: routes\[1\] has/])
  t.equal(found.length, 2)
})

t.test('scopes alone protect nothing, and that is said', async (t) => {
  for (const auth of [{ scopes: ['use'] }, { type: 'none', scopes: ['use'] }]) {
    t.match(check([auth]), [/^routes\[0\]\.auth\.scopes: "scopes" means something only with/])
  }
})

t.test('a facade needs the endpoints at the root', async (t) => {
  t.equal(check([{ type: 'relay', as: 'facade', shims: false }]).length, 1)
  t.same(check([{ type: 'relay', as: 'own-origin', shims: false }]), [])
})

t.test('a parameter has a place in the path or the backend', async (t) => {
  const auth = { type: 'verify', apiKeys: keys, parameters: { user: '{id}', usr: '{id}' } }
  const places: readonly object[] = [
    { path: '/mcp/{user}' },
    { backend: { url: 'https://backend.example/{user}/mcp' } },
    { path: '/mcp', backend: { url: 'https://backend.example', headers: { 'x-user': '{user}' } } },
  ]
  for (const place of places) {
    t.same(
      checkAuth({ publicUrl, routes: [{ ...place, auth }] }).map(({ path }) => formatPath(path)),
      ['routes[0].auth.parameters.usr'],
    )
  }
})
