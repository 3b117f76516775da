// Text -> configuration, or every problem at once. The one place that turns schema issues into sentences. Nothing
// here reads a file or the environment by itself: both come in.
import { z } from 'zod'
import { checkAuth } from './auth-checks.ts'
import { checkRoutes, checkStore, type CheckedRoute } from './checks.ts'
import { readDocument, type Finding } from './document.ts'
import { suggestion } from './nearest.ts'
import {
  backendSchema,
  configSchema,
  routeSchema,
  type Config,
  type ParsedRoute,
  type RouteConfig,
} from './schema.ts'
import { formatPath, keysAt, schemaAt, type Path } from './shape.ts'
import { headerValue, secretText } from './values.ts'

/** One thing wrong with a configuration. Header values are never quoted in it. */
export interface Problem {
  /** Counts from 1; 0 where there is no file. */
  readonly line: number
  /** Counts from 1; 0 where there is no file. */
  readonly column: number
  /** Like `routes[1].backend.url`; empty for the file as a whole. */
  readonly path: string
  readonly message: string
}

export type LoadResult =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/**
 * Reads a configuration file. `file` is its path, for relative secret files. `readFile` may throw: that becomes a
 * problem at the place of the reference. Problems come in the order of the file.
 */
export function loadConfig(
  text: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): LoadResult {
  const reading = readDocument(text, { env, readFile, file, isSecret, convert })
  if (!reading.ok) {
    return { ok: false, problems: reading.faults.map((fault) => ({ ...fault, path: '' })) }
  }
  const result = validate(reading.value ?? {}, reading.findings)
  if (result.ok) return result
  const problems = result.findings.map((finding) => ({
    ...reading.locate(finding),
    path: formatPath(finding.path),
    message: finding.message,
  }))
  return { ok: false, problems: problems.sort((a, b) => a.line - b.line || a.column - b.column) }
}

export interface BackendOptions {
  /** Absolute URL of the MCP server; may take parameters of `path`. */
  readonly backend: string
  /** Path of the only route. Default: `/mcp`. */
  readonly path?: string | undefined
  readonly port?: number | undefined
  readonly host?: string | undefined
  /** What clients see, such as the address of a tunnel. */
  readonly publicUrl?: string | undefined
}

/** The configuration of one backend without a file and without the admin listener. Problems have no line. */
export function configForBackend(options: BackendOptions): LoadResult {
  const { backend, path = '/mcp', port, host, publicUrl } = options
  const value = {
    listen: { host, port },
    admin: false,
    publicUrl,
    routes: [{ name: 'backend', path, backend: { url: backend } }],
  }
  const result = validate(value, [])
  if (result.ok) return result
  const problems = result.findings.map((finding) => ({
    line: 0,
    column: 0,
    path: formatPath(finding.path),
    message: finding.message,
  }))
  return { ok: false, problems }
}

/** `file:line:column: path: message`, without the parts there are none of. */
export function formatProblem(file: string, problem: Problem): string {
  const { line, column, path, message } = problem
  const place = line === 0 ? file : `${file}:${line}:${column}`
  return path === '' ? `${place}: ${message}` : `${place}: ${path}: ${message}`
}

type Validation =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly findings: readonly Finding[] }

