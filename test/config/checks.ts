import t from 'tap'
import { checkRoutes, type CheckedRoute } from '../../src/config/checks.ts'
import { formatPath, type Path } from '../../src/config/shape.ts'
import { parsePathPattern, parseTemplate } from '../../src/config/template.ts'

interface Sketch {
  readonly name?: string
  readonly path?: string
  readonly messages?: string
  readonly backend?: Readonly<Record<string, string>>
  readonly passthrough?: string
  readonly clients?: readonly string[]
}

const pattern = (text: string | undefined) => {
  const parsed = parsePathPattern(text ?? '')
  return parsed.ok ? parsed.pattern : undefined
}

const template = (text: string) => {
  const parsed = parseTemplate(text)
  return parsed.ok ? parsed.template : undefined
}

const toRoute = (sketch: Sketch): CheckedRoute => ({
  written: { ...sketch },
  path: pattern(sketch.path),
  messages: pattern(sketch.messages),
  templates: Object.entries(sketch.backend ?? {}).map(
    ([key, text]) => [key.split('/') as Path, template(text)] as const,
  ),
})

const check = (...routes: Sketch[]): string[] =>
  checkRoutes(routes.map(toRoute)).map(({ path, message }) => `${formatPath(path)}: ${message}`)

const backend = { url: 'http://b' }

t.test('routes that differ in name and path are in order', async (t) => {
  t.strictSame(
    check(
      { name: 'a', path: '/a/{x}', messages: '/b/{x}', backend: { url: 'http://b/{x}' } },
      { name: 'b', path: '/a/*', passthrough: 'http://c' },
      { name: 'c', path: '/a', backend },
      { name: 'd', path: '/{x}/a', backend },
    ),
    [],
  )
})

t.test('paths that match the same requests are refused, whoever has them', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['/a', '/a', /^routes\[1\]\.path: "\/a" is routes\[0\]\.path already$/],
    ['/a', '/a/', /"\/a\/" is shadowed by routes\[0\]\.path, "\/a"/],
    ['/a/{x}', '/a/{y}', /shadowed/],
    ['/a%62', '/ab', /shadowed/],
  ]
  for (const [first, second, problem] of cases) {
    t.match(check({ path: first, backend }, { path: second, backend }), [problem])
  }
  t.match(check({ path: '/a', messages: '/a', backend }), [/^routes\[0\]\.messages: .* already$/])
})

t.test('a name is unique', async (t) => {
  t.match(check({ name: 'a', backend }, { backend }, { name: 'a', backend }), [
    /^routes\[2\]\.name: routes\[0\] is named "a" too/,
  ])
})

t.test('a route leads to one thing, and has only the keys of it', async (t) => {
  const cases: [Sketch, RegExp[]][] = [
    [{ path: '/a' }, [/^routes\[0\]: needs either/]],
    [{ path: '/a', backend, passthrough: 'http://c' }, [/not both/]],
    [
      { path: '/a', passthrough: 'http://c', clients: ['sse'], messages: '/m' },
      [/"messages" means nothing/, /"clients" means nothing/],
    ],
    [{ path: '/a/{x}', passthrough: 'http://c' }, [/takes no parameters/]],
    [{ path: '/a/*', backend }, [/only with "passthrough"/]],
    [{ path: '/a', messages: '/m/*', backend }, [/must not end in/]],
  ]
  for (const [route, found] of cases) {
    const problems = check(route)
    t.equal(problems.length, found.length, problems.join('\n'))
    t.match(problems, found)
  }
})

t.test('the messages path has the parameters of the path, in any order', async (t) => {
  t.strictSame(check({ path: '/{a}/{b}', messages: '/m/{b}/{a}', backend }), [])
  t.match(check({ path: '/{a}', messages: '/m', backend }), [
    /messages: must have the parameters of the route's path, \{a\}, but has none/,
  ])
})

t.test('a backend uses only parameters that the path has', async (t) => {
  const uses = { url: 'http://b/{x}', messages: '/{y}', 'headers/h': '{secret}' }
  t.strictSame(check({ path: '/{x}', backend: uses }), [
    "routes[0].backend.messages: uses {y} that the route's path does not have; it has {x}",
    "routes[0].backend.headers.h: uses a parameter that the route's path does not have; it has {x}",
  ])
})

t.test('what could not be read hides nothing else', async (t) => {
  t.match(check({ name: 'a', path: 'bad' }, { name: 'a', path: '/b', backend }), [
    /names must be unique/,
    /needs either/,
  ])
  t.strictSame(
    checkRoutes([{ written: undefined, path: undefined, messages: undefined, templates: [] }]),
    [],
  )
})
