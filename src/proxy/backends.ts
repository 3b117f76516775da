// The configured backends: where a caller's route leads once its parameters are filled in, and which dialect is spoken
// there. A dialect that had to be found out is remembered for the route.
import type { BackendDialect, Headers, Target } from '../backends/backend.ts'
import { detect } from '../backends/detect.ts'
import { createHttpClient } from '../backends/http-client.ts'
import type { BackendOptions } from '../backends/options.ts'
import { createRpcBackend } from '../backends/rpc.ts'
import { createSseBackend } from '../backends/sse.ts'
import { createStreamableBackend } from '../backends/streamable.ts'
import type { Clock } from '../clock.ts'
import type { Config, McpRoute } from '../config/schema.ts'
import { expandHeader, expandPath } from '../config/template.ts'
import type { ParameterValues } from '../config/template.ts'
import { ProxyError } from '../errors.ts'
import type { RuleName } from '../event-stream/rules.ts'
import type { Caller } from '../frontends/exchange.ts'
import { dialects } from '../protocol/dialects.ts'
import type { DialectTraits } from '../protocol/dialects.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface Resolved {
  readonly target: Target
  readonly traits: DialectTraits
  readonly dialect: BackendDialect
  /** Whether client sessions get streams of their own. */
  readonly stream: 'auto' | 'own' | 'shared'
}

export interface Backends {
  /** At once where the dialect is known. Throws or rejects with what detection met. */
  resolve(caller: Caller): Resolved | Promise<Resolved>
  /** What a route sets on every request to its backend. */
  headers(route: McpRoute, parameters: ParameterValues): Headers
  /** A backend did not behave as its dialect has it: one that was found out is found out anew. */
  doubt(route: string): void
  close(): Promise<void>
}

interface Services {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

export function createBackends(config: Config, services: Services): Backends {
  const all = new Map<string, RouteBackend>()
  for (const route of config.routes) {
    if ('backend' in route) all.set(route.name, createRouteBackend(route, config, services))
  }
  return {
    resolve(caller) {
      const backend = all.get(caller.route)
      if (backend === undefined) {
        throw new ProxyError('ROUTE_UNKNOWN', `no route "${caller.route}"`)
      }
      return backend.resolve(caller)
    },
    headers(route, parameters) {
      const headers: Record<string, string> = {}
      for (const [name, template] of Object.entries(route.backend.headers)) {
        headers[name] = expandHeader(template, parameters)
      }
      return headers
    },
    doubt: (route) => all.get(route)?.doubt(),
    async close() {
      await Promise.all([...all.values()].map(({ close }) => close()))
    },
  }
}

interface RouteBackend {
  resolve(caller: Caller): Resolved | Promise<Resolved>
  doubt(): void
  close(): Promise<void>
}

const retryLogInterval = 5000

type Spoken = 'sse' | 'streamable' | 'rpc'

function createRouteBackend(route: McpRoute, config: Config, services: Services): RouteBackend {
  const { backend, name } = route
  const { clock, log, metrics } = services
  const http = createHttpClient({
    clock,
    connectTime: backend.connectTime,
    wakeTime: backend.wakeTime,
    onRetry: (_, reason) => retried(reason),
  })
  /** ms of the last line at `info`: each of many requests tries many times. */
  let toldRetry = -Infinity
  const retried = (reason: string): void => {
    const now = clock.now()
    const level = now - toldRetry >= retryLogInterval ? 'info' : 'debug'
    if (level === 'info') toldRetry = now
    log[level]({ route: name, reason }, 'backend retried')
  }
  const options: BackendOptions = {
    http,
    clock,
    endpointTime: backend.endpointTime,
    maxEventBytes: config.limits.event,
    rules: backend.repair,
    origins: backend.origins,
    onRepair: (_, rule, line) => repaired(rule, line),
  }
  const sse = createSseBackend(options)
  const speakers: Record<Spoken, BackendDialect> = {
    sse,
    streamable: createStreamableBackend(options),
    rpc: createRpcBackend(options),
  }
  const told = new Set<RuleName>()
  const repaired = (rule: RuleName, line: string): void => {
    metrics.repaired(name, rule)
    if (told.has(rule)) return
    told.add(rule)
    // The line may hold a user's data: it is shown at `trace` only.
    log.warn({ route: name, rule }, 'event stream repaired')
    log.trace({ route: name, rule, line: line.slice(0, 200) }, 'event stream repaired')
  }

  let spoken: Spoken | undefined = backend.dialect === 'auto' ? undefined : backend.dialect
  /** Detection under way, by principal: one caller's 401 is not another's. */
  const detecting = new Map<string, Promise<Spoken>>()

  const find = async (target: Target, { headers, principal }: Caller): Promise<Spoken> => {
    let stop = (): void => {}
    const { requestTime } = config.limits
    const detection = detect(target, headers, options, requestTime)
    try {
      const late = new Promise<never>((_, reject) => {
        stop = clock.after(requestTime, () => reject(undetected(name, requestTime)))
      })
      const found = await Promise.race([detection, late])
      log.info(
        { route: name, dialect: found.dialect, evidence: found.evidence },
        'backend detected',
      )
      spoken = found.dialect
      if (found.spare !== undefined) sse.keep(found.spare)
      return found.dialect
    } catch (reason) {
      const error = ProxyError.from(reason)
      void detection.then(({ spare }) => spare?.stream.close()).catch(() => {})
      log.warn({ route: name, err: error }, 'backend not detected')
      metrics.backendConnected(name, 'failed')
      throw error
    } finally {
      stop()
      detecting.delete(principal)
    }
  }

  const resolved = (target: Target, dialect: Spoken): Resolved => ({
    target,
    dialect: speakers[dialect],
    traits: dialects[dialect],
    stream: dialect === 'sse' ? backend.stream : 'own',
  })

  return {
    resolve(caller) {
      const target = targetOf(route, caller.parameters)
      if (spoken !== undefined) return resolved(target, spoken)
      const found = detecting.get(caller.principal) ?? find(target, caller)
      detecting.set(caller.principal, found)
      return found.then((dialect) => resolved(target, dialect))
    },
    doubt() {
      if (backend.dialect !== 'auto' || spoken === undefined) return
      log.warn({ route: name, dialect: spoken }, 'backend does not speak as detected')
      spoken = undefined
    },
    close() {
      sse.close()
      return http.close()
    },
  }
}

const undetected = (route: string, ms: number): ProxyError =>
  new ProxyError(
    'BACKEND_TIMEOUT',
    `the backend of route "${route}" said nothing to tell its dialect by in limits.requestTime, ${ms} ms`,
  )

function targetOf({ name, backend }: McpRoute, parameters: ParameterValues): Target {
  const url = new URL(expandPath(backend.url, parameters))
  const messages = backend.messages
  return {
    route: name,
    url,
    messages: messages === undefined ? undefined : new URL(expandPath(messages, parameters), url),
  }
}
