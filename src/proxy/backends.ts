// The configured backends: where a caller's route leads once its parameters are filled in, and which dialect is spoken
// there.
import type { BackendDialect, Headers, Target } from '../backends/backend.ts'
import { detect } from '../backends/detect.ts'
import type { DetectedDialect } from '../backends/detect.ts'
import { createHttpClient } from '../backends/http-client.ts'
import type { BackendOptions } from '../backends/options.ts'
import { createRpcBackend } from '../backends/rpc.ts'
import { createSseBackend } from '../backends/sse.ts'
import { createStatelessBackend } from '../backends/stateless.ts'
import { isSuccess, unauthorized } from '../backends/refusal.ts'
import { createStreamableBackend } from '../backends/streamable.ts'
import type { RelayGuard } from '../auth/relay-guard.ts'
import type { Clock } from '../clock.ts'
import type { Config, McpRoute } from '../config/schema.ts'
import { expandHeader, expandPath } from '../config/template.ts'
import type { ParameterValues } from '../config/template.ts'
import { ProxyError } from '../errors.ts'
import type { RuleName } from '../event-stream/rules.ts'
import type { Caller } from '../frontends/exchange.ts'
import { initializeFor } from '../bridge/discovery.ts'
import { dialects, modernRevision } from '../protocol/dialects.ts'
import type { DialectTraits } from '../protocol/dialects.ts'
import { request } from '../protocol/jsonrpc.ts'
import { mirrored, withDeclared } from '../protocol/metadata.ts'
import { ourselves } from '../version.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { createDetection } from './detection.ts'
import type { Finding } from './detection.ts'
import { principalOf } from './edge.ts'

export interface Resolved {
  readonly target: Target
  readonly traits: DialectTraits
  readonly dialect: BackendDialect
  /** Whether client sessions get streams of their own. */
  readonly stream: 'auto' | 'own' | 'shared'
}

export interface Backends {
  /**
   * At once where the dialect is known. `modern`: for a modern client, where the backend may have a dialect of its own for
   * such. Throws or rejects with what detection met.
   */
  resolve(caller: Caller, modern?: boolean): Resolved | Promise<Resolved>
  /** As far as it is known without asking the backend. */
  known(caller: Caller, modern?: boolean): Resolved | undefined
  /** What a route sets on every request to its backend. */
  headers(route: McpRoute, parameters: ParameterValues): Headers
  /** Asks the backend whether it accepts the credentials of a caller. Rejects with BACKEND_UNAUTHORIZED, or what else it met. */
  confirm(caller: Caller): Promise<void>
  /** A backend did not behave as its dialect has it: one that was found out is found out anew for this caller. */
  doubt(caller: Caller): void
  close(): Promise<void>
}

