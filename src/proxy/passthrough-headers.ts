// What becomes of the headers of a request that is passed through, and of its answer. Pure but for the request it cleans.
import type { IncomingMessage } from 'node:http'

/** Headers that belong to one connection (RFC 9110, section 7.6.1) and never cross a proxy. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Where a request came from is said by us alone: what a client claims of itself is not believed. */
const forwarding = /^(?:forwarded|x-forwarded-.*|x-real-ip)$/

const namedIn = (connection: string | undefined): readonly string[] =>
  (connection ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '')

/** `_` and `-` are one to servers that turn headers into variables, so one spelling must not slip past the other. */
const folded = (name: string): string => name.replaceAll('_', '-')

/** Makes the headers of `request` fit for the backend, in place. A WebSocket keeps its `Upgrade`. */
export function cleanRequest(request: IncomingMessage, publicUrl: URL | undefined): void {
  const { headers } = request
  const { upgrade, 'transfer-encoding': encoding } = headers
  const host = publicUrl?.host ?? headers.host
  const drop = new Set(namedIn(headers.connection))
  // A `Connection` that names them would take the body's framing or the address away.
  drop.delete('content-length')
  drop.delete('host')
  for (const name of Object.keys(headers)) {
    // What a client expects of the next hop was answered by us.
    const ours = name === 'expect' || forwarding.test(folded(name))
    if (ours || hopByHop.has(name) || drop.has(name)) delete headers[name]
  }
  // The body is chunked again on its way out; without the header a GET would be sent without the end of its body.
  if (encoding !== undefined) headers['transfer-encoding'] = 'chunked'
  if (upgrade !== undefined) {
    headers.connection = 'Upgrade'
    headers.upgrade = upgrade
  }
  headers['x-forwarded-for'] = request.socket.remoteAddress ?? 'unknown'
  headers['x-forwarded-proto'] = publicUrl?.protocol.slice(0, -1) ?? 'http'
  if (host !== undefined) headers['x-forwarded-host'] = host
}

/** The raw headers of an answer (name, value, name, value ...) as the client gets them. */
export function cleanResponse(
  raw: readonly string[],
  mapLocation: (location: string) => string,
): string[] {
  const pairs: [string, string][] = []
  const drop = new Set(hopByHop)
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const [name = '', value = ''] = raw.slice(i, i + 2)
    pairs.push([name, value])
    if (name.toLowerCase() === 'connection') for (const named of namedIn(value)) drop.add(named)
  }
  drop.delete('content-length')
  return pairs
    .filter(([name]) => !drop.has(name.toLowerCase()))
    .flatMap(([name, value]) => [
      name,
      name.toLowerCase() === 'location' ? mapLocation(value) : value,
    ])
}

/**
 * A `Location` that names the backend, as a client reaches it: the backend's base path goes, the public base comes.
 * `http` counts for a backend that is configured as `https`. Anything else stays as it is.
 */
export function publicLocation(location: string, target: URL, publicUrl: URL | undefined): string {
  // A reference relative to the request's path means the same on both sides.
  if (!/^(?:[a-z][a-z\d+.-]*:|\/)/i.test(location)) return location
  const url = URL.parse(location, target.href)
  if (url === null || url.hostname !== target.hostname) return location
  const downgraded = url.protocol === 'http:' && target.protocol === 'https:' && url.port === ''
  if (url.origin !== target.origin && !downgraded) return location
  const base = target.pathname.replace(/\/$/, '')
  if (url.pathname !== base && !url.pathname.startsWith(`${base}/`)) return location
  const path = url.pathname.slice(base.length) || '/'
  const publicBase = publicUrl?.href.replace(/\/$/, '') ?? ''
  return `${publicBase}${path}${url.search}${url.hash}`
}
