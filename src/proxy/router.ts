// Which route a path belongs to. Compiled once into a tree, so that a request costs the same whatever the number of
// routes. Nothing here knows methods, headers or what a route leads to.
import type { RouteConfig } from '../config/schema.ts'
import { matchPath, splitPath, type ParameterValues, type PathPattern } from '../config/template.ts'

export interface RouteMatch {
  readonly route: RouteConfig
  /** Decoded. Fit for `expandPath` and `expandHeader`, which guard the way out. */
  readonly parameters: ParameterValues
  /** Which of the route's two paths it was. */
  readonly place: 'path' | 'messages'
}

interface Leaf {
  readonly pattern: PathPattern
  readonly route: RouteConfig
  readonly place: 'path' | 'messages'
}

/** One segment deep. A literal is tried before a parameter, a parameter before the rest (`/*`). */
interface Node {
  readonly literals: Map<string, Node>
  parameter: Node | undefined
  leaf: Leaf | undefined
  rest: Leaf | undefined
}

const newNode = (): Node => ({
  literals: new Map(),
  parameter: undefined,
  leaf: undefined,
  rest: undefined,
})

/**
 * Compiles routes into a function from a request's path, still percent-encoded and without its query, to what it
 * matches. A slash at the end makes no difference, neither in the request nor in the route. The order of routes makes
 * none either: the loader has refused paths that match the same requests.
 */
export function createRouter(
  routes: readonly RouteConfig[],
): (pathname: string) => RouteMatch | undefined {
  const root = newNode()
  for (const route of routes) {
    add(root, { pattern: route.path, route, place: 'path' })
    if ('messages' in route && route.messages !== undefined) {
      add(root, { pattern: route.messages, route, place: 'messages' })
    }
  }
  return (pathname) => {
    const segments = splitPath(pathname)
    return segments === undefined ? undefined : find(root, segments, 0)
  }
}

function add(root: Node, leaf: Leaf): void {
  let node = root
  for (const segment of leaf.pattern.segments) {
    let next = typeof segment === 'string' ? node.literals.get(segment) : node.parameter
    if (next === undefined) {
      next = newNode()
      if (typeof segment === 'string') node.literals.set(segment, next)
      else node.parameter = next
    }
    node = next
  }
  if (leaf.pattern.rest) node.rest ??= leaf
  else node.leaf ??= leaf
}

function find(node: Node, segments: readonly string[], depth: number): RouteMatch | undefined {
  const segment = segments[depth]
  if (segment === undefined) return take(node.leaf, segments) ?? take(node.rest, segments)
  const literal = node.literals.get(segment)
  return (
    (literal === undefined ? undefined : find(literal, segments, depth + 1)) ??
    (node.parameter === undefined ? undefined : find(node.parameter, segments, depth + 1)) ??
    take(node.rest, segments)
  )
}

function take(leaf: Leaf | undefined, segments: readonly string[]): RouteMatch | undefined {
  if (leaf === undefined) return undefined
  const parameters = matchPath(leaf.pattern, segments)
  if (parameters === undefined) return undefined
  return { route: leaf.route, parameters, place: leaf.place }
}
