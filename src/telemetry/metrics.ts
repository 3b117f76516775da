// The metrics: every name, label and bucket stands here. Callers tell what has happened and know nothing of counters.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { Dialect } from '../protocol/dialects.ts'

/** How an exchange ended: answered, answered with an error, left by the client, or sent away with questions. */
export type ExchangeOutcome = 'result' | 'error' | 'cancelled' | 'failed' | 'asked'
export type ConnectOutcome = 'ok' | 'failed'
/** Which side of the proxy a stream is on. */
export type Side = 'client' | 'backend'

/** `route` is a route's name everywhere; a request that matched none is counted under `none`. */
export interface Metrics {
  /** An HTTP request has been answered. */
  requestEnded(
    route: string,
    dialect: Dialect | 'passthrough' | 'none',
    method: string,
    status: number,
  ): void
  exchangeStarted(): void
  /** `method` is the JSON-RPC method; methods that MCP does not define are counted together. */
  exchangeEnded(route: string, method: string, outcome: ExchangeOutcome, seconds: number): void
  /** A repair rule has mended `count` places of a stream. */
  repaired(route: string, rule: string, count?: number): void
  /** A message could not be delivered to anybody. `reason` is one of a few fixed words. */
  messageDropped(route: string, reason: string): void
  backendConnected(route: string, outcome: ConnectOutcome): void
  streamOpened(route: string, side: Side): void
  streamClosed(route: string, side: Side): void
  /** Tells where the number of live sessions is read at each scrape. */
  readSessionsFrom(count: () => number): void
  /** The same for requests that wait for their client to come back with answers. */
  readParkedFrom(count: () => number): void
  /** Everything in the text format of Prometheus. */
  text(): Promise<string>
  readonly contentType: string
}

// Labels come from clients, who must not be able to make up time series without end: what is not known is `other`.
const rpcMethods = new Set([
  'initialize',
  'ping',
  'server/discover',
  'subscriptions/listen',
  'server/discover',
  'tools/list',
  'tools/call',
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'resources/subscribe',
  'resources/unsubscribe',
  'prompts/list',
  'prompts/get',
  'completion/complete',
  'logging/setLevel',
  'sampling/createMessage',
  'elicitation/create',
  'roots/list',
  'tasks/list',
  'tasks/get',
  'tasks/result',
  'tasks/cancel',
])
const httpMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const among = (known: ReadonlySet<string>, value: string): string =>
  known.has(value) ? value : 'other'

/** Seconds; tool calls run from a millisecond to minutes. */
const buckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]

const seriesOf = <T>(all: Map<string, T>, key: string, make: () => T): T => {
  let series = all.get(key)
  if (series === undefined) all.set(key, (series = make()))
  return series
}

/** Makes a set of metrics with a registry of its own, so that two proxies in one process do not mix. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name: `causeway_${name}`, help, labelNames, registers })

  const requests = counter('requests_total', 'HTTP requests answered', [
    'route',
    'dialect',
    'method',
    'status',
  ])
  const exchanges = counter('exchanges_total', 'Exchanges that have ended', [
    'route',
    'method',
    'outcome',
  ])
  const repairs = counter('repairs_total', 'Places of event streams mended, by rule', [
    'route',
    'rule',
  ])
  const dropped = counter('dropped_messages_total', 'Messages that could not be delivered', [
    'route',
    'reason',
  ])
  const connects = counter('backend_connects_total', 'Backend sessions opened or refused', [
    'route',
    'outcome',
  ])
  let countSessions = (): number => 0
  const sessions: Gauge = new Gauge({
    name: 'causeway_sessions',
    help: 'Live sessions',
    registers,
    collect: () => sessions.set(countSessions()),
  })
  let countParked = (): number => 0
  const parked: Gauge = new Gauge({
    name: 'causeway_parked_exchanges',
    help: 'Exchanges that wait for their client to come back with answers',
    registers,
    collect: () => parked.set(countParked()),
  })
  const streams = new Gauge({
    name: 'causeway_open_streams',
    help: 'Open event streams',
    labelNames: ['route', 'side'],
    registers,
  })
  let openCount = 0
  const open: Gauge = new Gauge({
    name: 'causeway_exchanges_open',
    help: 'Exchanges that wait for their response',
    registers,
    collect: () => open.set(openCount),
  })
  const durations = new Histogram({
    name: 'causeway_exchange_seconds',
    help: 'Seconds from request to response',
    labelNames: ['route'],
    buckets,
    registers,
  })

  // Series that count every request are looked up by a short key: working out their labels each time costs more than
  // all the counting.
  const requestSeries = new Map<string, Counter.Internal>()
  const exchangeSeries = new Map<string, Counter.Internal>()
  const durationSeries = new Map<string, Histogram.Internal<'route'>>()

  return {
    requestEnded(route, dialect, method, status) {
      const known = among(httpMethods, method)
      const labels = { route, dialect, method: known, status }
      const key = `${route} ${dialect} ${known} ${status}`
      seriesOf(requestSeries, key, () => requests.labels(labels)).inc()
    },
    exchangeStarted: () => void openCount++,
    exchangeEnded(route, method, outcome, seconds) {
      openCount--
      const known = among(rpcMethods, method)
      const labels = { route, method: known, outcome }
      const key = `${route} ${known} ${outcome}`
      seriesOf(exchangeSeries, key, () => exchanges.labels(labels)).inc()
      seriesOf(durationSeries, route, () => durations.labels({ route })).observe(seconds)
    },
    repaired: (route, rule, count = 1) => repairs.inc({ route, rule }, count),
    messageDropped: (route, reason) => dropped.inc({ route, reason }),
    backendConnected: (route, outcome) => connects.inc({ route, outcome }),
    streamOpened: (route, side) => streams.inc({ route, side }),
    streamClosed: (route, side) => streams.dec({ route, side }),
    readParkedFrom(count) {
      countParked = count
    },
    readSessionsFrom(count) {
      countSessions = count
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
