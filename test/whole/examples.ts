// The ready-made files are the first thing that people run: each must load, and the sample must not lie.
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parseDocument, visit } from 'yaml'
import { annotatedSchema, type JsonSchema } from '../../src/config/json-schema.ts'
import { formatProblem, loadConfig } from '../../src/config/load.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

const env = {
  APP_URL: 'https://app.example.com',
  BACKEND_KEY_FILE: '/run/secrets/backend-key',
  BACKEND_URL: 'https://backend.example.com',
  CLIENT_ID: 'causeway',
  CLIENT_SECRET_FILE: '/run/secrets/client',
  INTROSPECTION_URL: 'https://as.example.com/introspect',
  ISSUER: 'https://as.example.com',
  PUBLIC_URL: 'https://mcp.example.com',
  ROBOT_SHA256: '2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b',
  TOKEN_FILE: '/run/secrets/authorization',
  WORKER_URL: 'https://worker.example.com/rpc',
}
const stories = readdirSync(new URL('config/', root))
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => `config/${name}`)

t.ok(stories.length >= 8, 'there are stories')

for (const path of ['proxy.example.yaml', ...stories]) {
  t.test(`${path} loads`, async (t) => {
    const result = loadConfig(read(path), path, env, () => 'Bearer token\n')
    t.strictSame(
      result.ok ? [] : result.problems.map((problem) => formatProblem(path, problem)),
      [],
    )
  })
}

for (const path of stories) {
  t.test(`${path} says first who needs it and how to run it`, async (t) => {
    const lines = read(path).split('\n')
    const length = lines.findIndex((line) => !line.startsWith('#'))
    t.ok(length >= 3 && length <= 6, `${length} lines`)
    t.match(lines.slice(0, length).join('\n'), `causeway serve ${path}`)
  })
}

/** All keys of the schema by name; the same name at two places counts once. */
function keyNames(schema: JsonSchema): string[] {
  const inner = [schema.items, ...(schema.anyOf ?? [])].filter(
    (one) => typeof one === 'object' && !Array.isArray(one),
  ) as JsonSchema[]
  const own = Object.entries(schema.properties ?? {}) as [string, JsonSchema][]
  return [...own.flatMap(([key, value]) => [key, ...keyNames(value)]), ...inner.flatMap(keyNames)]
}

/** What stands in comments under a heading of the sample, as if it were written. */
function uncommented(heading: string): string {
  const [, rest = ''] = read('proxy.example.yaml').split(`# With \`type: ${heading}\``)
  const lines = rest.split('\n').slice(1)
  const end = lines.findIndex((line) => !/^ +# \S|^ +#  /.test(line))
  return lines
    .slice(0, end)
    .filter((line) => /^ +# (?: *# )? *(?:- )?\w+:(?: |$)/.test(line))
    .filter((line) => !/^ +# +# /.test(line))
    .map((line) => line.replace('# ', ''))
    .join('\n')
}

for (const type of ['relay', 'verify']) {
  t.test(`what the sample has in comments for "type: ${type}" loads`, async (t) => {
    const sample = parseDocument(read('proxy.example.yaml'))
    const auth: unknown = parseDocument(uncommented(type)).toJS()
    t.ok(Object.keys(auth as object).length >= 4)
    sample.setIn(['routes', 0, 'auth'], { type, ...(auth as object) })
    const result = loadConfig(String(sample), 'proxy.example.yaml', env, () => 'Bearer token\n')
    t.strictSame(result.ok ? [] : result.problems, [])
  })
}

t.test('the sample shows every key', async (t) => {
  const shown = new Set<string>()
  visit(parseDocument(read('proxy.example.yaml')), {
    Map(_, map) {
      for (const { key } of map.items) shown.add(String(key))
    },
  })
  // Keys that exclude others are shown in comments, as they would be written.
  for (const [, line = ''] of read('proxy.example.yaml').matchAll(/^ +# +(?:[#-] )?(\w+:.*)$/gm)) {
    for (const [, key = ''] of line.matchAll(/(\w+):/g)) shown.add(key)
  }
  t.strictSame(
    keyNames(annotatedSchema()).filter((key) => !shown.has(key)),
    [],
  )
})

/** Keys of the sample's first route that are written with their defaults. */
const withDefaults = [
  ['clients'],
  ['auth'],
  ...['dialect', 'stream', 'endpointTime', 'connectTime', 'wakeTime', 'origins', 'repair'].map(
    (key) => ['backend', key],
  ),
]

t.test('the sample shows the defaults: nothing changes without them', async (t) => {
  const load = (text: string) => loadConfig(text, 'proxy.example.yaml', {}, () => '')
  const document = parseDocument(read('proxy.example.yaml'))
  const whole = load(String(document))
  t.ok(whole.ok)
  const needed = new Set(['routes', 'publicUrl'])
  for (const key of Object.keys(document.toJS())) if (!needed.has(key)) document.delete(key)
  for (const key of withDefaults) t.ok(document.deleteIn(['routes', 0, ...key]), key.join('.'))
  t.strictSame(load(String(document)), whole)
})
