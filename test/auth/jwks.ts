import type { ServerResponse } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import type { JWK } from 'jose'
import t from 'tap'
import type { Test } from 'tap'
import { createKeySet, requestJson, within } from '../../src/auth/jwks.ts'
import { freePort } from '../fixtures/free-port.ts'
import { listen, pathOf } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const jwk = async (kid: string): Promise<JWK> => {
  const { publicKey } = await generateKeyPair('ES256')
  return { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }
}
const [one, two] = await Promise.all([jwk('one'), jwk('two')])

type Document = (response: ServerResponse, url: string) => void
const json =
  (value: unknown, status = 200): Document =>
  (response) =>
    void response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify(value))
const silence: Document = () => undefined
const metadataOf =
  (path = ''): Document =>
  (response, url) =>
    json({ issuer: `${url}${path}`, jwks_uri: `${url}/keys` })(response, url)

/** An authorization server whose documents the test lays out; the rest is 404. */
async function server(t: Test, documents: Record<string, Document>) {
  const asked: string[] = []
  const listening = await listen((request, response) => {
    const path = pathOf(request)
    asked.push(path)
    const document = documents[path] ?? json({ error: 'not found' }, 404)
    document(response, listening.url)
  })
  t.teardown(() => listening.close())
  return { url: listening.url, asked, documents }
}

/** A set of keys at /keys, its clock, and a way to ask for a key by its id. */
async function keySet(t: Test, first: Document = json({ keys: [one] })) {
  const clock = manualClock(1_000_000)
  const failures: unknown[] = []
  const as = await server(t, { '/keys': first })
  const find = createKeySet(
    { issuer: as.url, jwksUrl: `${as.url}/keys` },
    { clock, onFailure: (_, reason) => failures.push(reason) },
  )
  const lookUp = async (kid: string): Promise<string> => {
    try {
      const key = await find({ alg: 'ES256', kid })
      return key.type
    } catch (error) {
      const { code, retryAfter } = error as { code: string; retryAfter?: number }
      return retryAfter === undefined ? code : `${code} ${retryAfter}`
    }
  }
  return { ...as, clock, failures, lookUp }
}

const unknown = 'ERR_JWKS_NO_MATCHING_KEY'
const seconds = (count: number): number => count * 1000
const minutes = (count: number): number => seconds(count * 60)

t.test('keys are fetched at the first need, once for all that wait', async (t) => {
  const { lookUp, asked } = await keySet(t)
  t.strictSame(asked, [])
  t.strictSame(await Promise.all([lookUp('one'), lookUp('one'), lookUp('one')]), [
    'public',
    'public',
    'public',
  ])
  t.strictSame(asked, ['/keys'])
})

t.test('an unknown key is refused during the cool-down without asking again', async (t) => {
  const { lookUp, asked, clock, documents } = await keySet(t)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({ keys: [one, two] })
  clock.advance(seconds(30) - 1)
  t.equal(await lookUp('two'), unknown)
  t.equal(asked.length, 1)
  clock.advance(1)
  t.equal(await lookUp('two'), 'public', 'and after it the rotation is seen')
  t.equal(asked.length, 2)
  t.equal(await lookUp('three'), unknown, 'that load began a new one')
  t.equal(asked.length, 2)
})

t.test('a key that was withdrawn is good for ten minutes at most', async (t) => {
  const { lookUp, clock, documents } = await keySet(t)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({ keys: [two] })
  clock.advance(minutes(10) - 1)
  t.equal(await lookUp('one'), 'public')
  clock.advance(1)
  t.equal(await lookUp('one'), unknown)
  t.equal(await lookUp('two'), 'public')
})

t.test('while the issuer is away its last good set serves, for a day', async (t) => {
  const { lookUp, asked, clock, documents, failures } = await keySet(t)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({}, 500)
  clock.advance(minutes(10))
  t.equal(await lookUp('one'), 'public')
  t.equal(asked.length, 2, 'it was asked')
  t.match(failures, [/\/keys answered 500/])
  t.equal(await lookUp('one'), 'public')
  t.equal(asked.length, 2, 'and is left alone for a moment')
  t.equal(await lookUp('two'), 'AUTH_UNAVAILABLE 5', 'nobody can say that this key is unknown')

  clock.advance(minutes(24 * 60 - 10) - 1)
  t.equal(await lookUp('one'), 'public')
  await waitFor(() => failures.length === 2, { what: 'the failure in the background' })
  clock.advance(1)
  t.equal(await lookUp('one'), 'AUTH_UNAVAILABLE 5')
  clock.advance(seconds(3))
  t.equal(await lookUp('one'), 'AUTH_UNAVAILABLE 2')

  documents['/keys'] = json({ keys: [one] })
  clock.advance(seconds(2))
  t.equal(await lookUp('one'), 'public', 'it is back')
})