interface Services {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

/** What authorization has to do with a route's backend. */
export interface BackendAuthorization {
  /** The URL that clients mean by it. */
  resourceOf(route: McpRoute, parameters: ParameterValues): string
  relay(route: string): Pick<RelayGuard, 'heard' | 'refusal'> | undefined
}

export function createBackends(
  config: Config,
  services: Services,
  authorization?: BackendAuthorization,
): Backends {
  const all = new Map<string, RouteBackend>()
  for (const route of config.routes) {
    if ('backend' in route)
      all.set(route.name, createRouteBackend(route, config, services, authorization))
  }
  return {
    resolve(caller, modern = false) {
      const backend = all.get(caller.route)
      if (backend === undefined) {
        throw new ProxyError('ROUTE_UNKNOWN', `no route "${caller.route}"`)
      }
      return backend.resolve(caller, modern)
    },
    known: (caller, modern = false) => all.get(caller.route)?.known(caller, modern),
    headers(route, parameters) {
      const headers: Record<string, string> = {}
      for (const [name, template] of Object.entries(route.backend.headers)) {
        headers[name] = expandHeader(template, parameters)
      }
      return headers
    },
    confirm: async (caller) => all.get(caller.route)?.confirm(caller),
    doubt: (caller) => all.get(caller.route)?.doubt(caller),
    async close() {
      await Promise.all([...all.values()].map(({ close }) => close()))
    },
  }
}

interface RouteBackend {
  known(caller: Caller, modern: boolean): Resolved | undefined
  resolve(caller: Caller, modern: boolean): Resolved | Promise<Resolved>
  confirm(caller: Caller): Promise<void>
  ask(caller: Caller): Promise<void>
  doubt(caller: Caller): void
  close(): Promise<void>
}

const retryLogInterval = 5000
/** What no backend answers with success to somebody whom it does not let in. */
const initialize = initializeFor()
const discover = withDeclared(request('1', 'server/discover'), modernRevision, ourselves)

/** ms for a backend to say whether it accepts a token. */
const confirmTime = 30_000

function createRouteBackend(
  route: McpRoute,
  config: Config,
  services: Services,
  authorization: BackendAuthorization | undefined,
): RouteBackend {
  const relay = authorization?.relay(route.name)
  const { backend, name } = route
  const { clock, log, metrics } = services
  const http = createHttpClient({
    clock,
    connectTime: backend.connectTime,
    wakeTime: backend.wakeTime,
    onRetry: (_, reason) => retried(reason),
    ...(relay && { onAnswer: (headers, status) => relay.heard(headers, status) }),
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
    principalOf,
    ...(relay && {
      rephrase: ({ resource = '' }, answer, sentToken) =>
        relay.refusal(resource, answer, sentToken),
    }),
    onRepair: (_, rule, line) => repaired(rule, line),
  }
  const sse = createSseBackend(options)
  const speakers: Record<DetectedDialect, BackendDialect> = {
    sse,
    streamable: createStreamableBackend(options),
    stateless: createStatelessBackend(options),
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

  const detection = createDetection()
  const keyOf = ({ principal }: Caller, { url }: Target): string => `${principal}\n${url.href}`

  /** By the Authorization header. */
  const confirming = new Map<string, Promise<void>>()

  const targetFor = ({ parameters }: Caller): Target => {
    const target = targetOf(route, parameters)
    const resource = relay && authorization?.resourceOf(route, parameters)
    return resource === undefined ? target : { ...target, resource }
  }

  const ask = async (target: Target, { headers }: Caller): Promise<Finding> => {
    let stop = (): void => {}
    const { requestTime } = config.limits
    const probing = detect(target, headers, options, requestTime)
    try {
      const late = new Promise<never>((_, reject) => {
        stop = clock.after(requestTime, () => reject(undetected(name, requestTime)))
      })
      const found = await Promise.race([probing, late])
      log.info(
        {
          route: name,
          dialect: found.dialect,
          evidence: found.evidence,
          ...(found.modern && { modern: true }),
        },
        'backend detected',
      )
      if (found.spare !== undefined) sse.keep(found.spare)
      return found
    } catch (reason) {
      const error = ProxyError.from(reason)
      void probing.then(({ spare }) => spare?.stream.close()).catch(() => {})
      log.warn({ route: name, err: error }, 'backend not detected')
      metrics.backendConnected(name, 'failed')
      throw error
    } finally {
      stop()
    }
  }

  const resolved = (target: Target, dialect: DetectedDialect): Resolved => ({
    target,
    dialect: speakers[dialect],
    traits: dialects[dialect],
    stream: dialect === 'sse' ? backend.stream : 'own',
  })

  const known = (caller: Caller, modern: boolean): Resolved | undefined => {
    const target = targetFor(caller)
    if (backend.dialect !== 'auto') return resolved(target, backend.dialect)
    const found = detection.known(keyOf(caller, target))
    return found && resolved(target, modern && found.modern ? 'stateless' : found.dialect)
  }

  return {
    known,
    resolve(caller, modern) {
      const before = known(caller, modern)
      if (before !== undefined) return before
      const target = targetFor(caller)
      return detection
        .find(keyOf(caller, target), () => ask(target, caller))
        .then((found) => resolved(target, modern && found.modern ? 'stateless' : found.dialect))
    },
    confirm(caller) {
      // All who come with the same token wait for the same answer.
      const key = caller.headers['authorization'] ?? ''
      const running = confirming.get(key)
      if (running !== undefined) return running
      const asked = this.ask(caller).finally(() => confirming.delete(key))
      confirming.set(key, asked)
      return asked
    },
    async ask(caller) {
      const { target, traits } = await this.resolve(caller, false)
      const own = traits.modern ? discover : initialize
      const headers = { ...caller.headers, ...(traits.modern && mirrored(own, modernRevision)) }
      const signal = AbortSignal.timeout(confirmTime)
      const call = { route: name, url: target.url, headers, signal }
      const outcome = traits.oneStream
        ? await http.stream(call)
        : await http.post({ ...call, body: own.text, repeatable: true })
      if (!outcome.ok) throw outcome.error
      const { answer } = outcome
      const denied = unauthorized(target, answer, headers, options.rephrase)
      const id = answer.headers['mcp-session-id']
      if (traits.oneStream) answer.body.destroy()
      else answer.discard()
      if (denied !== undefined) throw denied.error
      if (!isSuccess(answer.status)) {
        const text = `the backend of route "${name}" does not say whether it accepts this token`
        throw new ProxyError('AUTH_UNAVAILABLE', text, { retryAfter: 5 })
      }
      relay?.heard(caller.headers, 200)
      // It was opened only to ask.
      if (id !== undefined) {
        void http.remove({
          route: name,
          url: target.url,
          headers: { ...headers, 'mcp-session-id': id },
        })
      }
    },
    doubt(caller) {
      if (backend.dialect !== 'auto') return
      const key = keyOf(caller, targetFor(caller))
      const found = detection.known(key)
      if (found === undefined) return
      log.warn({ route: name, dialect: found.dialect }, 'backend does not speak as detected')
      detection.doubt(key)
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
