// Authorization at the edge: the guards of all routes, the metadata that leads clients to where they get a token, and the
// OAuth endpoints at our root for those that look for them there.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { facadeDocument, mapResource, shimPaths } from '../auth/facade.ts'
import { challenged } from '../auth/guard.ts'
import type { Admission, Guard, Knock } from '../auth/guard.ts'
import { createRelayGuard } from '../auth/relay-guard.ts'
import type { RelayGuard } from '../auth/relay-guard.ts'
import { unavailable } from '../auth/mend.ts'
import type { RateLimits } from '../auth/rate-limits.ts'
import { resourceAskedFor, resourceMetadata } from '../auth/resource-metadata.ts'
import { serveShim, shimDefaults } from '../auth/shims.ts'
import type { Config, McpRoute } from '../config/schema.ts'
import { expandPath } from '../config/template.ts'
import type { ParameterValues, Template } from '../config/template.ts'
import { ProxyError } from '../errors.ts'
import type { Body } from '../frontends/exchange.ts'
import { paramsOf } from '../protocol/metadata.ts'
import { createAudit } from '../telemetry/audit.ts'
import type { RouteMatch } from './router.ts'
import type { Services } from './services.ts'
import { verifyGuardOf } from './verifying.ts'

export interface Authorization {
  guard(route: string): Guard | undefined
  relay(route: string): RelayGuard | undefined
  /** The URL of a route as its client means it. */
  resourceOf(route: McpRoute, parameters: ParameterValues): string
  /** Who asks. Rejects with what the client is to be told. */
  admit(
    request: IncomingMessage,
    route: McpRoute,
    match: RouteMatch,
  ): Promise<Admission | undefined>
  /** Lets messages through, or throws what the client is told of them. */
  permit(
    admission: Admission,
    request: IncomingMessage,
    route: McpRoute,
    body: Body | undefined,
  ): void
  /**
   * Whether the backend is to be asked first. What a token claims is believed by nobody here, and whoever claims to be the
   * same shares a conversation, and is answered from what it knows.
   */
  isUnconfirmed(request: IncomingMessage, route: McpRoute): boolean
  /** Ends an answer that outlives the credential that it was asked for with by more than a minute. */
  endWith(admission: Admission | undefined, response: ServerResponse): void
  /** Answers what belongs to OAuth and needs no token. False: it is none of ours. */
  serve(request: IncomingMessage, response: ServerResponse, path: string): Promise<boolean>
  close(): void
}

export interface AuthorizationOptions {
  readonly config: Config
  readonly services: Services
  readonly limits: RateLimits
  readonly route: (pathname: string) => RouteMatch | undefined
}

const metadataHeaders = {
  'content-type': 'application/json',
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, HEAD, OPTIONS',
  'access-control-allow-headers': '*',
  'cache-control': 'no-store',
} as const

/** ms for which a stream goes on when its credential has expired, and the longest that a timer goes. */
const graceTime = 60_000
const longestTimer = 2 ** 31 - 1

const asMetadata = '/.well-known/oauth-authorization-server'

