// The HTTP server: takes a request through the edge to its route, and to the frontend of the dialect that it speaks.
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startAdmin } from '../admin/server.ts'
import type { Clock } from '../clock.ts'
import type { Config, McpRoute } from '../config/schema.ts'
import { expandPath } from '../config/template.ts'
import { ProxyError } from '../errors.ts'
import { allowedMethods, classify } from '../frontends/classify.ts'
import type { Caller, Visit } from '../frontends/exchange.ts'
import { createKeeper } from '../frontends/keeper.ts'
import { sendError, sendJson } from '../frontends/reply.ts'
import type { Tools } from '../frontends/reply.ts'
import { receiveMessages } from '../frontends/receive.ts'
import { serveRpc } from '../frontends/rpc.ts'
import { serveSse, sessionParameter } from '../frontends/sse.ts'
import { serveStreamable } from '../frontends/streamable.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { isInitialize } from '../protocol/jsonrpc.ts'
import { createMemoryStore } from '../sessions/memory-store.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { createBackends } from './backends.ts'
import type { Backends } from './backends.ts'
import { createEdge, forwardedHeaders, principalOf } from './edge.ts'
import type { Edge } from './edge.ts'
import { createPassthrough } from './passthrough.ts'
import type { Passthrough } from './passthrough.ts'
import { createRelay } from './relay.ts'
import type { RunningRelay } from './relay.ts'
import { createRouter } from './router.ts'
import type { RouteMatch } from './router.ts'

export interface Services {
  readonly log: Log
  readonly metrics: Metrics
  readonly clock: Clock
}

export interface RunningProxy {
  /** Where it listens, such as `http://127.0.0.1:8080`. */
  readonly url: string
  readonly adminUrl: string | undefined
  /** Stops taking requests, lets running exchanges finish within `drainTime`, then ends everything. */
  stop(): Promise<void>
}

/** Idle client connections stay open longer than load balancers keep theirs (60 s), so that none is cut in use. */
const keepAliveTimeout = 65_000

/** ms that the rest of a refused body is still read. */
const lingerTime = 2000

