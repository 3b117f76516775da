// `auth: verify`: we are the resource server of other authorization servers (2025-11-25 and 2026-07-28, Authorization,
// "Access Token Usage"), or know the keys of our users.
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { paramsOf } from '../protocol/metadata.ts'
import { createApiKeyVerifier } from './api-keys.ts'
import type { ApiKey } from './api-keys.ts'
import type { Authenticated } from './auth.ts'
import { bearerIn } from './bearer.ts'
import { createBackendCredential } from './credential.ts'
import type { CredentialConfig } from './credential.ts'
import { challenged, missing, named } from './guard.ts'
import type { Admission, Guard, Knock } from './guard.ts'
import { createIdMap } from './id-map.ts'
import type { IdMapConfig } from './id-map.ts'
import { identityHeader, identityParameter, identityTemplate } from './identity.ts'
import type { Identity, IdentityTemplate } from './identity.ts'
import { createIntrospectionVerifier } from './introspection.ts'
import type { IntrospectionConfig } from './introspection.ts'
import type { VerifierOptions } from './jwks.ts'
import { createJwtVerifier, createVerifiers } from './jwt.ts'
import type { JwtIssuer, Verifiers } from './jwt.ts'
import type { RateLimits } from './rate-limits.ts'
import { missingScopes } from './scopes.ts'
import type { ScopeHierarchy } from './scopes.ts'

export interface VerifyConfig {
  readonly route: string
  /** An empty `audience` stands for the resource itself. */
  readonly issuers: readonly JwtIssuer[]
  readonly introspection: IntrospectionConfig | undefined
  readonly apiKeys: readonly ApiKey[]
  /** What every request needs. */
  readonly scopes: readonly string[]
  /** What calls of a tool need besides. */
  readonly tools: Readonly<Record<string, readonly string[]>>
  readonly implies: ScopeHierarchy
  /** Templates. */
  readonly headers: Readonly<Record<string, string>>
  readonly parameters: Readonly<Record<string, string>>
  readonly id: IdMapConfig | undefined
  readonly credential: CredentialConfig
}

export interface GuardTools extends VerifierOptions {
  readonly clock: Clock
  readonly limits: RateLimits
}

/** Verifiers for resources without an audience of their own, at most. */
const mostResources = 1000

/** Throws CONFIG_INVALID. */
export function createVerifyGuard(config: VerifyConfig, tools: GuardTools): Guard {
  const { route, scopes, implies, issuers } = config
  const headers = templatesOf(config.headers, 'headers')
  const parameters = templatesOf(config.parameters, 'parameters')
  const usesId = [...Object.values(headers), ...Object.values(parameters)].some(
    (each) => each.usesId,
  )
  const ids = config.id && createIdMap(config.id, tools)
  const credential = createBackendCredential(config.credential, tools.wallClock)
  const verifierFor = verifiersOf(config, tools)

  const verify = async (token: string, knock: Knock): Promise<Authenticated> => {
    await tools.limits.beforeVerifying(knock.address)
    try {
      return await verifierFor(knock.resource).verify(token)
    } catch (reason) {
      const error = ProxyError.from(reason)
      if (error.code !== 'TOKEN_INVALID') throw error
      await tools.limits.failed(knock.address)
      throw invalid(error, knock.resource)
    }
  }

  const invalid = (error: ProxyError, resource: string): ProxyError =>
    challenged(error, resource, { scopes, error: 'invalid_token', description: error.message })

  /** All that is missing is asked for at once, together with what is there (Scope Challenge Handling). */
  const need = (required: readonly string[], who: Authenticated, resource: string): void => {
    const lacking = missingScopes(required, who.scopes, implies)
    if (lacking.length === 0) return
    const text = `this needs the scope ${lacking.join(' ')}`
    throw challenged(new ProxyError('SCOPE_INSUFFICIENT', text), resource, {
      scopes: [...new Set([...required, ...who.scopes])],
      error: 'insufficient_scope',
      description: text,
    })
  }

  return {
    type: 'verify',
    facts: () => ({
      authorizationServers: issuers.map(({ issuer }) => issuer),
      scopes: [...new Set([...scopes, ...Object.values(config.tools).flat()])],
      name: route,
    }),
    async admit(knock): Promise<Admission> {
      const { resource } = knock
      let token: string | undefined
      try {
        token = bearerIn(knock.headers, knock.query)
      } catch (reason) {
        throw challenged(ProxyError.from(reason), resource, { scopes, error: 'invalid_request' })
      }
      if (token === undefined) throw missing(resource, scopes)
      const who = await verify(token, knock)
      need(scopes, who, resource)
      await tools.limits.request(route, who.principal)
      const identity: Identity = usesId && ids ? { ...who, id: await ids.idOf(who) } : who
      return {
        principal: who.principal,
        client: who.clientId,
        expires: who.expires,
        parameters: parametersFor(parameters, identity, knock),
        permit: (messages) => need([...scopes, ...neededBy(messages, config.tools)], who, resource),
        async headers(inbound) {
          const own: Record<string, string> = {}
          for (const [name, template] of Object.entries(headers)) {
            own[name] = identityHeader(template, identity)
          }
          return named(
            await credential
              .replace(withoutNames(inbound, own), identity)
              .then((left) => ({ ...left, ...own })),
            who,
          )
        },
      }
    },
  }
}