function validate(value: unknown, known: readonly Finding[]): Validation {
  const parsed = configSchema.safeParse(value, { error: describe })
  const found = parsed.success ? [] : parsed.error.issues.flatMap((issue) => toFindings(issue, []))
  found.push(...checkRoutes(routesOf(value)))
  if (isRecord(value)) found.push(...checkAuth(value))
  if (isRecord(value) && isRecord(value['store'])) found.push(...checkStore(value['store']))
  // A value that could not be put in is missing or wrong for that reason only.
  const reported = new Set(known.map(({ path }) => formatPath(path)))
  const findings = [...known, ...found.filter(({ path }) => !reported.has(formatPath(path)))]
  if (findings.length > 0 || !parsed.success) return { ok: false, findings }
  const { publicUrl, routes, ...rest } = parsed.data
  return { ok: true, config: freeze({ ...rest, publicUrl, routes: routes.flatMap(toRoute) }) }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const read = <T>(type: z.ZodType<T>, value: unknown): T | undefined => type.safeParse(value).data

/** Parameters that the credential of a caller fills. */
const suppliedBy = (auth: unknown): readonly string[] => {
  const parameters = isRecord(auth) ? auth['parameters'] : undefined
  return isRecord(parameters) ? Object.keys(parameters) : []
}

/** Each value by itself, so that a broken one hides nothing about the others. */
function routesOf(value: unknown): readonly CheckedRoute[] {
  const routes = isRecord(value) && Array.isArray(value['routes']) ? value['routes'] : []
  return routes.map((route: unknown) => {
    const written = isRecord(route) ? route : undefined
    const backend = isRecord(written?.['backend']) ? written['backend'] : {}
    const headers = isRecord(backend['headers']) ? Object.entries(backend['headers']) : []
    const { path, messages } = routeSchema.shape
    return {
      written,
      path: read(path, written?.['path']),
      supplied: suppliedBy(written?.['auth']),
      messages: read(messages, written?.['messages']),
      templates: [
        [['url'], read(backendSchema.shape.url, backend['url'])],
        [['messages'], read(backendSchema.shape.messages, backend['messages'])],
        ...headers.map(([name, text]) => [['headers', name], read(headerValue, text)] as const),
      ],
    }
  })
}

/** None only for a route that `checkRoutes` has refused. */
function toRoute({ name, path, messages, clients, auth, ...target }: ParsedRoute): RouteConfig[] {
  const { backend, passthrough } = target
  if (passthrough !== undefined) return [{ name, path, passthrough }]
  if (backend === undefined) return []
  return [
    { name, path, messages, clients, auth, backend: { ...backend, messages: backend.messages } },
  ]
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const inner of Object.values(value)) freeze(inner)
  return Object.freeze(value)
}

const isSecret = (path: Path): boolean => {
  const found = schemaAt(configSchema, path)
  const schema = found instanceof z.ZodOptional ? found.unwrap() : found
  return schema === headerValue || schema === secretText
}

/** The text itself, unless the key takes no text but the number or boolean that it spells. */
function convert(path: Path, text: string): unknown {
  const schema = schemaAt(configSchema, path)
  if (schema === undefined || z.safeParse(schema, text).success) return text
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?\d+$/.test(text) ? Number(text) : text
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map',
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'boolean') return `${value}`
  return kinds[typeof value] ?? 'nothing'
}

/** Words for what the schema itself has no sentence of its own for. */
function describe(issue: z.core.$ZodRawIssue): string | undefined {
  const { input } = issue
  if (issue.code === 'invalid_type') {
    if (input === undefined) return 'missing'
    const hint =
      issue.expected === 'string' && typeof input === 'object'
        ? '; a text that begins with "{" or "[" needs quotes'
        : ''
    return `expected ${kinds[issue.expected] ?? issue.expected} but found ${kindOf(input)}${hint}`
  }
  if (issue.code === 'invalid_value') {
    const values = issue.values.map(String)
    const wanted = values.length === 1 ? `${values[0]}` : `one of ${values.join(', ')}`
    if (typeof input !== 'string') return `expected ${wanted} but found ${kindOf(input)}`
    return `expected ${wanted} but found "${input}"${suggestion(input, values)}`
  }
  if (issue.code === 'too_small') {
    if (issue.origin === 'array') return 'must have at least one entry'
    return issue.origin === 'string' ? 'must not be empty' : `must be at least ${issue.minimum}`
  }
  return issue.code === 'too_big' ? `must be at most ${issue.maximum}` : undefined
}

function toFindings(issue: z.core.$ZodIssue, base: Path): Finding[] {
  const path = [...base, ...issue.path.map((key) => (typeof key === 'symbol' ? '' : key))]
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(configSchema, path)
    return issue.keys.map((key) => ({
      path: [...path, key],
      key: true,
      message: `unknown key "${key}"${suggestion(key, known)}`,
    }))
  }
  if (issue.code === 'invalid_key') {
    return issue.issues.map(({ message }) => ({ path, key: true, message }))
  }
  // A union without a sentence of its own is a choice between a map and something else, and the map was meant.
  const [last] = issue.code === 'invalid_union' ? issue.errors.slice(-1) : []
  if (last !== undefined && issue.message === 'Invalid input') {
    return last.flatMap((inner) => toFindings(inner, path))
  }
  return [{ path, message: issue.message }]
}