/** Starts a proxy. Rejects with CONFIG_INVALID when an address cannot be listened on. */
export async function startProxy(config: Config, services: Services): Promise<RunningProxy> {
  const { clock, log, metrics } = services
  const backends = createBackends(config, services)
  const relay = createRelay({
    clock,
    log,
    metrics,
    backends,
    store: createMemoryStore(config.limits, clock),
    limits: config.limits,
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
    edge: createEdge(config),
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
  server.on('request', (request, response) => void handler.handle(request, response))
  server.on('upgrade', (request, socket, head) => handler.upgrade(request, socket, head))
  let ready = true

  const closeAll = async (): Promise<void> => {
    keeper.close()
    for (const passthrough of passthroughs.values()) passthrough.close()
    await relay.close()
    await backends.close()
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
            ready: () => ({ ready, reasons: ready ? [] : ['the process is shutting down'] }),
          })
    return {
      url,
      adminUrl: admin?.url,
      async stop() {
        ready = false
        server.close()
        server.closeIdleConnections()
        await relay.drain(config.drainTime)
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

interface Parts {
  readonly backends: Backends
  readonly relay: RunningRelay
  readonly passthroughs: ReadonlyMap<string, Passthrough>
  readonly edge: Edge
  readonly tools: Tools
}

class Handler {
  private readonly config: Config
  private readonly services: Services
  private readonly parts: Parts
  private readonly route: (pathname: string) => RouteMatch | undefined
  private readonly publicUrl: URL | undefined
  /** What clients see before our own paths. */
  private readonly prefix: string
  private streams = 0

  constructor(config: Config, services: Services, parts: Parts) {
    this.config = config
    this.services = services
    this.parts = parts
    this.route = createRouter(config.routes)
    const { publicUrl } = config
    this.publicUrl = publicUrl === undefined ? undefined : new URL(publicUrl)
    this.prefix = this.publicUrl === undefined ? '' : pathOf(this.publicUrl.pathname)
  }

  /** Every request ends in an answer: what goes wrong anywhere below is rendered here. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen: { route: string; dialect: Dialect | 'passthrough' | 'none'; idText?: string } = {
      route: 'none',
      dialect: 'none',
    }
    response.on('close', () =>
      this.services.metrics.requestEnded(
        seen.route,
        seen.dialect,
        request.method ?? '',
        response.headersSent ? response.statusCode : 499,
      ),
    )
    response.on('error', () => undefined)
    try {
      await this.serve(request, response, seen)
    } catch (reason) {
      const error = ProxyError.from(reason)
      const level = error.fault === 'client' ? 'info' : 'warn'
      this.services.log[level](
        { route: seen.route, code: error.code, err: error },
        'request refused',
      )
      if (response.headersSent) response.destroy()
      else {
        if (!request.complete && error.code !== 'BODY_TIMEOUT') await this.linger(request)
        if (!request.complete) response.shouldKeepAlive = false
        sendError(response, error, seen.idText)
      }
    }
  }

  /** Reads the rest of a refused body for a while: closing at once would reset the client before it reads the answer. */
  private linger(request: IncomingMessage): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        stop()
        resolve()
      }
      const stop = this.services.clock.after(lingerTime, done)
      request.once('end', done)
      request.once('close', done)
      request.resume()
    })
  }

  /** WebSockets belong to passthrough routes; MCP has none. */
  upgrade(
    request: IncomingMessage,
    socket: Parameters<Passthrough['upgrade']>[1],
    head: Buffer,
  ): void {
    // Node leaves errors of an upgraded socket to us: one reset must not end the process.
    socket.on('error', () => socket.destroy())
    const match = this.route(pathOf(request.url ?? '/'))
    const passthrough = match && this.parts.passthroughs.get(match.route.name)
    if (passthrough === undefined) {
      socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      return
    }
    try {
      this.parts.edge.admit(request.headers)
    } catch {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      return
    }
    passthrough.upgrade(request, socket, head)
  }

  private async serve(
    request: IncomingMessage,
    response: ServerResponse,
    seen: { route: string; dialect: Dialect | 'passthrough' | 'none'; idText?: string },
  ): Promise<void> {
    const cors = this.parts.edge.admit(request.headers)
    const url = request.url ?? '/'
    const match = this.route(pathOf(url))
    if (match === undefined) {
      setHeaders(response, cors)
      return notFound(request, response, pathOf(url) || '/')
    }
    const { route } = match
    seen.route = route.name
    if (!('backend' in route)) {
      seen.dialect = 'passthrough'
      this.parts.passthroughs.get(route.name)?.handle(request, response)
      return
    }
    setHeaders(response, cors)
    await this.serveMcp(request, response, route, match, seen)
  }

  private async serveMcp(
    request: IncomingMessage,
    response: ServerResponse,
    route: McpRoute,
    match: RouteMatch,
    seen: { dialect: Dialect | 'passthrough' | 'none'; idText?: string },
  ): Promise<void> {
    const { relay, tools, edge } = this.parts
    const header = request.headers['mcp-session-id']
    const parameter = sessionIn(request.url ?? '')
    const caller = this.caller(request, route, match)
    const sessionId = typeof header === 'string' ? header : parameter
    const body =
      request.method === 'POST'
        ? await receiveMessages({ request, response, caller, sessionId }, relay, {
            limits: this.config.limits,
            clock: this.services.clock,
          })
        : undefined
    const only = body !== undefined && !body.batch ? body.messages[0] : undefined
    if (only?.kind === 'request') seen.idText = only.idText
    const verdict = classify(
      {
        method: request.method ?? '',
        accept: request.headers.accept,
        sessionHeader: header !== undefined,
        sessionParameter: parameter !== undefined,
        initialize: body?.messages.some(isInitialize) ?? false,
      },
      route.clients,
    )
    switch (verdict.kind) {
      case 'head':
        response.writeHead(200, { allow: allowedMethods(route.clients) })
        response.end()
        return
      case 'options': {
        const allow = allowedMethods(route.clients)
        response.writeHead(204, { allow, ...edge.preflight(request.headers, allow) })
        response.end()
        return
      }
      case 'not-allowed':
        throw new ProxyError(
          'METHOD_NOT_ALLOWED',
          `route "${route.name}" does not take this ${request.method} request`,
          { headers: { allow: allowedMethods(route.clients) } },
        )
    }
    seen.dialect = verdict.dialect
    if (request.method === 'GET') this.countStream(route.name, response)
    const visit: Visit = {
      request,
      response,
      caller,
      sessionId,
      body,
      messagesPath: this.prefix + messagesPath(request, route, match),
    }
    try {
      await frontends[verdict.dialect](visit, relay, tools)
    } catch (error) {
      // Nobody will read on a body that was to pass.
      if (only?.kind === 'request') only.bytes?.stream.destroy()
      throw error
    }
  }

  private countStream(route: string, response: ServerResponse): void {
    const { streams } = this.config.limits
    if (this.streams >= streams) {
      throw new ProxyError('LIMIT_REACHED', `too many open streams: limits.streams is ${streams}`, {
        retryAfter: 5,
      })
    }
    this.streams++
    this.services.metrics.streamOpened(route, 'client')
    response.on('close', () => {
      this.streams--
      this.services.metrics.streamClosed(route, 'client')
    })
  }

  private caller(request: IncomingMessage, route: McpRoute, match: RouteMatch): Caller {
    const address = request.socket.remoteAddress ?? ''
    const own = this.parts.backends.headers(route, match.parameters)
    const headers = forwardedHeaders(request.headers, own, {
      address,
      publicUrl: this.publicUrl,
    })
    return {
      route: route.name,
      parameters: match.parameters,
      headers,
      // Worked out only where sharing is in question.
      get principal() {
        return principalOf(headers)
      },
      address,
    }
  }
}

const frontends = { sse: serveSse, streamable: serveStreamable, rpc: serveRpc } as const

const pathOf = (url: string): string => {
  const end = url.search(/[?#]/)
  const path = end === -1 ? url : url.slice(0, end)
  return path === '/' ? '' : path
}

const sessionIn = (url: string): string | undefined => {
  const query = url.indexOf('?')
  if (query === -1) return undefined
  return new URLSearchParams(url.slice(query + 1)).get(sessionParameter) ?? undefined
}

const messagesPath = (request: IncomingMessage, route: McpRoute, match: RouteMatch): string =>
  route.messages === undefined
    ? pathOf(request.url ?? '/')
    : expandPath(route.messages, match.parameters)

function setHeaders(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
}

/** What OAuth clients ask for on their own; where there is none, they stumble over anything but this answer. */
const oauthPath = /^\/(?:\.well-known\/.*|authorize|token|register|revoke)$/

function notFound(request: IncomingMessage, response: ServerResponse, path: string): void {
  if (request.method === 'OPTIONS') {
    response.writeHead(204)
    response.end()
    return
  }
  if (oauthPath.test(path)) {
    sendJson(response, 404, JSON.stringify({ error: 'not_found' }))
    return
  }
  throw new ProxyError('ROUTE_UNKNOWN', `no route has the path "${path.slice(0, 200)}"`)
}
