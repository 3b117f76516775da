// What a route's `auth: verify` says, as the guard wants it.
import { createVerifyGuard } from '../auth/verify-guard.ts'
import type { GuardTools, VerifyConfig } from '../auth/verify-guard.ts'
import type { Guard } from '../auth/guard.ts'
import type { McpRoute } from '../config/schema.ts'
import { expandHeader } from '../config/template.ts'
import type { Template } from '../config/template.ts'
import { ProxyError } from '../errors.ts'

/** Asks nobody anything. Throws CONFIG_INVALID, which names the route. */
export function verifyGuardOf({ name, auth }: McpRoute, tools: GuardTools): Guard {
  const { issuers, introspection, credential, id } = auth
  try {
    return createVerifyGuard(
      {
        route: name,
        issuers: issuers.map(({ jwksUrl, secret, ...each }) => ({
          ...each,
          ...(jwksUrl !== undefined && { jwksUrl }),
          ...(secret !== undefined && { secret }),
        })),
        introspection: introspection && {
          ...introspection,
          clients: introspection.audience,
          clientAuth: 'client_secret_basic',
          cacheSize: 10_000,
        },
        apiKeys: auth.apiKeys,
        scopes: auth.scopes,
        tools: auth.tools,
        implies: auth.implies,
        headers: auth.headers,
        parameters: auth.parameters,
        id: id && { ...id, headers: lines(id.headers) },
        credential: credentialOf(credential),
      },
      tools,
    )
  } catch (reason) {
    const { code, message } = ProxyError.from(reason)
    throw new ProxyError(code, `route "${name}": ${message}`, { cause: reason })
  }
}

const lines = (headers: Readonly<Record<string, Template>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, template]) => [name, expandHeader(template, {})]),
  )

function credentialOf({
  type,
  key = '',
  algorithm,
  issuer,
  audience,
  subject,
  claims,
  lifetime,
  headers,
}: McpRoute['auth']['credential']): VerifyConfig['credential'] {
  switch (type) {
    case 'headers':
      return { type, headers: lines(headers) }
    case 'jwt':
      return { type, algorithm, key, issuer, audience, subject, claims, lifetime }
    default:
      return { type }
  }
}
