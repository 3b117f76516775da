import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { generated } from '../../scripts/schema.ts'
import { annotatedSchema, jsonSchema, type JsonSchema } from '../../src/config/json-schema.ts'

const read = (path: string): string =>
  readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

for (const [path, render] of Object.entries(generated)) {
  t.test(`${path} is what the schema says`, async (t) => {
    t.equal(read(path), render(), 'if not: node scripts/schema.ts')
  })
}

/** Every key of the file with the schema of its value. */
function* keys(schema: JsonSchema, path = ''): Generator<[string, JsonSchema]> {
  for (const [key, value] of Object.entries(schema.properties ?? {})) {
    if (typeof value === 'boolean') continue
    yield [`${path}${key}`, value]
    yield* keys(value, `${path}${key}.`)
    for (const inner of [value.items, ...(value.anyOf ?? [])]) {
      if (typeof inner === 'object' && !Array.isArray(inner)) yield* keys(inner, `${path}${key}.`)
    }
  }
}

/** Of `auth`. */
const withoutDefault = [
  'authorizationServer',
  ...['issuer', 'jwksUrl', 'secret', 'secret.file'].map((key) => `issuers.${key}`),
  'introspection',
  ...['url', 'clientId', 'clientSecret', 'clientSecret.file', 'issuer'].map(
    (key) => `introspection.${key}`,
  ),
  ...['sha256', 'principal'].map((key) => `apiKeys.${key}`),
  'id',
  'id.table',
  'id.url',
  ...['key', 'key.file', 'issuer', 'audience'].map((key) => `credential.${key}`),
]

t.test('every key has a meaning, and a default unless it may be missing', async (t) => {
  const none = ['publicUrl', 'routes', 'routes.name', 'routes.path', 'routes.messages']
  const noDefault = [
    ...none,
    'routes.backend',
    'routes.passthrough',
    'routes.backend.url',
    'routes.backend.messages',
    ...['url', 'cluster', 'sentinels', 'sentinelName', 'username'].map((key) => `store.${key}`),
    ...['password', 'tls', 'tls.ca', 'tls.cert', 'tls.key'].map((key) => `store.${key}`),
    ...['password', 'tls.ca', 'tls.cert', 'tls.key'].map((key) => `store.${key}.file`),
    ...withoutDefault.map((key) => `routes.auth.${key}`),
    ...['requests', 'failures', 'registrations'].flatMap((key) =>
      ['', '.count', '.time'].map((inner) => `rateLimits.${key}${inner}`),
    ),
  ]
  const found = [...keys(annotatedSchema())]
  t.ok(found.length > 40)
  for (const [path, { description, default: otherwise }] of found) {
    t.match(description, /^[A-Z`].*\.$|^[A-Z].*[.:] .+$/, path)
    t.equal(otherwise === undefined, noDefault.includes(path), `default of ${path}`)
  }
})

t.test(
  'the schema agrees with the loader about values, and lets variables stand for any',
  async (t) => {
    const valid = new Ajv().compile(jsonSchema())
    const file = (
      more: string,
      route = '{ name: a, path: /a, backend: { url: http://b } }',
    ): unknown => parse(`${more}\nroutes: [${route}]`)
    const good = [
      file(''),
      file('admin: false'),
      file('admin: { port: 1 }'),
      file('drainTime: 0'),
      file('listen: { port: "${PORT}" }'),
      file('log: { level: "${LEVEL:-info}" }'),
      file('limits: { body: "${BODY}" }'),
      file('', '{ name: a, path: /a, passthrough: http://b }'),
      file(
        '',
        '{ name: a, path: /a, backend: { url: x, headers: { a: { file: b } }, repair: { field-case: true } } }',
      ),
    ]
    const bad = [
      file('listn: {}'),
      file('admin: true'),
      file('keepAlive: 0'),
      file('keepAlive: 15'),
      file('listen: { port: x }'),
      file('log: { level: loud }'),
      file('', '{ name: a, path: /a, backend: {} }'),
      file('', '{ name: a, path: /a }'),
      file('', '{ name: a, path: /a, passthrough: http://b, backend: { url: x } }'),
      {},
    ]
    for (const value of good) t.ok(valid(value), JSON.stringify(value))
    for (const value of bad) t.notOk(valid(value), JSON.stringify(value))
  },
)
