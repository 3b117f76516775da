// Takes one request through the edge to its route, and to the frontend of the dialect that it speaks.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isHarmless } from '../bridge/sending.ts'
import type { Config, McpRoute } from '../config/schema.ts'
import { expandPath } from '../config/template.ts'
import { ProxyError } from '../errors.ts'
import type { Fleet, House } from '../fleet/fleet.ts'
import { allowedMethods, classify } from '../frontends/classify.ts'
import type { Caller, Visit } from '../frontends/exchange.ts'
import { receiveMessages } from '../frontends/receive.ts'
import { sendError, sendJson } from '../frontends/reply.ts'
import type { Tools } from '../frontends/reply.ts'
import { serveRpc } from '../frontends/rpc.ts'
import { serveSse, sessionParameter } from '../frontends/sse.ts'
import { serveStreamable } from '../frontends/streamable.ts'
import { serveStateless } from '../frontends/stateless.ts'
import { isModern } from '../protocol/dialects.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { isInitialize } from '../protocol/jsonrpc.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { metaOf, revisionKey } from '../protocol/metadata.ts'
import type { Admission } from '../auth/guard.ts'
import type { Authorization } from './authorization.ts'
import type { Backends } from './backends.ts'
import { homeOf } from './conversations.ts'
import { forwardedHeaders, principalOf } from './edge.ts'
import type { Edge } from './edge.ts'
import type { Passthrough } from './passthrough.ts'
import type { RunningRelay } from './relay.ts'
import { createRouter } from './router.ts'
import type { RouteMatch } from './router.ts'
import type { Services } from './services.ts'
import { isSessionOf } from './session.ts'

/** ms without any request after which nobody is taken to send more to a replica that leaves. */
const quietTime = 1000
const farewellStep = 50

/** ms that the rest of a refused body is still read. */
const lingerTime = 2000

export interface Parts {
  readonly backends: Backends
  readonly relay: RunningRelay
  readonly passthroughs: ReadonlyMap<string, Passthrough>
  readonly fleet: Fleet | undefined
  readonly edge: Edge
  readonly tools: Tools
  readonly authorization: Authorization
}

