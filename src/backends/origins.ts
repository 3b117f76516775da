// Which URLs that a backend names may be used. Pure. What a backend says can only choose a path on an origin that the
// operator configured: it never leads the proxy to another host.
import { BlockList, isIP } from 'node:net'

const inner = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  inner.addSubnet(net, bits, 'ipv4')
}
for (const [net, bits] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
] as const) {
  inner.addSubnet(net, bits, 'ipv6')
}

const innerName = /^[^.]+$|\.(?:localhost|local|internal|intranet|lan|home|corp|svc|arpa)$/i

/** Whether a URL's host name can only mean something near the backend: loopback, private, a bare or a cluster name. */
export function isInternal(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const family = isIP(host)
  if (family === 0) return innerName.test(host)
  return inner.check(host, family === 6 ? 'ipv6' : 'ipv4')
}

/** Path and query byte for byte: session tokens in them are opaque. An empty query keeps its question mark. */
export function pathOf(url: URL): string {
  const { href, hash } = url
  const from = href.indexOf('/', url.protocol.length + 2)
  return href.slice(from, href.length - hash.length).replace(/#$/, '')
}

const moved = (url: URL, origin: string): URL => new URL(origin + pathOf(url))

export type Resolved =
  { readonly ok: true; readonly url: URL } | { readonly ok: false; readonly reason: string }

/**
 * Resolves the data of an endpoint event against the stream's URL (2024-11-05, Transports, "HTTP with SSE"). An inner
 * host, or the backend's own under another scheme or port, is what a backend behind a load balancer believes itself
 * to be: the backend's origin takes its place. Any other origin must be one of `allowed`.
 */
export function resolveEndpoint(data: string, stream: URL, allowed: readonly string[]): Resolved {
  const url = URL.parse(data.trim(), stream.href)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return { ok: false, reason: 'an endpoint that is no http URL' }
  }
  if (url.origin === stream.origin || allowed.includes(url.origin)) {
    return { ok: true, url: moved(url, url.origin) }
  }
  if (url.hostname === stream.hostname || isInternal(url.hostname)) {
    return { ok: true, url: moved(url, stream.origin) }
  }
  const reason = `an endpoint of ${url.origin}, which is neither its own origin nor an allowed one`
  return { ok: false, reason }
}

/**
 * The same endpoint below the directory of the stream's URL: `/api/messages` for `/messages` and a stream at
 * `/api/sse`. Undefined where that changes nothing.
 */
export function underPrefix(endpoint: URL, stream: URL): URL | undefined {
  const prefix = stream.pathname.slice(0, stream.pathname.lastIndexOf('/'))
  if (prefix === '' || endpoint.origin !== stream.origin) return undefined
  if (endpoint.pathname.startsWith(`${prefix}/`)) return undefined
  return new URL(endpoint.origin + prefix + pathOf(endpoint))
}

/**
 * Where a redirect leads, if it stays with the backend. `http` for a configured `https` host, and an inner name for a
 * public one, are slips of a backend that sits behind another proxy: the configured origin takes their place.
 */
export function redirectTarget(location: string, from: URL): Resolved {
  const url = URL.parse(location, from.href)
  if (url === null) return { ok: false, reason: 'a Location that is no URL' }
  if (url.origin === from.origin) return { ok: true, url: moved(url, from.origin) }
  const downgraded = url.hostname === from.hostname && url.protocol === 'http:'
  if (downgraded && from.protocol === 'https:') return { ok: true, url: moved(url, from.origin) }
  if (isInternal(url.hostname) && !isInternal(from.hostname)) {
    return { ok: true, url: moved(url, from.origin) }
  }
  return { ok: false, reason: `another origin, ${url.origin}` }
}
