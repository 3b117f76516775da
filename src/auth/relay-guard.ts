// `auth: relay`: the backend has an authorization server of its own, and judges its tokens itself. Clients are led there,
// and what they get from it goes to the backend as it is: both are one resource behind one public URL (rules R1 to R11
// of the study that docs/authorization.md tells of).
import { hash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { TokenAcceptance, acceptanceDefaults, principalOfToken, tokenItself } from './acceptance.ts'
import { createAuthorizationServer, discoveryDefaults } from './authorization-server.ts'
import type { AuthorizationServer, HttpRequest } from './authorization-server.ts'
import { bearerIn } from './bearer.ts'
import { endpointsOf } from './facade.ts'
import type { Discovery, Endpoints } from './facade.ts'
import { challenged, missing, named } from './guard.ts'
import type { Admission, Guard, Knock } from './guard.ts'
import { refusalOf } from './mend.ts'
import type { RateLimits } from './rate-limits.ts'

export interface RelayConfig {
  readonly route: string
  /** Without the parameters of a path: where the authorization server is looked for. */
  readonly backendUrl: URL
  readonly authorizationServer: string | undefined
  readonly as: 'own-origin' | 'facade'
  readonly scopes: readonly string[]
  readonly optional: boolean
  /** Our own origin, as clients see it. */
  readonly publicOrigin: string
}

export interface RelayTools {
  readonly clock: Clock
  readonly limits: RateLimits
  readonly request?: HttpRequest
  /** Told the outcome of each look at the authorization server. */
  onLook?(discovery: Discovery): void
}

export interface RelayGuard extends Guard {
  readonly type: 'relay'
  readonly server: AuthorizationServer
  /** Where requests of clients go that use us as their authorization server. */
  endpoints(): Endpoints | undefined
  /** Clients may take us for the authorization server. */
  facade(): boolean
  /** Whether the backend has accepted this very token lately. */
  knows(token: string): boolean
  /** The backend has answered a request with these headers with this status. */
  heard(headers: Readonly<Record<string, string>>, status: number): void
  /** What a refusal of the backend means for the client of `resource`; undefined: what it says. */
  refusal(
    resource: string,
    answer: { readonly status: number; readonly challenge: string | undefined },
    sentToken: boolean,
  ): { readonly status: number; readonly challenge: string } | undefined
  close(): void
}

/** ms that a client waits for what is not known yet: hosted ones wait for 10 s. */
const patience = 8000

const originOf = (url: string): string => URL.parse(url)?.origin ?? ''

const tokenIn = (headers: Readonly<Record<string, string>>): string | undefined =>
  /^bearer +(\S+)$/i.exec(headers['authorization'] ?? '')?.[1]

export function createRelayGuard(config: RelayConfig, tools: RelayTools): RelayGuard {
  const { route, scopes, backendUrl, authorizationServer } = config
  const { clock, limits } = tools
  // A backend that answers those without a token says nothing of a token by answering: what one claims proves nothing.
  const whose = config.optional ? tokenItself : principalOfToken
  const accepted = new TokenAcceptance(acceptanceDefaults, clock, whose)
  const server = createAuthorizationServer(
    {
      ...discoveryDefaults,
      backendUrl,
      ...(authorizationServer !== undefined && { issuer: authorizationServer }),
    },
    tools,
  )

  const facade = (): boolean => {
    const found = server.current()
    // Clients compare the issuer with the `iss` that it sends itself (RFC 9207, section 2.4).
    return config.as === 'facade' && !(found.ok && found.metadata.emitsIss)
  }

  const issuers = async (): Promise<readonly string[]> => {
    let found = server.current()
    if (!found.ok && authorizationServer === undefined) {
      // A client that is told the wrong one registers there, and is lost.
      let callOff = (): void => {}
      const tired = new Promise<undefined>(
        (resolve) => (callOff = clock.after(patience, () => resolve(undefined))),
      )
      found = (await Promise.race([server.ready(), tired])) ?? found
      callOff()
    }
    if (facade()) return [config.publicOrigin]
    if (found.ok) return [found.metadata.issuer]
    if (authorizationServer !== undefined) return [authorizationServer]
    // Without metadata it is where the backend is (2025-03-26, Authorization, "Fallbacks for Servers without Metadata Discovery").
    if (found.fault === 'not-found') return [backendUrl.origin]
    const text = `the authorization server of route "${route}" is not known at the moment`
    throw new ProxyError('AUTH_UNAVAILABLE', text, { retryAfter: 5 })
  }

  return {
    type: 'relay',
    server,
    async facts() {
      const authorizationServers = await issuers()
      // What the operator says comes first; else what the backend says itself.
      return {
        authorizationServers,
        scopes: scopes.length > 0 ? scopes : server.scopes(),
        name: route,
      }
    },
    endpoints() {
      const found = endpointsOf(server.current(), backendUrl)
      // One that leads to us would lead in circles.
      const circles = Object.values(found ?? {}).some(
        (url: string | undefined) => url !== undefined && originOf(url) === config.publicOrigin,
      )
      return circles ? undefined : found
    },
    facade,
    knows: (token) => accepted.principalOf(token) !== undefined,
    heard(headers, status) {
      const token = tokenIn(headers)
      if (token === undefined) return
      if (status >= 200 && status < 300) accepted.accepted(token)
      else if (status === 401) accepted.refused(token)
    },
    refusal(resource, answer, sentToken) {
      const meant = refusalOf(answer, sentToken)
      if (meant === undefined) return undefined
      const { status, error, description } = meant
      const { headers } = challenged(new ProxyError('TOKEN_INVALID', ''), resource, {
        scopes: meant.scopes.length > 0 ? meant.scopes : scopes,
        ...(error !== undefined && { error }),
        ...(description !== undefined && { description }),
      })
      return { status, challenge: headers['www-authenticate'] ?? '' }
    },
    async admit(knock: Knock): Promise<Admission> {
      const { resource } = knock
      let token: string | undefined
      try {
        token = bearerIn(knock.headers, knock.query)
      } catch (reason) {
        throw challenged(ProxyError.from(reason), resource, { scopes, error: 'invalid_request' })
      }
      if (token === undefined) {
        if (config.optional) return nobody
        throw missing(resource, scopes)
      }
      // What it claims is believed by nobody here: the backend judges the token, and `knows` tells when it has.
      const principal = whose(token)
      // A forged token must not use up what its victim may ask.
      await limits.request(route, accepted.principalOf(token) ?? `unknown ${hash('sha256', token)}`)
      return {
        ...nobody,
        principal,
        headers: async (inbound) => named(inbound, { principal }),
      }
    },
    close: () => server.close(),
  }
}

const nobody: Admission = {
  principal: undefined,
  client: undefined,
  expires: undefined,
  parameters: {},
  reads: false,
  permit() {},
  headers: async (inbound) => ({ ...inbound }),
}
