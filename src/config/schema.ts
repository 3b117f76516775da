// The configuration file: every key, its kind, default and meaning. Types, checks, the published JSON Schema and the
// reference all come from here. Rules between keys live in checks.ts, reading files in load.ts.
import { z } from 'zod'
import { ruleTable } from '../event-stream/rules.ts'
import type { RuleName } from '../event-stream/rules.ts'
import { dialects, type Dialect } from '../protocol/dialects.ts'
import { authSchema } from './auth-schema.ts'
import type { PathPattern } from './template.ts'
import {
  baseUrl,
  duration,
  durationOrZero,
  headerMap,
  hostName,
  origin,
  pathOrUrlTemplate,
  pathPattern,
  redisUrl,
  secretText,
  size,
  urlTemplate,
} from './values.ts'

const dialectNames = Object.keys(dialects) as Dialect[]

const host = (meaning: string) => z.string().min(1).default('127.0.0.1').describe(meaning)
const port = (number: number, meaning: string) =>
  z.int().min(0).max(65535).default(number).describe(meaning)
const count = (number: number, meaning: string) => z.int().min(1).default(number).describe(meaning)
const time = (text: string, meaning: string) => duration().prefault(text).describe(meaning)
const timeOrZero = (text: string, meaning: string) =>
  durationOrZero().prefault(text).describe(meaning)
const bytes = (text: string, meaning: string) => size().prefault(text).describe(meaning)

const listenSchema = z.strictObject({
  host: host('Address to listen on. 0.0.0.0 or :: lets other machines in.'),
  port: port(8080, 'Port to listen on; 0 takes any free one.'),
})

const adminSchema = z.strictObject({
  host: host('Address of the admin listener.'),
  port: port(9090, 'Port of the admin listener; 0 takes any free one.'),
})

const redisTlsSchema = z.strictObject({
  ca: secretText.optional().describe('Certificates, in PEM, that the server’s must come from.'),
  cert: secretText.optional().describe('Certificate, in PEM, that we show the server.'),
  key: secretText.optional().describe('The key of `cert`, in PEM.'),
  verify: z
    .boolean()
    .default(true)
    .describe('`false`: any certificate is accepted, so anybody in between can read along.'),
})

const storeSchema = z.strictObject({
  type: z
    .enum(['memory', 'redis'])
    .default('memory')
    .describe(
      '`memory`: sessions live in this process and end with it. `redis`: several replicas serve the same sessions; takes one of `url`, `cluster` and `sentinels`.',
    ),
  url: redisUrl().optional().describe('One Redis or Valkey server, 6.2 or later.'),
  cluster: z
    .array(redisUrl())
    .min(1)
    .optional()
    .describe('Some nodes of a Redis Cluster; the others are found.'),
  sentinels: z
    .array(redisUrl())
    .min(1)
    .optional()
    .describe('Sentinels that know which server is the primary one.'),
  sentinelName: z.string().min(1).optional().describe('The name that `sentinels` know it by.'),
  username: z.string().min(1).optional().describe('User of the servers, before that of a URL.'),
  password: secretText.optional().describe('Password of the servers, before that of a URL.'),
  tls: redisTlsSchema
    .optional()
    .describe('TLS to the servers; `rediss://` alone uses the defaults.'),
  prefix: z
    .string()
    .regex(/^[\w.-]{1,64}$/, { error: 'a prefix is up to 64 letters, digits, "-", "_" and "."' })
    .default('causeway')
    .describe('What every key begins with: fleets that share a server need one each.'),
})