t.test('nobody waits for an issuer that is known to be away', async (t) => {
  const { lookUp, asked, clock, documents, failures } = await keySet(t)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({}, 503)
  clock.advance(minutes(10))
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = silence
  clock.advance(seconds(5))
  t.equal(await lookUp('one'), 'public', 'answered while the question is under way')
  await waitFor(() => asked.length === 3, { what: 'the question' })
  t.equal(failures.length, 1)
  clock.advance(seconds(5))
  await waitFor(() => failures.length === 2, { what: 'the end of the question' })
  t.match(failures[1], /no answer in 5000 ms/)
})

t.test('an issuer that was never there makes it unavailable, not unknown', async (t) => {
  const { lookUp, asked, clock, documents } = await keySet(t, json({}, 502))
  t.equal(await lookUp('one'), 'AUTH_UNAVAILABLE 5')
  t.equal(await lookUp('one'), 'AUTH_UNAVAILABLE 5')
  t.equal(asked.length, 1)
  documents['/keys'] = json({ keys: [one] })
  clock.advance(seconds(5))
  t.equal(await lookUp('one'), 'public')
  clock.advance(seconds(5))
  t.equal(await lookUp('two'), unknown, 'the failure is forgotten')
  t.equal(asked.length, 2)
  documents['/keys'] = json({ keys: [two] })
  clock.advance(minutes(10))
  t.equal(await lookUp('one'), unknown, 'and its next set is waited for')
})

t.test('an unknown key while the issuer is away is asked for again after the pause', async (t) => {
  const { lookUp, asked, clock, documents } = await keySet(t)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({}, 500)
  clock.advance(seconds(30))
  t.equal(await lookUp('two'), 'AUTH_UNAVAILABLE 5')
  t.equal(await lookUp('two'), 'AUTH_UNAVAILABLE 5')
  t.equal(asked.length, 2)
  t.equal(await lookUp('one'), 'public')
  documents['/keys'] = json({ keys: [one, two] })
  clock.advance(seconds(5))
  t.equal(await lookUp('two'), 'public')
})

t.test('an issuer that does not answer is given up after five seconds', async (t) => {
  const { lookUp, asked, clock } = await keySet(t, silence)
  const found = lookUp('one')
  await waitFor(() => asked.length === 1, { what: 'the question' })
  t.equal(clock.due[0], 5000)
  clock.advance(5000)
  t.equal(await found, 'AUTH_UNAVAILABLE 5')
  t.equal(clock.waiting, 0)
})

const useless: Record<string, [Document, RegExp]> = {
  HTML: [(response) => void response.end('<html>secret</html>'), /no JSON object$/],
  'an array': [json([one]), /no JSON object$/],
  'no set of keys': [json({ keys: 'one' }), /JSON Web Key Set malformed/],
  'a redirect': [
    (response) => void response.writeHead(302, { location: '/elsewhere' }).end(),
    /answered 302$/,
  ],
  'half an answer': [
    (response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"keys":')
      setImmediate(() => response.destroy())
    },
    /terminated|other side closed|closed/i,
  ],
  'far too much': [
    (response) => void response.end(JSON.stringify({ keys: [one], pad: 'x'.repeat(300_000) })),
    /more than 262144 bytes$/,
  ],
}
for (const [name, [document, message]] of Object.entries(useless)) {
  t.test(`what is no set of keys leaves the last one in place: ${name}`, async (t) => {
    const { lookUp, clock, documents, failures } = await keySet(t)
    t.equal(await lookUp('one'), 'public')
    documents['/keys'] = document
    documents['/elsewhere'] = json({ keys: [two] })
    clock.advance(minutes(10))
    t.equal(await lookUp('one'), 'public')
    t.equal(await lookUp('two'), 'AUTH_UNAVAILABLE 5')
    t.match(String(failures[0]), message)
    t.notMatch(String(failures[0]), 'secret')
  })
}

const inserted = '/.well-known/oauth-authorization-server'
const openid = '/.well-known/openid-configuration'
const discoveries: Record<string, [issuerPath: string, at: string, asked: string[]]> = {
  'of an origin': ['', inserted, [inserted]],
  'of an origin with a slash': ['/', inserted, [inserted]],
  'of an origin by OpenID Connect': ['', openid, [inserted, openid]],
  'of a path': ['/a/b', `${inserted}/a/b`, [`${inserted}/a/b`]],
  'of a path with a slash at its end': ['/a/', `${inserted}/a`, [`${inserted}/a`]],
  'of a path, inserted': ['/a', `${openid}/a`, [`${inserted}/a`, `${openid}/a`]],
  'of a path, appended': ['/a', `/a${openid}`, [`${inserted}/a`, `${openid}/a`, `/a${openid}`]],
}
for (const [name, [path, at, expected]] of Object.entries(discoveries)) {
  t.test(`keys are found through the metadata ${name}`, async (t) => {
    const { url, asked } = await server(t, {
      [at]: metadataOf(path),
      '/keys': json({ keys: [one] }),
    })
    const find = createKeySet({ issuer: `${url}${path}` }, { clock: manualClock() })
    await find({ alg: 'ES256', kid: 'one' })
    t.strictSame(asked, [...expected, '/keys'])
  })
}

