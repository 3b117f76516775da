// The metadata of protected resources (RFC 9728; 2025-11-25 and 2026-07-28, Authorization, "Authorization Server
// Location"): made from the configuration alone, so that a sleeping backend does not keep clients waiting.

const wellKnown = '/.well-known/oauth-protected-resource'

/** What is said of one route. */
export interface ResourceFacts {
  /** Issuers, as they write themselves. */
  readonly authorizationServers: readonly string[]
  readonly scopes: readonly string[]
  /** For people. */
  readonly name: string
}

/** The document for the resource at `url`, exactly as clients see it. */
export const resourceMetadata = (
  url: string,
  { authorizationServers, scopes, name }: ResourceFacts,
): string =>
  JSON.stringify({
    resource: url,
    ...(authorizationServers.length > 0 && { authorization_servers: authorizationServers }),
    ...(scopes.length > 0 && { scopes_supported: scopes }),
    bearer_methods_supported: ['header'],
    resource_name: name,
  })

/** Where the metadata of a resource is: the well-known path goes before its own (RFC 9728, section 3.1). */
export function metadataUrl(resource: string): string {
  const url = new URL(resource)
  url.pathname = wellKnown + (url.pathname === '/' ? '' : url.pathname)
  url.search = ''
  return url.href
}

/**
 * The path of the resource whose metadata a request asks for: '' where it asks at the root for whatever there is,
 * undefined where it asks for something else. `prefix` is the path of our public URL: whoever stands before us may have
 * taken it off.
 */
export function resourceAskedFor(path: string, prefix = ''): string | undefined {
  if (path.startsWith(wellKnown)) {
    const rest = path.slice(wellKnown.length).replace(/\/+$/, '')
    if (rest !== '' && !rest.startsWith('/')) return undefined
    return prefix !== '' && rest.startsWith(`${prefix}/`) ? rest.slice(prefix.length) : rest
  }
  return path.endsWith(wellKnown) ? path.slice(0, -wellKnown.length) : undefined
}
