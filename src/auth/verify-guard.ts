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

/** Throws CONFIG_INVALID. */
export function createVerifyGuard(config: VerifyConfig, tools: GuardTools): Guard {
  const { route, scopes, implies, issuers } = config
  const headers = templatesOf(config.headers, 'headers')
  const parameters = templatesOf(config.parameters, 'parameters')
  const asked = [
    ...Object.values(headers),
    ...Object.values(parameters),
    ...credentialTemplates(config.credential),
  ]
  const usesId = asked.some((each) => each.usesId)
  if (usesId && config.id === undefined) {
    throw new ProxyError('CONFIG_INVALID', 'auth: "{id}" is used, and "id" does not say what it is')
  }
  const ids = config.id && createIdMap(config.id, tools)
  const credential = createBackendCredential(config.credential, tools.wallClock)
  const verifiers = verifiersOf(config, tools)

  const verify = async (token: string, knock: Knock): Promise<Authenticated> => {
    await tools.limits.beforeVerifying(knock.address)
    try {
      return await verifiers.verify(token, knock.resource)
    } catch (reason) {
      const error = ProxyError.from(reason)
      if (error.code !== 'TOKEN_INVALID') throw error
      await tools.limits.failed(knock.address)
      throw invalid(error, knock.resource)
    }
  }

  const invalid = (error: ProxyError, resource: string): ProxyError =>
    challenged(error, resource, { scopes, error: 'invalid_token', description: error.message })

  /** A token that does not say what it must is no good here, and its client has to know that. */
  const told = (reason: unknown, resource: string): unknown => {
    const error = ProxyError.from(reason)
    return error.code === 'TOKEN_INVALID' ? invalid(error, resource) : reason
  }
  const inWords = <T>(resource: string, task: () => T): T => {
    try {
      return task()
    } catch (reason) {
      throw told(reason, resource)
    }
  }

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
    facts: async () => ({
      authorizationServers: [
        ...new Set([
          ...issuers.map(({ issuer }) => issuer),
          ...(config.introspection === undefined ? [] : [config.introspection.issuer]),
        ]),
      ],
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
        parameters: inWords(resource, () => parametersFor(parameters, identity, knock)),
        reads: Object.keys(config.tools).length > 0,
        permit: (messages) => need([...scopes, ...neededBy(messages, config.tools)], who, resource),
        async headers(inbound) {
          const own = inWords(resource, () =>
            Object.fromEntries(
              Object.entries(headers).map(([name, template]) => [
                name,
                identityHeader(template, identity),
              ]),
            ),
          )
          const left = await credential
            .replace(withoutNames(inbound, own), identity)
            .catch((reason: unknown) => {
              throw told(reason, resource)
            })
          return named({ ...left, ...own }, who)
        },
      }
    },
  }
}

const credentialTemplates = (credential: CredentialConfig): readonly IdentityTemplate[] => {
  if (credential.type !== 'jwt') return []
  const texts = [credential.subject, ...Object.values(credential.claims ?? {})]
  return texts.map((text) => identityTemplate(text, 'auth.credential'))
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

const verifiersOf = (config: VerifyConfig, tools: GuardTools): Verifiers => {
  const { issuers, introspection, apiKeys } = config
  return createVerifiers([
    ...(apiKeys.length > 0 ? [createApiKeyVerifier({ keys: apiKeys })] : []),
    ...(issuers.length > 0 ? [createJwtVerifier({ issuers }, tools)] : []),
    ...(introspection === undefined ? [] : [createIntrospectionVerifier(introspection, tools)]),
  ])
}
