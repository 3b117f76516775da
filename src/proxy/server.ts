// The HTTP server and its life: what it is made of, how it starts and how it stops.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startAdmin } from '../admin/server.ts'
import type { Config } from '../config/schema.ts'
import { ProxyError } from '../errors.ts'
import { createFleet } from '../fleet/fleet.ts'
import type { Fleet } from '../fleet/fleet.ts'
import { createKeeper } from '../frontends/keeper.ts'
import { createMemoryStore } from '../sessions/memory-store.ts'
import { createRateLimits } from '../auth/rate-limits.ts'
import { createAuthorization } from './authorization.ts'
import { createBackends } from './backends.ts'
import { homeOf } from './conversations.ts'
import { createEdge } from './edge.ts'
import { Handler } from './handler.ts'
import { createPassthrough } from './passthrough.ts'
import type { Passthrough } from './passthrough.ts'
import { createRelay } from './relay.ts'
import { createRouter } from './router.ts'
import { createRequestStates, keyLength } from './request-state.ts'
import type { Services } from './services.ts'

export type { Services } from './services.ts'

export interface RunningProxy {
  /** Where it listens, such as `http://127.0.0.1:8080`. */
  readonly url: string
  readonly adminUrl: string | undefined
  /** Stops taking requests, lets running exchanges finish within `drainTime`, then ends everything. */
  stop(): Promise<void>
}

/** Idle client connections stay open longer than load balancers keep theirs (60 s), so that none is cut in use. */
const keepAliveTimeout = 65_000

/** Starts a proxy. Rejects with CONFIG_INVALID when an address cannot be listened on. */
export async function startProxy(config: Config, services: Services): Promise<RunningProxy> {
  const { clock, log, metrics } = services
  const { limits } = config
  const fleet =
    config.store.type === 'redis'
      ? await createFleet({ config: config.store, limits, clock, log })
      : undefined
  const routeOf = createRouter(config.routes)
  const rateLimits = createRateLimits(config.rateLimits, fleet?.counters)
  const authorization = createAuthorization({
    config,
    services,
    limits: rateLimits,
    route: routeOf,
  })
  const backends = createBackends(config, services, authorization)
  const secret = randomBytes(keyLength)
  const relay = createRelay({
    clock,
    log,
    metrics,
    backends,
    store: fleet?.store ?? createMemoryStore(limits, clock),
    ...(fleet && {
      remember: (id, restore) => fleet.store.remember(id, restore),
      homeOf: (caller) => homeOf(backends.known(caller), caller),
    }),
    limits,
    states: createRequestStates(() => fleet?.secret ?? secret),
    replica: fleet?.id ?? '',
  })
  const keeper = createKeeper(clock)
  const passthroughs = new Map<string, Passthrough>()
  for (const route of config.routes) {
    if ('backend' in route) continue
    passthroughs.set(route.name, createPassthrough(route, { log, publicUrl: config.publicUrl }))
  }
  const handler = new Handler(config, services, {
    backends,
    relay,
    passthroughs,
    fleet,
    edge: createEdge(config),
    authorization,
    tools: {
      keeper,
      limits: { ...config.limits, keepAlive: config.keepAlive },
      onCut: (route, reason) => log.warn({ route }, `client cut off: ${reason}`),
    },
  })
  const server = createServer({
    headersTimeout: config.limits.headerTime,
    // Bodies have their own limit, limits.bodyTime; those of passthrough routes may take as long as they need.
    requestTimeout: 0,
    keepAliveTimeout,
    noDelay: true,
    // Other upgrades, such as h2c, may be ignored (RFC 9110, section 7.8): the request is served as it is.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
  })
  fleet?.open(handler.house())
  server.on('request', (request, response) => void handler.handle(request, response))
  server.on('upgrade', (request, socket, head) => handler.upgrade(request, socket, head))
  let ready = true

  const closeAll = async (): Promise<void> => {
    keeper.close()
    for (const passthrough of passthroughs.values()) passthrough.close()
    await relay.close()
    authorization.close()
    await backends.close()
    await fleet?.close()
    server.closeAllConnections()
  }

  try {
    const url = await listen(server, config.listen)
    const admin =
      config.admin === false
        ? undefined
        : await startAdmin({
            ...config.admin,
            metrics,
            ready: () => readiness(ready, fleet),
          })
    return {
      url,
      adminUrl: admin?.url,
      async stop() {
        ready = false
        if (fleet === undefined) {
          server.close()
          server.closeIdleConnections()
          await relay.drain(config.drainTime)
        } else {
          const until = clock.now() + config.drainTime
          await handler.farewell(config.drainTime)
          server.close()
          fleet.hold()
          const left = Math.max(0, until - clock.now())
          await relay.drain(left, () => fleet.busy)
          await fleet
            .release()
            .catch((error: unknown) => log.warn({ err: error }, 'not handed over'))
          relay.leaveAll()
        }
        await closeAll()
        await admin?.close()
      },
    }
  } catch (error) {
    server.close()
    await closeAll()
    throw error
  }
}

function readiness(
  running: boolean,
  fleet: Fleet | undefined,
): { ready: boolean; reasons: string[] } {
  const reasons = [
    ...(running ? [] : ['the process is shutting down']),
    ...((fleet?.reachable ?? true) ? [] : ['the session store cannot be reached']),
  ]
  return { ready: reasons.length === 0, reasons }
}

function listen(server: Server, { host, port }: Config['listen']): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new ProxyError('CONFIG_INVALID', `cannot listen on ${host}:${port}: ${cause.code}`, {
          cause,
        }),
      ),
    )
    server.listen(port, host, () => {
      const { port: actual } = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`)
    })
  })
}
