// Contestant *lean*: what a Node proxy costs at the very least that reads requests by node:http and sends them on by
// undici's dispatch. Bodies of a known length are held, so that each message is one write; all else is forwarded as it
// comes. It checks, counts and logs nothing. Argument: the backend's port.
import { createServer } from 'node:http'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { Client, Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { announce } from './listening.ts'

const origin = `http://127.0.0.1:${process.argv[2]}`
const unlimited = { headersTimeout: 0, bodyTimeout: 0 }
const pool = new Pool(origin, { connections: null, ...unlimited })

const forwarded = ['content-type', 'accept', 'mcp-session-id', 'mcp-protocol-version'] as const

const headersFor = (headers: IncomingHttpHeaders): Record<string, string> => {
  const own: Record<string, string> = {}
  for (const name of forwarded) {
    const value = headers[name]
    if (typeof value === 'string') own[name] = value
  }
  return own
}

announce(
  createServer({ keepAliveTimeout: 0, noDelay: true }, (request, response) => {
    const { method = 'GET', url: path = '/', headers } = request
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = chunks.length === 0 ? null : Buffer.concat(chunks)
      // A stream that stays open would keep a place in the pool.
      const to = method === 'GET' ? new Client(origin, unlimited) : pool
      const options = {
        path,
        method: method as Dispatcher.HttpMethod,
        headers: headersFor(headers),
      }
      to.dispatch({ ...options, body }, answering(response))
    })
  }),
)

function answering(response: ServerResponse): Dispatcher.DispatchHandler {
  let held: Buffer[] | undefined
  return {
    onRequestStart(controller) {
      response.on('close', () => {
        if (!response.writableFinished) controller.abort(new Error('the client has gone'))
      })
    },
    onResponseStart(_controller, status, headers) {
      response.writeHead(status, headers)
      if (headers['content-length'] !== undefined) held = []
      else response.flushHeaders()
    },
    onResponseData(_controller, chunk) {
      if (held === undefined) response.write(chunk)
      else held.push(chunk)
    },
    onResponseEnd() {
      response.end(held === undefined ? undefined : Buffer.concat(held))
    },
    onResponseError() {
      response.destroy()
    },
  }
}
