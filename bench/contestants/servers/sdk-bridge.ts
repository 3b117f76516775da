// Contestant *sdk-bridge*: the bridge that an engineer writes in an afternoon. The official SDK's transports, wired
// message by message in both directions; not its Client and Server, which lose progress notifications that arrive in
// one read with the result. Arguments: the URL of the backend, and its dialect.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { isJSONRPCRequest } from '@modelcontextprotocol/sdk/types.js'
import type { JSONRPCMessage, RequestId } from '@modelcontextprotocol/sdk/types.js'
import { announce } from './listening.ts'

const [url = '', dialect] = process.argv.slice(2)

/** What all of the transports have, besides their `onmessage`, `onclose` and `onerror`. */
interface Side {
  start(): Promise<void>
  close(): Promise<void>
  send(message: JSONRPCMessage, options?: { relatedRequestId?: RequestId }): Promise<void>
}

/** The SDK's own types for its accessors do not fit its interface under strict settings. */
const sideOf = (transport: object): Side => transport as Side

const sse = new Map<string, SSEServerTransport>()
const streamable = new Map<string, StreamableHTTPServerTransport>()

/** `forget` is called once the session is over. */
async function wire(front: Side, forget: () => void): Promise<void> {
  const back =
    dialect === 'sse'
      ? new SSEClientTransport(new URL(url))
      : new StreamableHTTPClientTransport(new URL(url))
  const backSide = sideOf(back)
  // In the order of their coming: what names no request belongs to the newest one.
  const inFlight = new Set<RequestId>()
  let over = false
  const end = (): void => {
    if (over) return
    over = true
    forget()
    const ended =
      back instanceof StreamableHTTPClientTransport ? back.terminateSession() : Promise.resolve()
    ended.catch(ignore).finally(() => backSide.close())
    front.close().catch(ignore)
  }
  Object.assign(front, {
    onmessage(message: JSONRPCMessage) {
      if (isJSONRPCRequest(message)) inFlight.add(message.id)
      backSide.send(message).catch(end)
    },
    onclose: end,
  })
  Object.assign(backSide, {
    onmessage(message: JSONRPCMessage) {
      if ('method' in message) {
        const related = [...inFlight].at(-1)
        front.send(message, related === undefined ? {} : { relatedRequestId: related }).catch(end)
        return
      }
      if (message.id !== undefined) inFlight.delete(message.id)
      front.send(message).catch(end)
    },
    onclose: end,
    onerror: ignore,
  })
  await backSide.start()
  await front.start()
}

const ignore = (): void => undefined

async function serveStreamable(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const session = request.headers['mcp-session-id']
  const known = typeof session === 'string' ? streamable.get(session) : undefined
  if (session !== undefined && known === undefined) {
    response.writeHead(404).end()
    return
  }
  await (known ?? (await openStreamable())).handleRequest(request, response)
}

async function openStreamable(): Promise<StreamableHTTPServerTransport> {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => void streamable.set(id, transport),
  })
  await wire(sideOf(transport), () => streamable.delete(transport.sessionId ?? ''))
  return transport
}

async function openSse(response: ServerResponse): Promise<void> {
  const transport = new SSEServerTransport('/messages', response)
  sse.set(transport.sessionId, transport)
  await wire(sideOf(transport), () => sse.delete(transport.sessionId))
}

async function postSse(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { searchParams } = new URL(request.url ?? '/', 'http://any')
  const transport = sse.get(searchParams.get('sessionId') ?? '')
  if (transport === undefined) response.writeHead(404).end()
  else await transport.handlePostMessage(request, response)
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url: path = '' } = request
  if (path === '/mcp') await serveStreamable(request, response)
  else if (path === '/sse') await openSse(response)
  else if (path.startsWith('/messages?')) await postSse(request, response)
  else response.writeHead(404).end()
}

announce(
  createServer({ keepAliveTimeout: 0 }, (request, response) => {
    serve(request, response).catch(() => response.destroy())
  }),
)
// A transport that fails in the background must not end all the others.
process.on('unhandledRejection', () => undefined)