const logSchema = z.strictObject({
  level: z
    .enum(['trace', 'debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('The least level that is logged. Message bodies appear at `trace` only.'),
  format: z
    .enum(['auto', 'json', 'pretty'])
    .default('auto')
    .describe(
      'One JSON object a line, or text for people. `auto`: pretty on a terminal, else JSON.',
    ),
  principals: z
    .enum(['digest', 'clear'])
    .default('digest')
    .describe(
      'How callers stand in the audit lines of routes with `auth`: as a short digest, by which they can be told apart, or by name.',
    ),
})

const limitsSchema = z.strictObject({
  body: bytes(
    '16MiB',
    'Largest request body that is read from a client, and largest JSON answer from a backend.',
  ),
  event: bytes(
    '16MiB',
    'Largest event that is held of a backend; a larger one ends its stream, unless it passes as it comes.',
  ),
  headerTime: time('10s', 'Time for a client to send its request headers.'),
  bodyTime: time('30s', 'Time for a client to send its request body.'),
  requestTime: time('10m', 'How long a request waits without any word from the backend.'),
  idleTime: time('30m', 'How long a session may be unused before it is forgotten.'),
  sessions: count(10_000, 'Sessions in total; past it the least recently used one goes.'),
  sessionsPerPrincipal: count(
    1000,
    'Sessions of one principal; past it its least recently used one goes.',
  ),
  streams: count(10_000, 'Open client streams in total.'),
  parked: count(
    1000,
    'Requests of 2026-07-28 clients that wait for their client to come back with answers.',
  ),
  parkTime: time('5m', 'How long such a request waits, before it is given up.'),
  replayEvents: count(
    256,
    'Events kept of each session for clients that resume a stream with Last-Event-ID.',
  ),
  replayBytes: bytes('1MiB', 'Size of all events kept of one session; past it the oldest go.'),
  buffer: bytes('4MiB', 'What is kept for a client that reads slowly, before its stream is cut.'),
  stallTime: time(
    '60s',
    'How long a client may read nothing of what waits for it, before its stream is cut.',
  ),
})

const rate = (meaning: string) =>
  z
    .strictObject({
      count: z.int().min(1).describe('How many are let through.'),
      time: duration().describe('Within which time.'),
    })
    .optional()
    .describe(meaning)

const rateLimitsSchema = z.strictObject({
  requests: rate('Requests of one principal on one route. Default: no limit.'),
  failures: rate('Wrong credentials from one address. Default: no limit.'),
  registrations: rate(
    'Registrations of OAuth clients through us, all together. Default: no limit.',
  ),
})

/** One key for each rule. */
const repairSchema = z.strictObject(
  Object.fromEntries(
    ruleTable.map(({ name, on, doc }) => [name, z.boolean().default(on).describe(doc)]),
  ) as Record<RuleName, z.ZodDefault<z.ZodBoolean>>,
)

export const backendSchema = z.strictObject({
  url: urlTemplate().describe(
    "Absolute http or https URL of the MCP server. `{name}` in its path or query takes a parameter of the route's path.",
  ),
  dialect: z
    .enum(['auto', 'sse', 'streamable', 'stateless', 'rpc'])
    .default('auto')
    .describe(
      'What the backend speaks: `sse` (HTTP with SSE, revision 2024-11-05), `streamable` (Streamable HTTP, revisions 2025-03-26 to 2025-11-25), `stateless` (revision 2026-07-28), `rpc` (JSON-RPC over plain POST), or `auto` to find out.',
    ),
  messages: pathOrUrlTemplate()
    .optional()
    .describe(
      'Where to POST when an `sse` backend announces no endpoint: a path or an absolute URL. Takes parameters.',
    ),
  headers: headerMap()
    .prefault({})
    .describe(
      'Headers set on every request to the backend; the same headers from a client are dropped. A value takes parameters, or is read from a file with `{ file: path }`.',
    ),
  stream: z
    .enum(['auto', 'own', 'shared'])
    .default('auto')
    .describe(
      'Whether each client session gets an event stream of its own, or all of them share one because the backend keeps one queue per user. `auto` finds out.',
    ),
  endpointTime: time('5s', 'How long to wait for the `endpoint` event of an `sse` backend.'),
  connectTime: time('10s', 'How long connecting may take.'),
  wakeTime: timeOrZero(
    '60s',
    'How long to try again while a sleeping backend wakes (names that do not resolve yet, refused connections, 502, 503, 504). 0: never.',
  ),
  origins: z
    .array(origin(false))
    .prefault([])
    .describe('Further origins that an `endpoint` event of this backend may name.'),
  repair: repairSchema
    .prefault({})
    .describe('Repair rules of event streams and messages to switch off or on.'),
})

/** The flat form in the file; `RouteConfig` is what becomes of it. */
export const routeSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9][\w.-]{0,63}$/, {
        error:
          'a name is up to 64 letters, digits, "-", "_" and ".", beginning with a letter or digit',
      })
      .describe('Name in logs, metrics and error messages; unique.'),
    path: pathPattern().describe(
      'Path that clients use, for every dialect. `{name}` fills one segment and becomes a parameter. With `passthrough` it may end in `/*`.',
    ),
    messages: pathPattern()
      .optional()
      .describe(
        'Where `sse` clients are told to POST, with the same parameters as `path`. Default: `path` itself, with a session parameter.',
      ),
    clients: z
      .array(z.enum(dialectNames))
      .min(1)
      .default([...dialectNames])
      .describe('The dialects that clients may speak here.'),
    backend: backendSchema.optional().describe('The MCP server behind the route.'),
    auth: authSchema
      .prefault({})
      .describe('Who may come in, and what the backend is told of them.'),
    passthrough: baseUrl()
      .optional()
      .describe(
        'Instead of `backend`: absolute URL of a server that gets requests as they are, MCP or not; the path of the request is appended.',
      ),
  })
  .meta({ oneOf: [{ required: ['backend'] }, { required: ['passthrough'] }] })

