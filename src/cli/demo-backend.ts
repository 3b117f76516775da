// The backend of the demo: a legacy MCP server with the defects that real ones have. It speaks HTTP with SSE only
// (2024-11-05), refuses a POST where its stream is, indents its `data:` lines and sends heartbeats in between.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface DemoBackend {
  /** `http://127.0.0.1:PORT`; the stream is at `/sse`. */
  readonly url: string
  close(): Promise<void>
}

interface RpcRequest {
  readonly id?: string | number
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
}

// Ten spaces stand before the field name, as from a template that was indented along with the code around it.
const indented = (event: string, data: string): string =>
  `event: ${event}\n          data: ${data}\n\n`

const tools = [
  {
    name: 'echo',
    description: 'Gives back its text',
    inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
  },
  {
    name: 'time',
    description: 'Says what time it is',
    inputSchema: { type: 'object', properties: {} },
  },
]

const callTool = (params: Readonly<Record<string, unknown>>): object | undefined => {
  const args = (params['arguments'] ?? {}) as { readonly text?: unknown }
  const text = (value: string): object => ({ content: [{ type: 'text', text: value }] })
  if (params['name'] === 'echo') return text(String(args.text))
  return params['name'] === 'time' ? text(new Date().toISOString()) : undefined
}

const resultOf = (
  method: string,
  params: Readonly<Record<string, unknown>>,
): object | undefined => {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: '2024-11-05',
        capabilities: { tools: {} },
        serverInfo: { name: 'demo-backend', version: '1.0.0' },
      }
    case 'ping':
      return {}
    case 'tools/list':
      return { tools }
    case 'tools/call':
      return callTool(params)
    default:
      return undefined
  }
}

const answer = ({ id, method = '', params = {} }: RpcRequest): object => {
  const result = resultOf(method, params)
  if (result !== undefined) return { jsonrpc: '2.0', id, result }
  return { jsonrpc: '2.0', id, error: { code: -32601, message: `nothing is known of ${method}` } }
}

const readText = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

const refuse = (response: ServerResponse, status: number, detail: string): void => {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ detail }))
}

/** Starts the backend on a free port of 127.0.0.1. */
export async function startDemoBackend(): Promise<DemoBackend> {
  const streams = new Map<string, ServerResponse>()

  const openStream = (response: ServerResponse): void => {
    const session = randomUUID().replaceAll('-', '')
    streams.set(session, response)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(indented('endpoint', `/messages?session_id=${session}`))
    const beat = setInterval(() => {
      response.write(indented('heartbeat', `{"timestamp": "${new Date().toISOString()}"}`))
    }, 1000)
    response.once('close', () => {
      clearInterval(beat)
      streams.delete(session)
    })
  }

  const takeMessage = async (
    request: IncomingMessage,
    response: ServerResponse,
    session: string,
  ) => {
    const stream = streams.get(session)
    if (stream === undefined) {
      refuse(response, 404, 'Could not find session')
      return
    }
    const message = JSON.parse(await readText(request)) as RpcRequest
    response.writeHead(202).end('Accepted')
    if (message.id !== undefined) stream.write(indented('message', JSON.stringify(answer(message))))
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://any')
    const route = `${request.method} ${pathname}`
    if (route === 'GET /sse') openStream(response)
    else if (pathname === '/sse') refuse(response, 405, 'Method Not Allowed')
    else if (route === 'POST /messages') {
      await takeMessage(request, response, searchParams.get('session_id') ?? '')
    } else refuse(response, 404, 'Not Found')
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