export class Handler {
  private readonly config: Config
  private readonly services: Services
  private readonly parts: Parts
  private readonly route: (pathname: string) => RouteMatch | undefined
  private readonly publicUrl: URL | undefined
  /** What clients see before our own paths. */
  private readonly prefix: string
  private streams = 0
  /** When the latest request came in, in the clock's ms. */
  private latest = -Infinity
  private leaving = false

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
    this.latest = this.services.clock.now()
    if (this.leaving) response.shouldKeepAlive = false
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
    const url = request.url ?? '/'
    const { authorization, edge } = this.parts
    // What leads clients to a token is for everybody (RFC 9728, section 3).
    if (await authorization.serve(request, response, pathOf(url))) return
    const cors = edge.admit(request.headers)
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
    const { relay, tools, edge, authorization } = this.parts
    const header = request.headers['mcp-session-id']
    const parameter = sessionIn(request.url ?? '')
    // A bare 405 or 404 would hide that a token is wanted, so this comes before everything else.
    const admission =
      request.method === 'OPTIONS' ? undefined : await authorization.admit(request, route, match)
    const caller = await this.caller(request, route, match, admission)
    const sessionId = typeof header === 'string' ? header : parameter
    if (authorization.isUnconfirmed(request, route)) {
      await this.parts.backends.confirm(caller)
    }
    authorization.endWith(admission, response)
    const body =
      request.method === 'POST'
        ? await receiveMessages({ request, response, caller, sessionId }, relay, {
            limits: this.config.limits,
            clock: this.services.clock,
            whole: admission?.reads ?? false,
          })
        : undefined
    if (admission !== undefined) authorization.permit(admission, request, route, body)
    const only = body !== undefined && !body.batch ? body.messages[0] : undefined
    if (only?.kind === 'request') seen.idText = only.idText
    const verdict = classify(
      {
        method: request.method ?? '',
        accept: request.headers.accept,
        sessionHeader: header !== undefined,
        sessionParameter: parameter !== undefined,
        initialize: body?.messages.some(isInitialize) ?? false,
        modernHeader: isModern(request.headers['mcp-protocol-version']),
        modernBody: body?.messages.some(isDeclared) ?? false,
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
    const visit = {
      request,
      response,
      caller,
      sessionId,
      body,
      messagesPath: this.prefix + messagesPath(request, route, match),
    }
    const { fleet } = this.parts
    try {
      if (fleet !== undefined && (await fleet.serveElsewhere(visit, verdict.dialect))) return
      await frontends[verdict.dialect](visit, relay, tools)
    } catch (error) {
      // Nobody will read on a body that was to pass.
      if (only?.kind === 'request') only.bytes?.stream.destroy()
      throw error
    }
  }

  /**
   * Serves on for a while and closes each connection with its answer, until nobody sends any more: a load balancer that
   * still believes in us loses nothing. Lasts at most `ms`.
   */
  farewell(ms: number): Promise<void> {
    const { clock } = this.services
    this.leaving = true
    this.latest = clock.now()
    const until = clock.now() + ms
    return new Promise((resolve) => {
      const stop = clock.every(farewellStep, () => {
        const now = clock.now()
        if (now < until && now - this.latest < quietTime) return
        stop()
        resolve()
      })
      if (ms === 0) {
        stop()
        resolve()
      }
    })
  }

  /** What the replicas of a fleet ask of one another. */
  house(): House {
    const { relay } = this.parts
    return {
      hosts: (id) => relay.has(id),
      parkedAt: ({ body }) => {
        const [only] = body?.messages ?? []
        return only?.kind === 'request' ? relay.parkedAt(only) : undefined
      },
      admits: isSessionOf,
      home: async ({ caller, body }, dialect) => {
        const { backends } = this.parts
        const modern = dialect === 'stateless'
        // A stream opens at once: it does not wait until the backend has been asked what it speaks.
        const resolved =
          body === undefined
            ? backends.known(caller, modern)
            : await backends.resolve(caller, modern)
        return homeOf(resolved, caller)
      },
      homes: () => relay.homes(),
      mayRepeat: (visit, restore) =>
        (visit.body?.messages ?? []).every(
          (message) =>
            message.kind !== 'request' || isHarmless(message, new Set(restore?.repeatableTools)),
        ),
      adopt: (record, { headers }, restore) => relay.adopt(record, headers, restore),
      leave: (id) => relay.leave(id),
      principalOf,
      serve: (visit, dialect) => void this.serveGuest(visit, dialect),
    }
  }

  /** A request that came in on another replica, where the edge has seen it. */
  private async serveGuest(visit: Visit, dialect: Dialect): Promise<void> {
    const { relay, tools } = this.parts
    try {
      await frontends[dialect](visit, relay, tools)
    } catch (reason) {
      const error = ProxyError.from(reason)
      this.services.log.info({ route: visit.caller.route, code: error.code }, 'request refused')
      const [only] = visit.body?.messages ?? []
      if (visit.response.headersSent) visit.response.destroy()
      else sendError(visit.response, error, only?.kind === 'request' ? only.idText : undefined)
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

  private async caller(
    request: IncomingMessage,
    route: McpRoute,
    match: RouteMatch,
    admission: Admission | undefined,
  ): Promise<Caller> {
    const address = request.socket.remoteAddress ?? ''
    const parameters = { ...match.parameters, ...admission?.parameters }
    const own = this.parts.backends.headers(route, parameters)
    const passing = forwardedHeaders(request.headers, own, {
      address,
      publicUrl: this.publicUrl,
    })
    const headers = admission === undefined ? passing : await admission.headers(passing)
    return {
      route: route.name,
      parameters,
      headers,
      // Worked out only where sharing is in question.
      get principal() {
        return principalOf(headers)
      },
      address,
    }
  }
}

const frontends = {
  sse: serveSse,
  streamable: serveStreamable,
  stateless: serveStateless,
  rpc: serveRpc,
} as const

/** Whether a message names its revision: those that open with `initialize` do not. */
const isDeclared = (message: Message): boolean =>
  message.kind === 'request' && metaOf(message)[revisionKey] !== undefined

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
