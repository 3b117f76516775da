// The admin server: health, readiness and metrics on an address of their own. It serves no MCP and shows no secrets,
// but it has no authentication either: bind it where only operators reach it.
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ProxyError } from '../errors.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why not, one sentence each; empty when ready. */
  readonly reasons: readonly string[]
}

export interface AdminOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  readonly ready: () => Readiness
  readonly metrics: { text(): Promise<string>; readonly contentType: string }
}

export interface AdminServer {
  /** `http://host:port`, without a slash at its end. */
  readonly url: string
  /** Stops listening and cuts what is still open. */
  close(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

const json = (status: number, value: object): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
})

/** Starts the admin server. Rejects with a ProxyError when the address cannot be listened on. */
export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const { host, port, ready, metrics } = options
  const pages = new Map<string, () => Answer | Promise<Answer>>([
    // Health asks whether the process lives at all, so it depends on nothing.
    ['/healthz', () => ({ status: 200, type: 'text/plain', body: 'ok\n' })],
    [
      '/readyz',
      () => {
        const state = ready()
        return json(state.ready ? 200 : 503, state)
      },
    ],
    [
      '/metrics',
      async () => ({ status: 200, type: metrics.contentType, body: await metrics.text() }),
    ],
  ])

  const answer = async (request: IncomingMessage): Promise<Answer> => {
    const [path = '/'] = (request.url ?? '/').split('?')
    const page = pages.get(path)
    if (page === undefined) return json(404, { error: 'not found', paths: [...pages.keys()] })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return json(405, { error: 'only GET and HEAD are served here' })
    }
    try {
      return await page()
    } catch {
      return json(500, { error: 'internal error' })
    }
  }

  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, type, body } = await answer(request)
    response.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...(status === 405 && { allow: 'GET, HEAD' }),
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  const server = createServer((request, response) => void respond(request, response))
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'the address is in use' : cause.message
      const message = `admin: cannot listen on ${host}:${port}: ${why}`
      reject(new ProxyError('CONFIG_INVALID', message, { cause }))
    })
    server.listen(port, host, resolve)
  })
  const bound = server.address() as AddressInfo
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address
  return {
    url: `http://${name}:${bound.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
