// OAuth scopes: which a token grants, and which of those that are asked for it lacks.
import type { JsonObject } from '../protocol/jsonrpc.ts'

/** Scope -> the scopes that it implies, which may imply others in turn. */
export type ScopeHierarchy = Readonly<Record<string, readonly string[]>>

const granting = ['scope', 'scp', 'permissions'] as const

/**
 * The scopes of a token's claims or of an introspection response. The first claim that is there counts alone, even when
 * it is empty: `permissions` may list what the user may do at large, and `scope` the less that the client was granted.
 */
export function scopesOf(claims: JsonObject): string[] {
  for (const name of granting) {
    if (!Object.hasOwn(claims, name)) continue
    const value = claims[name]
    // RFC 6749, section 3.3: a list delimited by spaces. Entra and Okta have `scp`, as text or as an array.
    const listed: readonly unknown[] =
      typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : []
    const scopes = listed.filter((each): each is string => typeof each === 'string' && each !== '')
    return [...new Set(scopes)]
  }
  return []
}

/** All that is granted, with what it implies. A hierarchy that runs in circles does no harm. */
function withImplied(granted: Iterable<string>, hierarchy: ScopeHierarchy): Set<string> {
  // A Set that is walked through while it grows: each scope is looked up once.
  const all = new Set(granted)
  for (const scope of all) {
    // Scopes are the token's words, and "constructor" is one like any other.
    if (!Object.hasOwn(hierarchy, scope)) continue
    for (const implied of hierarchy[scope] ?? []) all.add(implied)
  }
  return all
}

/**
 * What is required and neither granted nor implied by what is granted: all of it at once, in the order of `required`,
 * so that a client need not ask its user scope by scope (2025-11-25, Authorization, "Scope Challenge Handling").
 */
export function missingScopes(
  required: Iterable<string>,
  granted: Iterable<string>,
  hierarchy: ScopeHierarchy = {},
): string[] {
  const all = withImplied(granted, hierarchy)
  return [...new Set(required)].filter((scope) => !all.has(scope))
}