export const configSchema = z.strictObject({
  listen: listenSchema.prefault({}).describe('Where clients connect.'),
  admin: z
    .union([z.literal(false), adminSchema], {
      error: ({ input }) =>
        typeof input === 'object' && input !== null ? undefined : 'expected false or a map',
    })
    .prefault({})
    .describe('Health, readiness and metrics on a listener of their own; `false` switches it off.'),
  publicUrl: baseUrl()
    .optional()
    .describe(
      'What clients see: an absolute URL, which may carry a path prefix. Never taken from request headers.',
    ),
  store: storeSchema.prefault({}).describe('Where sessions are kept.'),
  log: logSchema.prefault({}).describe('What is logged, and how.'),
  origins: z
    .array(origin(true))
    .prefault([
      'https://claude.ai',
      'https://claude.com',
      'https://chatgpt.com',
      'https://vscode.dev',
    ])
    .describe(
      'Values of the Origin header that are let in, besides that of `publicUrl` and, on a loopback address, loopback origins. "*" lets in any.',
    ),
  hosts: z
    .array(hostName())
    .prefault([])
    .describe('Further names that the Host header may hold while listening on a loopback address.'),
  keepAlive: time(
    '15s',
    'How often a comment line is sent on an open stream, so that nothing in between cuts it.',
  ),
  drainTime: timeOrZero(
    '10s',
    'How long running requests may take to finish when Causeway is asked to stop. 0: not at all.',
  ),
  rateLimits: rateLimitsSchema
    .prefault({})
    .describe('How often somebody may ask; shared by all replicas where sessions are.'),
  limits: limitsSchema.prefault({}).describe('Bounds on what clients and backends may take.'),
  routes: z.array(routeSchema).min(1).describe('Paths and what is behind them; at least one.'),
})

/** All the way down, as frozen objects are. */
type Deep<T> = T extends object ? { readonly [K in keyof T]: Deep<T[K]> } : T
type ParsedConfig = z.output<typeof configSchema>
type ParsedBackend = z.output<typeof backendSchema>
export type ParsedRoute = z.output<typeof routeSchema>

/** Durations in ms; header names in lower case. */
export type BackendConfig = Deep<Omit<ParsedBackend, 'messages'>> & {
  readonly messages: ParsedBackend['messages']
}

/** Durations in ms. */
export type AuthConfig = Deep<z.output<typeof authSchema>>

/** A route to an MCP server. */
export interface McpRoute {
  readonly name: string
  readonly path: PathPattern
  readonly messages: PathPattern | undefined
  readonly clients: readonly Dialect[]
  readonly backend: BackendConfig
  readonly auth: AuthConfig
}

/** A route that forwards requests as they are. `passthrough` is an absolute URL without a slash at its end. */
export interface PassthroughRoute {
  readonly name: string
  readonly path: PathPattern
  readonly passthrough: string
}

/** Tell the two apart with `'backend' in route`. */
export type RouteConfig = McpRoute | PassthroughRoute

/** The configuration: frozen and total. Durations in ms, sizes in bytes, URLs without a slash at their end. */
export type Config = Deep<Omit<ParsedConfig, 'publicUrl' | 'routes'>> & {
  readonly publicUrl: string | undefined
  readonly routes: readonly RouteConfig[]
}
