// Rules between keys, which no single value can break: unique names, paths that exclude each other, parameters that
// exist. Each check returns what it found; none changes anything.
import type { Finding } from './document.ts'
import type { Path } from './shape.ts'
import type { PathPattern, Template } from './template.ts'

/** A route as written, and what could be read of it: undefined is what was left out or is wrong by itself. */
export interface CheckedRoute {
  readonly written: Readonly<Record<string, unknown>> | undefined
  readonly path: PathPattern | undefined
  readonly messages: PathPattern | undefined
  /** Parameters that come from elsewhere than the path. */
  readonly supplied?: readonly string[]
  /** The templates of the backend, by their paths below `backend`. */
  readonly templates: readonly (readonly [Path, Template | undefined])[]
}

/** Everything that is wrong between the routes and inside each. */
export function checkRoutes(routes: readonly CheckedRoute[]): readonly Finding[] {
  return [
    ...uniqueNames(routes),
    ...uniquePaths(routes),
    ...routes.flatMap((route, index) => {
      const place = ['routes', index]
      return [...oneTarget(route, place), ...checkPath(route, place), ...checkUses(route, place)]
    }),
  ]
}

/** Where a store is to be found, and nothing that belongs to another kind of it. */
export function checkStore(written: Readonly<Record<string, unknown>>): readonly Finding[] {
  const path = ['store']
  const places = ['url', 'cluster', 'sentinels'].filter((key) => written[key] !== undefined)
  if (written['type'] !== 'redis') {
    const meant = Object.keys(written).filter((key) => key !== 'type')
    return meant.map((key) => ({
      path: [...path, key],
      key: true,
      message: `"${key}" means something only with "type: redis"`,
    }))
  }
  if (places.length !== 1) {
    const message =
      places.length === 0
        ? 'needs one of "url", "cluster" and "sentinels"'
        : `has ${places.map((key) => `"${key}"`).join(' and ')}, which exclude each other`
    return [{ path, message }]
  }
  if ((written['sentinels'] === undefined) !== (written['sentinelName'] === undefined)) {
    return [{ path, message: '"sentinels" and "sentinelName" belong together' }]
  }
  return []
}

function uniqueNames(routes: readonly CheckedRoute[]): Finding[] {
  const seen = new Map<string, number>()
  return routes.flatMap(({ written }, index) => {
    const name = written?.['name']
    if (typeof name !== 'string') return []
    const first = seen.get(name)
    if (first === undefined) {
      seen.set(name, index)
      return []
    }
    const message = `routes[${first}] is named "${name}" too; names must be unique`
    return [{ path: ['routes', index, 'name'], message }]
  })
}

/** What a pattern matches, whatever its parameters are called: of two equal ones the first would shadow the second. */
const shape = ({ segments, rest }: PathPattern): string =>
  JSON.stringify([segments.map((part) => (typeof part === 'string' ? part : 0)), rest])

function uniquePaths(routes: readonly CheckedRoute[]): Finding[] {
  const seen = new Map<string, { readonly place: string; readonly text: string }>()
  const findings: Finding[] = []
  for (const [index, route] of routes.entries()) {
    for (const key of ['path', 'messages'] as const) {
      const pattern = route[key]
      if (pattern === undefined) continue
      const { text } = pattern
      const first = seen.get(shape(pattern))
      if (first === undefined) {
        seen.set(shape(pattern), { place: `routes[${index}].${key}`, text })
        continue
      }
      const message =
        first.text === text
          ? `"${text}" is ${first.place} already`
          : `"${text}" is shadowed by ${first.place}, "${first.text}": both match the same requests`
      findings.push({ path: ['routes', index, key], message })
    }
  }
  return findings
}

function oneTarget({ written }: CheckedRoute, path: Path): Finding[] {
  if (written === undefined) return []
  const has = (key: string): boolean => written[key] !== undefined
  const atKey = (key: string, message: string): Finding => ({
    path: [...path, key],
    key: true,
    message,
  })
  if (!has('passthrough')) {
    const message = 'needs either "backend" (an MCP server) or "passthrough" (any other server)'
    return has('backend') ? [] : [{ path, message }]
  }
  if (has('backend')) {
    return [atKey('passthrough', 'a route has either "backend" or "passthrough", not both')]
  }
  return ['messages', 'clients']
    .filter(has)
    .map((key) => atKey(key, `"${key}" means nothing for a route with "passthrough"`))
}

const list = (parameters: readonly string[]): string =>
  parameters.length === 0 ? 'none' : parameters.map((name) => `{${name}}`).join(', ')

function checkPath({ written, path: pattern, messages }: CheckedRoute, place: Path): Finding[] {
  if (pattern === undefined) return []
  const path = [...place, 'path']
  if (written?.['passthrough'] !== undefined) {
    if (pattern.parameters.length === 0) return []
    return [{ path, message: 'the path of a route with "passthrough" takes no parameters' }]
  }
  const findings: Finding[] = []
  if (pattern.rest) {
    findings.push({ path, message: 'a path may end in "/*" only with "passthrough"' })
  }
  if (messages === undefined) return findings
  if (messages.rest) {
    findings.push({ path: [...place, 'messages'], message: 'must not end in "/*"' })
  }
  if (messages.parameters.toSorted().join() !== pattern.parameters.toSorted().join()) {
    const message = `must have the parameters of the route's path, ${list(pattern.parameters)}, but has ${list(messages.parameters)}`
    findings.push({ path: [...place, 'messages'], message })
  }
  return findings
}

function checkUses(
  { path: pattern, templates, supplied = [] }: CheckedRoute,
  place: Path,
): Finding[] {
  if (pattern === undefined) return []
  return templates.flatMap(([key, template]) => {
    const unknown =
      template?.parameters.filter(
        (name) => !pattern.parameters.includes(name) && !supplied.includes(name),
      ) ?? []
    if (unknown.length === 0) return []
    // A header's value is never quoted, not even in part.
    const subject = key[0] === 'headers' ? 'a parameter' : list(unknown)
    const message = `uses ${subject} that the route's path does not have; it has ${list(pattern.parameters)}`
    return [{ path: [...place, 'backend', ...key], message }]
  })
}
