import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { createIdMap, rememberedIds } from '../../src/auth/id-map.ts'
import type { IdMapConfig, Request } from '../../src/auth/id-map.ts'
import type { Identity } from '../../src/auth/identity.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const who = (sub: string): Identity => ({
  principal: `https://as.example.com|${sub}`,
  clientId: undefined,
  scopes: [],
  expires: undefined,
  claims: { sub, user: { id: `nested-${sub}` } },
})

/** A service that knows ids, and an id map that asks it. */
async function asking(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  config: Partial<IdMapConfig> = {},
) {
  const asked: IncomingMessage[] = []
  const server = createServer((request, response) => {
    asked.push(request)
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const clock = manualClock()
  const url = `${origin}/users/{value}`
  const ids = createIdMap({ claim: 'sub', url, cacheTime: 60_000, ...config }, { clock })
  return { ids, asked, clock, origin }
}

const json =
  (value: unknown, status = 200) =>
  (_: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  }

t.test('a claim alone is the id', async (t) => {
  const clock = manualClock()
  t.equal(await createIdMap({ claim: 'sub' }, { clock }).idOf(who('u')), 'u')
  t.equal(await createIdMap({ claim: 'user.id' }, { clock }).idOf(who('u')), 'nested-u')
  const whole = createIdMap({ claim: '{principal}' }, { clock })
  t.equal(await whole.idOf(who('u')), 'https://as.example.com|u')
  await t.rejects(createIdMap({ claim: 'oid' }, { clock }).idOf(who('u')), {
    code: 'TOKEN_INVALID',
    message: /claim "oid"/,
  })
})

t.test('a table knows its own users and nobody that objects inherit', async (t) => {
  const table = JSON.parse('{"u":"internal-1"}') as Record<string, string>
  const ids = createIdMap({ claim: 'sub', table }, { clock: manualClock() })
  t.equal(await ids.idOf(who('u')), 'internal-1')
  for (const sub of ['U', 'constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    await t.rejects(ids.idOf(who(sub)), { code: 'SCOPE_INSUFFICIENT', status: 403 }, sub)
  }
  const odd = JSON.parse('{"__proto__":"own"}') as Record<string, string>
  t.equal(
    await createIdMap({ claim: 'sub', table: odd }, { clock: manualClock() }).idOf(
      who('__proto__'),
    ),
    'own',
  )
})

t.test('what cannot work is refused at the start', async (t) => {
  const clock = manualClock()
  const cases: readonly (readonly [Partial<IdMapConfig>, RegExp])[] = [
    [{ table: {}, url: 'https://h/{value}' }, /exclude each other/],
    [{ table: { u: '' } }, /an id is empty/],
    [{ claim: '' }, /^id\.claim: character 1/],
    [{ claim: '{id}' }, /cannot come from itself/],
    [{ url: 'https://h/users' }, /\{value\} in its path or query/],
    [{ url: 'https://{value}.example.com/x' }, /\{value\} in its path/],
    [{ url: 'https://{value}/x' }, /\{value\} in its path/],
    [{ url: 'https://h{value}/x' }, /\{value\} in its path/],
    [{ url: 'https://a:PASSWORD@h/{value}' }, /without password/],
    [{ url: 'https://h/{value}#x' }, /fragment/],
    [{ url: 'file:///{value}' }, /http or https/],
    [{ url: '/users/{value}' }, /http or https/],
    [{ url: 'https://h/{value}', pointer: 'id' }, /JSON pointer/],
    [{ url: 'https://h/{value}', pointer: '/a~2' }, /JSON pointer/],
  ]
  for (const [config, message] of cases) {
    const make = () => createIdMap({ claim: 'sub', ...config }, { clock })
    t.throws(make, { code: 'CONFIG_INVALID', message }, JSON.stringify(config))
    try {
      make()
    } catch (error) {
      t.notMatch((error as Error).message, /PASSWORD/)
    }
  }
})

t.test('a service is asked with its credential, once for as long as the id is good', async (t) => {
  const { ids, asked, clock } = await asking(t, json({ id: 'internal-1' }), {
    headers: { authorization: 'Bearer ours' },
  })
  t.equal(await ids.idOf(who('u')), 'internal-1')
  t.match(asked[0], { method: 'GET', url: '/users/u', headers: { authorization: 'Bearer ours' } })
  clock.advance(59_999)
  t.equal(await ids.idOf(who('u')), 'internal-1')
  t.equal(asked.length, 1)
  clock.advance(1)
  await ids.idOf(who('u'))
  t.equal(asked.length, 2)
  t.equal(clock.waiting, 0, 'no timer is left')
})

t.test('those who ask for the same at once share one question', async (t) => {
  const { ids, asked } = await asking(t, json({ id: 'internal-1' }))
  const all = await Promise.all([1, 2, 3, 4].map(() => ids.idOf(who('u'))))
  t.same(all, Array(4).fill('internal-1'))
  t.equal(asked.length, 1)
})

t.test('the id stands where the pointer leads', async (t) => {
  const document = { 'a/b': [{ 'c~d': 7 }], list: ['x'], constructor: null }
  const cases = { '/a~1b/0/c~0d': '7', '/list/0': 'x' }
  for (const [pointer, wanted] of Object.entries(cases)) {
    const { ids } = await asking(t, json(document), { pointer })
    t.equal(await ids.idOf(who('u')), wanted, pointer)
  }
  const { ids } = await asking(t, json('whole'), { pointer: '' })
  t.equal(await ids.idOf(who('u')), 'whole')
  for (const pointer of [
    '/list/1',
    '/list/length',
    '/list/00',
    '/constructor',
    '/toString/name',
    '/__proto__',
  ]) {
    const { ids } = await asking(t, json(document), { pointer })
    await t.rejects(ids.idOf(who('u')), { code: 'SCOPE_INSUFFICIENT' }, pointer)
  }
})

t.test('an unknown user is 403, and believed for less time than a known one', async (t) => {
  let known = false
  const { ids, asked, clock } = await asking(t, (request, response) =>
    json({ id: 'late' }, known ? 200 : 404)(request, response),
  )
  const unknown = {
    code: 'SCOPE_INSUFFICIENT',
    status: 403,
    message: 'this user is not known here',
  }
  await t.rejects(ids.idOf(who('u')), unknown)
  known = true
  clock.advance(9_999)
  await t.rejects(ids.idOf(who('u')), unknown)
  t.equal(asked.length, 1)
  clock.advance(1)
  t.equal(await ids.idOf(who('u')), 'late')
})

t.test('a service that fails is 503, never 401 or 403, and is asked again', async (t) => {
  const cases: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
    'status 500': json({ id: 'x' }, 500),
    'our credential is refused': json({ id: 'x' }, 401),
    'a redirect': (_, response) =>
      response.writeHead(302, { location: '/users/other' }).end('{"id":"x"}'),
    'no JSON': (_, response) => response.end('SECRET'),
    'an object for an id': json({ id: { secret: 'SECRET' } }),
    'a fraction for an id': json({ id: 1.5 }),
    'an id without end': json({ id: 'x'.repeat(2000) }),
    'an answer without end': json({ id: 'x', more: 'x'.repeat(100_000) }),
    'a broken connection': (_, response) => response.destroy(),
    'a broken body': (_, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"id":')
      response.destroy()
    },
  }
  for (const [name, answer] of Object.entries(cases)) {
    const { ids, asked } = await asking(t, answer)
    for (const _ of [1, 2]) {
      const error = await ids.idOf(who('u')).catch((reason: unknown) => reason)
      t.match(error, { code: 'AUTH_UNAVAILABLE', status: 503, retryAfter: 5 }, name)
      t.notMatch(String(error) + String((error as Error).cause), /SECRET/)
    }
    t.equal(asked.length, 2, `${name}: not remembered, nothing followed`)
  }
})

t.test('a service that says nothing is given up', async (t) => {
  const { ids, asked, clock } = await asking(t, () => undefined)
  const answer = ids.idOf(who('u'))
  await waitFor(() => asked.length === 1, { what: 'the question' })
  clock.advance(4_999)
  clock.advance(1)
  await t.rejects(answer, { code: 'AUTH_UNAVAILABLE', message: /more than 5000 ms/ })
})

t.test('no value leads to another resource of the service', async (t) => {
  const { ids, asked, origin } = await asking(t, json({ id: 'x' }))
  for (const sub of ['.', '..', '../admin', 'a/../../admin', '..\\admin', '%2e%2e', '%2E', 'a/.']) {
    await t.rejects(ids.idOf(who(sub)), { code: 'SCOPE_INSUFFICIENT' }, sub)
  }
  t.equal(asked.length, 0)
  for (const sub of [
    'a/b',
    'a?b=c',
    'a#b',
    'a&b',
    'a%2fb',
    'a\r\nx: y',
    'ë',
    '$&',
    '@evil',
    '{value}',
  ]) {
    await ids.idOf(who(sub))
    t.equal(asked.at(-1)?.url, `/users/${encodeURIComponent(sub)}`, JSON.stringify(sub))
    t.equal(`http://${asked.at(-1)?.headers.host}`, origin)
  }
  const inQuery = await asking(t, json([{ id: 'x' }]), { pointer: '/0/id' })
  const query = `${inQuery.origin}/users?sub=eq.{value}`
  await createIdMap({ claim: 'sub', url: query, pointer: '/0/id' }, { clock: manualClock() }).idOf(
    who('a&role=admin'),
  )
  t.equal(inQuery.asked[0]?.url, '/users?sub=eq.a%26role%3Dadmin')
})

t.test('so many ids are remembered, the oldest going first', async (t) => {
  let asked = 0
  const request: Request = async () => {
    asked++
    const bytes = new TextEncoder().encode('{"id":"x"}')
    return {
      statusCode: 200,
      body: (async function* () {
        yield bytes
      })(),
    }
  }
  const ids = createIdMap(
    { claim: 'sub', url: 'https://h.example/{value}' },
    { clock: manualClock(), request },
  )
  for (let n = 0; n <= rememberedIds; n++) await ids.idOf(who(`u${n}`))
  t.equal(asked, rememberedIds + 1)
  await ids.idOf(who(`u${rememberedIds}`))
  await ids.idOf(who('u1'))
  t.equal(asked, rememberedIds + 1, 'the younger ones are known')
  await ids.idOf(who('u0'))
  t.equal(asked, rememberedIds + 2, 'the oldest one is not')
})