const templatesOf = (
  texts: Readonly<Record<string, string>>,
  place: string,
): Readonly<Record<string, IdentityTemplate>> =>
  Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [
      name.toLowerCase() === name || place !== 'headers' ? name : name.toLowerCase(),
      identityTemplate(text, `auth.${place}.${name}`),
    ]),
  )

const fold = (name: string): string => name.toLowerCase().replaceAll('_', '-')

/** What we say of a caller nobody else may say, in whatever spelling. */
function withoutNames(
  inbound: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const names = new Set(Object.keys(own).map(fold))
  return Object.fromEntries(Object.entries(inbound).filter(([name]) => !names.has(fold(name))))
}

/** A parameter of the path is the caller's own, or the path is somebody else's. */
function parametersFor(
  templates: Readonly<Record<string, IdentityTemplate>>,
  identity: Identity,
  { parameters }: Knock,
): Record<string, string> {
  const own: Record<string, string> = {}
  for (const [name, template] of Object.entries(templates)) {
    own[name] = identityParameter(template, identity)
    const given = parameters[name]
    if (given !== undefined && given !== own[name]) {
      throw new ProxyError('SCOPE_INSUFFICIENT', `the path names somebody else in {${name}}`)
    }
  }
  return own
}

/** The scopes that the tools of a body need, all together: a batch is let through as a whole or not at all. */
const neededBy = (messages: readonly Message[], tools: VerifyConfig['tools']): readonly string[] =>
  messages.flatMap((message) => {
    if (message.kind !== 'request' || message.method !== 'tools/call') return []
    const { name } = paramsOf(message)
    return typeof name === 'string' && Object.hasOwn(tools, name) ? (tools[name] ?? []) : []
  })

/** Issuers without an audience of their own mean the resource that is asked for. */
function verifiersOf(config: VerifyConfig, tools: GuardTools): (resource: string) => Verifiers {
  const { issuers, introspection, apiKeys } = config
  const make = (resource: string): Verifiers => {
    const audienceOf = (audience: readonly string[]) =>
      audience.length > 0 ? audience : [resource]
    return createVerifiers([
      ...(apiKeys.length > 0 ? [createApiKeyVerifier({ keys: apiKeys })] : []),
      ...(issuers.length > 0
        ? [
            createJwtVerifier(
              {
                issuers: issuers.map((each) => ({ ...each, audience: audienceOf(each.audience) })),
              },
              tools,
            ),
          ]
        : []),
      ...(introspection === undefined
        ? []
        : [
            createIntrospectionVerifier(
              { ...introspection, audience: audienceOf(introspection.audience) },
              tools,
            ),
          ]),
    ])
  }
  // What is wrong with the configuration is to be known at the start.
  const first = make('https://resource.example')
  const fixed = issuers.every(({ audience }) => audience.length > 0)
  if (fixed && (introspection === undefined || introspection.audience.length > 0))
    return () => first
  const known = new Map<string, Verifiers>()
  return (resource) => {
    let verifiers = known.get(resource)
    if (verifiers === undefined) {
      verifiers = make(resource)
      known.set(resource, verifiers)
      const [oldest] = known.keys()
      if (known.size > mostResources && oldest !== undefined) known.delete(oldest)
    }
    return verifiers
  }
}
