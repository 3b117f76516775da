// The challenge that sends a client to its authorization server (RFC 6750, section 3; RFC 9728, section 5.1).

export interface Challenge {
  /** Where the protected resource's metadata is. */
  readonly metadata: string
  /** What the client needs, or needs more. */
  readonly scopes?: readonly string[]
  /** Left out where no credential came (RFC 6750, section 3.1). */
  readonly error?: 'invalid_token' | 'insufficient_scope' | 'invalid_request'
  readonly description?: string
}

/** As `WWW-Authenticate`. Some clients read it only if it begins with `Bearer` and is the only one. */
export function challengeText({ metadata, scopes = [], error, description }: Challenge): string {
  const parameters = {
    resource_metadata: metadata,
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    ...(error !== undefined && { error }),
    ...(error !== undefined && description !== undefined && { error_description: description }),
  }
  const texts = Object.entries(parameters).map(([name, value]) => `${name}=${quoted(value)}`)
  return `Bearer ${texts.join(', ')}`
}

/** A quoted string (RFC 9110, section 5.6.4) of printable ASCII. */
const quoted = (value: string): string =>
  `"${value.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`

/** Characters of a backend's challenge that are read. */
const longest = 2048

/** The parameters of a backend's own bearer challenge; empty for any other. */
export function parametersIn(challenge: string | undefined): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  const text = /^\s*bearer\s(.*)$/is.exec(challenge?.slice(0, longest) ?? '')?.[1]
  for (const [, name = '', whole = '', plain] of (text ?? '').matchAll(
    /([a-z_]+)\s*=\s*("(?:[^"\\]|\\.)*"|([^\s,"]+))/gi,
  )) {
    found[name.toLowerCase()] = plain ?? whole.slice(1, -1).replace(/\\(.)/g, '$1')
  }
  return found
}