const unusable: Record<string, [Document, RegExp]> = {
  'another issuer': [metadataOf('/'), /of another issuer/],
  'no jwks_uri': [(response, url) => json({ issuer: url })(response, url), /no jwks_uri/],
  'a jwks_uri without an origin': [
    (response, url) => json({ issuer: url, jwks_uri: '/keys' })(response, url),
    /no jwks_uri/,
  ],
}
for (const [name, [document, message]] of Object.entries(unusable)) {
  t.test(`metadata is not used: ${name}`, async (t) => {
    const { url, asked } = await server(t, { [inserted]: document, '/keys': json({ keys: [one] }) })
    const find = createKeySet({ issuer: url }, { clock: manualClock() })
    const error = await find({ alg: 'ES256', kid: 'one' }).then(
      () => undefined,
      (reason: Error) => reason,
    )
    t.match(error, {
      code: 'AUTH_UNAVAILABLE',
      message: `the keys of issuer "${url}" cannot be fetched`,
    })
    t.match(error?.cause, { errors: [{ message }] })
    t.strictSame(asked, [inserted, openid], 'and the other place is looked at')
  })
}

t.test('keys in the clear are not taken for an issuer with TLS', async (t) => {
  // A dispatcher stands in for the network here: it leads the issuer's https address to the server on loopback.
  const { url, asked } = await server(t, {
    [inserted]: (response, from) =>
      json({ issuer: 'https://as.example.com', jwks_uri: `${from}/keys` })(response, from),
    '/keys': json({ keys: [one] }),
  })
  const { Agent } = await import('undici')
  const agent = new Agent()
  t.teardown(() => agent.destroy())
  const dispatcher = agent.compose((dispatch) => (options, handler) => {
    const origin = options.origin === 'https://as.example.com' ? url : options.origin
    return dispatch({ ...options, ...(origin !== undefined && { origin }) }, handler)
  })
  const failures: unknown[] = []
  const find = createKeySet(
    { issuer: 'https://as.example.com' },
    { clock: manualClock(), dispatcher, onFailure: (_, reason) => failures.push(reason) },
  )
  await t.rejects(find({ alg: 'ES256', kid: 'one' }), { code: 'AUTH_UNAVAILABLE' })
  t.match((failures[0] as AggregateError).errors[0].message, /jwks_uri without TLS/)
  t.notOk(asked.includes('/keys'))
})

t.test('keys that have moved are found, and metadata that is away is not missed', async (t) => {
  const { url, asked, documents } = await server(t, {
    [inserted]: metadataOf(),
    '/keys': json({ keys: [one] }),
    '/moved': json({ keys: [two] }),
  })
  const clock = manualClock()
  const find = createKeySet({ issuer: url }, { clock })
  const lookUp = async (kid: string) => find({ alg: 'ES256', kid })
  await lookUp('one')
  documents[inserted] = json({ issuer: url, jwks_uri: `${url}/moved` })
  clock.advance(minutes(10))
  await lookUp('two')
  delete documents[inserted]
  clock.advance(minutes(10))
  asked.length = 0
  await lookUp('two')
  t.strictSame(asked, [inserted, openid, '/moved'])
})

t.test('metadata that does not answer is not waited for place by place', async (t) => {
  const { url, asked } = await server(t, { [inserted]: silence })
  const clock = manualClock()
  const find = createKeySet({ issuer: url }, { clock })
  const found = find({ alg: 'ES256', kid: 'one' })
  const refused = t.rejects(found, { code: 'AUTH_UNAVAILABLE' })
  await waitFor(() => asked.length === 1, { what: 'the question' })
  clock.advance(5000)
  await refused
  t.strictSame(asked, [inserted])
})

t.test('a connection that is refused or cut is a failure like any other', async (t) => {
  const cutting = createTcpServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => cutting.listen(0, '127.0.0.1', resolve))
  t.teardown(() => cutting.close())
  for (const port of [await freePort(), (cutting.address() as AddressInfo).port]) {
    const issuer = `http://127.0.0.1:${port}`
    for (const jwksUrl of [`${issuer}/keys`, undefined]) {
      const find = createKeySet({ issuer, jwksUrl }, { clock: manualClock() })
      await t.rejects(find({ alg: 'ES256', kid: 'one' }), { code: 'AUTH_UNAVAILABLE' })
    }
  }
})

t.test('a limit of time is called off with the answer, and errors show no query', async (t) => {
  const { url } = await server(t, { '/a': json({ a: 1 }) })
  const clock = manualClock()
  const ask = (path: string) =>
    within(clock, 100, (signal) => requestJson(`${url}${path}`, { signal }))
  t.strictSame(await ask('/a'), { a: 1 })
  await t.rejects(ask('/b?secret=1'), { message: `${url}/b answered 404` })
  t.equal(clock.waiting, 0)
})
