// Requests that are not MCP go to the backend as they are, both ways as streams, WebSockets too. This is the only file
// that knows http-proxy-3; the reading of messages has no place here.
import { Agent as HttpAgent } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream'
import type { Duplex } from 'node:stream'
import httpProxy from 'http-proxy-3'
import type { PassthroughRoute } from '../config/schema.ts'
import { ProxyError } from '../errors.ts'
import { safeUrl } from '../telemetry/log.ts'
import type { Log } from '../telemetry/log.ts'
import { cleanRequest, cleanResponse, publicLocation } from './passthrough-headers.ts'

export interface PassthroughOptions {
  readonly log: Log
  /** What clients see as the proxy's base URL; without it redirects name no host. */
  readonly publicUrl?: string | undefined
  /** ms to reach the backend; 10,000 by default. */
  readonly connectTimeout?: number
}

export interface Passthrough {
  /**
   * Forwards a request and its answer. The full path is kept: under a target `https://host/base`, `/api/x?y` goes to
   * `https://host/base/api/x?y`. A dead backend is answered 502, or 504 when it does not let us connect in time.
   */
  handle(request: IncomingMessage, response: ServerResponse): void
  /** Forwards a WebSocket. Any other upgrade is refused with 501. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Cuts everything that still runs. */
  close(): void
}

/** A path with `..` may leave the route once the backend has resolved it; no client sends one by itself. */
const dotSegment = /(?:^|[/\\])(?:\.|%2e){1,2}(?:[/\\]|$)/i

/** Forwards what a passthrough route matches. */
export function createPassthrough(
  route: Pick<PassthroughRoute, 'name' | 'passthrough'>,
  options: PassthroughOptions,
): Passthrough {
  const target = new URL(route.passthrough)
  const { log, connectTimeout = 10_000 } = options
  const publicUrl = options.publicUrl === undefined ? undefined : new URL(options.publicUrl)
  const Agent = target.protocol === 'https:' ? HttpsAgent : HttpAgent
  const agent = new Agent({ keepAlive: true })
  const upgraded = new Set<Duplex>()
  const proxy = httpProxy.createProxyServer<typeof IncomingMessage, typeof ServerResponse>({
    target,
    agent,
    changeOrigin: true,
    connectTimeout,
    // Answers are written by `answer` below: left alone, the library sends no headers before the first byte of the
    // body, so that an idle event stream never opens, and leaves a client waiting when the backend dies half-way.
    selfHandleResponse: true,
  })

  const failure = (cause: NodeJS.ErrnoException): ProxyError =>
    cause.code === 'ECONNECT_TIMEOUT'
      ? new ProxyError(
          'BACKEND_TIMEOUT',
          `backend of route "${route.name}" did not let us connect in ${connectTimeout} ms`,
          { cause },
        )
      : new ProxyError(
          'BACKEND_UNREACHABLE',
          `backend of route "${route.name}" cannot be reached or broke off`,
          { cause },
        )

  const logFailure = (request: IncomingMessage, error: ProxyError): void => {
    const path = safeUrl(request.url ?? '/')
    log.warn({ route: route.name, method: request.method, path, err: error.cause }, error.message)
  }

  const answer = (
    backendResponse: IncomingMessage,
    request: IncomingMessage,
    response: ServerResponse,
  ): void => {
    const { statusCode = 502, statusMessage = '' } = backendResponse
    const headers = cleanResponse(backendResponse.rawHeaders, (location) =>
      publicLocation(location, target, publicUrl),
    )
    response.writeHead(statusCode, statusMessage, headers)
    // What is already here goes out together with the headers; without a first byte they go out alone.
    setImmediate(() => {
      if (!response.destroyed && !response.writableEnded) response.flushHeaders()
    })
    pipeline(backendResponse, response, (error) => {
      // A premature close is a client that has gone; what is left is the backend's doing.
      if (error && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') logFailure(request, failure(error))
    })
  }
  proxy.on('proxyRes', answer)
  // The library half-closes its end when a client goes, which leaves the rest to the backend's good will.
  proxy.on('proxyReqWs', (backendRequest, _request, client) =>
    backendRequest.once('upgrade', (_response, backendSocket) =>
      client.once('close', () => backendSocket.destroySoon()),
    ),
  )
  // Errors reach the callbacks of each request; an emitter without a listener would end the process.
  proxy.on('error', (error) => log.debug({ route: route.name, err: error }, 'passthrough error'))

  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    if (dotSegment.test(pathOf(request))) {
      refuse(response, 400, 'the path must not contain "." or ".." segments')
      return
    }
    const framed = request.headers['content-length'] !== undefined
    const bodyless = request.method === 'DELETE' || request.method === 'OPTIONS'
    if (bodyless && !framed && request.headers['transfer-encoding'] !== undefined) {
      // The library declares such a body empty and sends it all the same, which the backend would read as a request.
      refuse(response, 411, `a ${request.method} with a body needs a Content-Length`)
      return
    }
    cleanRequest(request, publicUrl)
    proxy.web(request, response, {}, (cause) => {
      // The client has gone, or the answer has begun and its pipeline sees to the rest.
      if (response.destroyed || response.headersSent) return
      const error = failure(cause)
      logFailure(request, error)
      refuse(response, error.status, error.message)
    })
  }

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const client = socket as Socket
    const refuseUpgrade = (status: string, message: string): void => {
      const body = JSON.stringify({ error: message })
      client.end(
        `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n` +
          `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      )
    }
    client.on('error', () => client.destroy())
    if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== 'websocket') {
      refuseUpgrade('501 Not Implemented', 'only WebSocket upgrades are forwarded')
      return
    }
    if (dotSegment.test(pathOf(request))) {
      refuseUpgrade('400 Bad Request', 'the path must not contain "." or ".." segments')
      return
    }
    upgraded.add(client)
    client.once('close', () => upgraded.delete(client))
    cleanRequest(request, publicUrl)
    const before = client.bytesWritten
    proxy.ws(request, client, head, {}, (cause) => {
      // Bytes after the switch of protocols belong to the WebSocket.
      if (client.destroyed || client.bytesWritten !== before) return
      const error = failure(cause)
      logFailure(request, error)
      const status = error.status === 504 ? '504 Gateway Timeout' : '502 Bad Gateway'
      refuseUpgrade(status, error.message)
    })
  }

  return {
    handle,
    upgrade,
    close() {
      for (const socket of upgraded) socket.destroy()
      agent.destroy()
    },
  }
}

const pathOf = (request: IncomingMessage): string => (request.url ?? '/').split('?')[0] ?? '/'

const refuse = (response: ServerResponse, status: number, message: string): void => {
  const body = JSON.stringify({ error: message })
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}