export function createAuthorization(options: AuthorizationOptions): Authorization {
  const { config, services, limits, route: find } = options
  const { clock, log } = services
  const base = config.publicUrl ?? ''
  const publicUrl = base === '' ? undefined : new URL(base)
  const prefix = publicUrl === undefined || publicUrl.pathname === '/' ? '' : publicUrl.pathname
  const guards = new Map<string, Guard>()
  const relays = new Map<string, RelayGuard>()
  const guarded = config.routes.filter(
    (route): route is McpRoute => 'backend' in route && route.auth.type !== 'none',
  )
  for (const route of guarded) {
    if (route.auth.type === 'verify') {
      const onFailure = (issuer: string, reason: unknown): void =>
        log.warn({ route: route.name, issuer, err: reason }, 'issuer cannot be asked')
      guards.set(route.name, verifyGuardOf(route, { clock, limits, onFailure }))
      continue
    }
    const relay = createRelayGuard(
      {
        route: route.name,
        backendUrl: new URL(originOf(route.backend.url)),
        authorizationServer: route.auth.authorizationServer,
        as: route.auth.as,
        scopes: route.auth.scopes,
        optional: route.auth.optional,
        publicOrigin: publicUrl?.origin ?? '',
      },
      {
        clock,
        limits,
        onLook: (found) => {
          const trouble = found.ok ? found.trouble : found
          if (found.ok && found.metadata.emitsIss && route.auth.as === 'facade') {
            const reason = 'it sends its own name to clients, who would refuse ours'
            log.warn({ route: route.name, reason }, 'no facade for this authorization server')
          }
          if (trouble === undefined) return
          const { fault, reason } = trouble
          log.warn({ route: route.name, fault, reason }, 'authorization server not known')
        },
      },
    )
    guards.set(route.name, relay)
    relays.set(route.name, relay)
  }
  const audit = createAudit(log, { principal: config.log.principals })
  /** When each admission was asked for, in the clock's ms. */
  const began = new WeakMap<Admission, number>()

  /** The one that the endpoints at our root are for. */
  const shimmed = guarded.find(({ auth }) => auth.type === 'relay' && auth.shims)
  const shims = shimmed && relays.get(shimmed.name)

  const resourceOf = (route: McpRoute, parameters: ParameterValues): string =>
    base + expandPath(route.path, parameters)

  /** The resource that a path of metadata is for: the only one where it names none. */
  const resourceAt = (path: string): { url: string; guard: Guard } | undefined => {
    const only = guarded.length === 1 ? guarded[0] : undefined
    if (path === '') {
      const guard = only && guards.get(only.name)
      if (only === undefined || guard === undefined || only.path.parameters.length > 0)
        return undefined
      return { url: resourceOf(only, {}), guard }
    }
    const match = find(path)
    if (match === undefined || !('backend' in match.route)) return undefined
    const guard = guards.get(match.route.name)
    return guard && { url: resourceOf(match.route, match.parameters), guard }
  }

  const tell = (response: ServerResponse, method: string, document: string | undefined): void => {
    if (method === 'OPTIONS') {
      response.writeHead(204, { ...metadataHeaders, 'access-control-max-age': '600' })
      response.end()
      return
    }
    const body = document ?? JSON.stringify({ error: 'not_found' })
    const status = document === undefined ? 404 : 200
    response.writeHead(status, { ...metadataHeaders, 'content-length': Buffer.byteLength(body) })
    response.end(method === 'HEAD' ? undefined : body)
  }

  const facadeAt = (): string | undefined => {
    const found = shims?.server.current()
    if (publicUrl === undefined || found?.ok !== true || found.metadata.emitsIss) return undefined
    return JSON.stringify(facadeDocument(found.metadata, publicUrl.origin))
  }

  const shim = async (
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
  ): Promise<void> => {
    if (shims === undefined || shimmed === undefined) return
    if (path === shimPaths.register && request.method === 'POST') {
      try {
        await limits.registration()
      } catch (reason) {
        const { retryAfter, message } = ProxyError.from(reason)
        const { status, body } = unavailable(429, message)
        response.writeHead(status, { ...metadataHeaders, 'retry-after': String(retryAfter ?? 60) })
        response.end(body)
        return
      }
    }
    const [, query = ''] = (request.url ?? '').split(/\?(.*)/s)
    const method = request.method ?? ''
    const to = originOf(shimmed.backend.url)
    const mapped =
      shimmed.auth.as === 'facade'
        ? { mapResource: (text: string) => mapResource(text, resourceOf(shimmed, {}), to) }
        : {}
    const answer = await serveShim(
      { method, path, query, headers: request.headers, body: request },
      shims.endpoints(),
      { ...shimDefaults, ...mapped },
      { clock },
    )
    response.writeHead(answer.status, answer.headers)
    response.end(answer.body)
  }

  return {
    guard: (name) => guards.get(name),
    relay: (name) => relays.get(name),
    resourceOf,
    async admit(request, route, { parameters }) {
      const guard = guards.get(route.name)
      if (guard === undefined) return undefined
      const since = clock.now()
      const [, query = ''] = (request.url ?? '').split(/\?(.*)/s)
      const knock: Knock = {
        method: request.method ?? '',
        headers: request.headers,
        query,
        address: request.socket.remoteAddress ?? '',
        resource: resourceOf(route, parameters),
        parameters,
      }
      try {
        refuseSecond(request, knock.resource)
        const admission = await guard.admit(knock)
        began.set(admission, since)
        return admission
      } catch (reason) {
        const { code } = ProxyError.from(reason)
        const { method } = knock
        audit({
          principal: undefined,
          client: undefined,
          route: route.name,
          method,
          decision: 'refused',
          code,
          duration: clock.now() - since,
        })
        throw reason
      }
    },
    permit(admission, request, route, body) {
      const { principal, client } = admission
      const [only] = body?.messages ?? []
      const method = only !== undefined && only.kind !== 'response' ? only.method : request.method
      const tool =
        method === 'tools/call' && only !== undefined ? paramsOf(only)['name'] : undefined
      const told = {
        principal,
        client,
        route: route.name,
        method,
        ...(typeof tool === 'string' && { tool }),
        duration: clock.now() - (began.get(admission) ?? clock.now()),
      }
      try {
        admission.permit(body?.messages ?? [])
        audit({ ...told, decision: 'allowed' })
      } catch (reason) {
        audit({ ...told, decision: 'refused', code: ProxyError.from(reason).code })
        throw reason
      }
    },
    isUnconfirmed({ headers }, { name }) {
      const token = /^bearer +(\S+)/i.exec(headers.authorization ?? '')?.[1]
      return token !== undefined && relays.get(name)?.knows(token) === false
    },
    endWith(admission, response) {
      if (admission?.expires === undefined) return
      const left = Math.max(0, admission.expires - Date.now()) + graceTime
      if (left > longestTimer) return
      response.on(
        'close',
        clock.after(left, () => response.destroy()),
      )
    },
    async serve(request, response, path) {
      const method = request.method ?? ''
      const asked = resourceAskedFor(path, prefix)
      if (asked !== undefined && guarded.length > 0) {
        const found = resourceAt(asked)
        try {
          tell(response, method, found && resourceMetadata(found.url, await found.guard.facts()))
        } catch (reason) {
          const { retryAfter, message } = ProxyError.from(reason)
          const { status, body } = unavailable(503, message)
          response.writeHead(status, { ...metadataHeaders, 'retry-after': String(retryAfter ?? 5) })
          response.end(body)
        }
        return true
      }
      if (shims === undefined) return false
      if (path === asMetadata || path.startsWith(`${asMetadata}/`)) {
        tell(response, method, facadeAt())
        return true
      }
      if (!Object.values<string>(shimPaths).includes(path)) return false
      await shim(request, response, path)
      return true
    },
    close() {
      for (const relay of relays.values()) relay.close()
    },
  }
}

/** Readers disagree on which of two counts. */
function refuseSecond({ rawHeaders }: IncomingMessage, resource: string): void {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  if (names.filter((name) => name.toLowerCase() === 'authorization').length < 2) return
  const text = 'there is more than one Authorization header'
  const error = new ProxyError('TOKEN_INVALID', text)
  throw challenged(error, resource, { error: 'invalid_request', description: text })
}

/** A template's URL as far as no parameter of a request changes it. */
const originOf = ({ parts }: Template): string => {
  const [first] = parts
  return typeof first === 'string' ? first.replace(/[?#].*$/, '') : ''
}
