// Which dialect does a request speak? A pure function of its method, headers and body; it never throws.
import type { Dialect } from '../protocol/dialects.ts'

export interface RequestFacts {
  /** The HTTP method, upper case. */
  readonly method: string
  readonly accept: string | undefined
  /** An `Mcp-Session-Id` header is there. */
  readonly sessionHeader: boolean
  /** The query carries the session parameter that our own `endpoint` event handed out. */
  readonly sessionParameter: boolean
  /** The body is an `initialize` request. */
  readonly initialize: boolean
  /** The `MCP-Protocol-Version` header names a revision without `initialize`. */
  readonly modernHeader: boolean
  /** A request of the body names its revision in its `_meta`. */
  readonly modernBody: boolean
}

export type Verdict =
  | { readonly kind: 'serve'; readonly dialect: Dialect }
  | { readonly kind: 'head' }
  | { readonly kind: 'options' }
  | { readonly kind: 'not-allowed' }

const serve = (dialect: Dialect): Verdict => ({ kind: 'serve', dialect })

/** Everything that a route answers, for `Allow`; narrowed where it does not serve all dialects. */
export function allowedMethods(clients: readonly Dialect[]): string {
  const streams = clients.includes('sse') || clients.includes('streamable')
  return [
    ...(streams ? ['GET', 'HEAD'] : []),
    'POST',
    ...(clients.includes('streamable') ? ['DELETE'] : []),
    'OPTIONS',
  ].join(', ')
}

/** What was worked out of `Accept` headers: the same few come with every request. */
const accepted = new Map<string, boolean>()
const mostAccepted = 1000
const longestAccept = 200

/** Whether an `Accept` header lets `type` through; a missing one lets everything through. */
export function accepts(accept: string | undefined, type: string): boolean {
  if (accept === undefined) return true
  const key = `${type} ${accept}`
  const known = accepted.get(key)
  if (known !== undefined) return known
  const verdict = letsThrough(accept, type)
  if (accepted.size < mostAccepted && accept.length < longestAccept) accepted.set(key, verdict)
  return verdict
}

function letsThrough(accept: string, type: string): boolean {
  if (accept.trim() === '') return true
  const group = `${type.split('/')[0]}/*`
  return accept
    .toLowerCase()
    .split(',')
    .some((part) => {
      const [range, ...parameters] = part.split(';').map((each) => each.trim())
      const refused = parameters.some((each) => /^q=0(\.0*)?$/.test(each))
      return !refused && (range === type || range === group || range === '*/*')
    })
}

/** `clients`: the dialects that the route serves. */
export function classify(facts: RequestFacts, clients: readonly Dialect[]): Verdict {
  const verdict = judge(facts, clients)
  return verdict.kind === 'serve' && !clients.includes(verdict.dialect)
    ? { kind: 'not-allowed' }
    : verdict
}

function judge(facts: RequestFacts, clients: readonly Dialect[]): Verdict {
  switch (facts.method) {
    case 'HEAD':
      return { kind: 'head' }
    case 'OPTIONS':
      return { kind: 'options' }
    case 'POST':
      if (facts.modernBody) return serve('stateless')
      if (facts.sessionHeader) return serve('streamable')
      if (facts.sessionParameter) return serve('sse')
      // Some clients name the newest revision in the header of all they send, `initialize` included.
      if (facts.modernHeader && !facts.initialize) return serve('stateless')
      if (facts.initialize && clients.includes('streamable')) return serve('streamable')
      return serve('rpc')
    case 'GET':
      if (facts.sessionHeader) return serve('streamable')
      if (!accepts(facts.accept, 'text/event-stream')) return { kind: 'not-allowed' }
      return serve('sse')
    case 'DELETE':
      return serve('streamable')
    default:
      return { kind: 'not-allowed' }
  }
}
