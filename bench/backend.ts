// The backend of the bench, a process of its own: a minimal MCP server, made to cost much less than any contestant.
// `streamable` is at /mcp, `sse` at /sse; /control is for the load generator.
import { announce } from './contestants/servers/listening.ts'
import { chunk, serve } from './http/server.ts'
import type { Request, Response } from './http/server.ts'
import { headerIn } from './http/parser.ts'
import { eventAround, firstNumber, prose } from './messages.ts'
import type { FirehoseArguments, LargeArguments } from './messages.ts'

interface Message {
  readonly id?: string | number
  readonly method: string
  readonly params: {
    readonly protocolVersion?: string
    readonly name?: string
    readonly arguments: unknown
    readonly _meta?: { readonly progressToken?: unknown }
  }
}

/** Where the answer to a message goes. */
interface Outlet {
  /** `indent` stands before the `data:` line, where there is one. */
  answer(text: string, indent?: string): void
  /** Where events go that come before the answer. */
  events(): Response
}

type Handler = (message: Message, outlet: Outlet) => void

/** Open sse streams and standing streams, by session. */
const streams = new Map<string, Response>()
/** Streamable sessions. */
const sessions = new Set<string>()
let opened = 0

const result = (id: unknown, text: string): string =>
  `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${text}}`

const textResult = (id: unknown, text: string): string =>
  result(id, `{"content":[{"type":"text","text":${text}}]}`)

const event = (data: string, indent = ''): string =>
  chunk(`event: message\n${indent}data: ${data}\n\n`)

const alive =
  '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"alive"}}'

/** JSON text of the prose of one size, made once. */
const proses = new Map<number, string>()

const echo: Handler = ({ id, params }, outlet) => {
  const { text } = params.arguments as { text: string }
  outlet.answer(textResult(id, JSON.stringify(text)))
}

const large: Handler = ({ id, params }, outlet) => {
  const { key, bytes } = params.arguments as LargeArguments
  let text = proses.get(bytes)
  if (text === undefined) {
    text = JSON.stringify(prose(bytes)).slice(1, -1)
    proses.set(bytes, text)
  }
  outlet.answer(textResult(id, `"${key} ${text} ${key}"`))
}

/** Each event is a chunk of its own, as of a server that knows nothing of the next one; many go out in one write. */
const firehose: Handler = ({ id, params }, outlet) => {
  const wanted = params.arguments as FirehoseArguments
  const { ['_meta']: meta } = params
  const { before, after } = eventAround(wanted, meta?.progressToken)
  const indent = wanted.malformed ? ' '.repeat(10) : ''
  const head = `event: message\n${indent}data: ${before}`
  const tail = `${after}\n\n`
  const size = (head.length + String(firstNumber).length + tail.length).toString(16)
  const [start, end] = [`${size}\r\n${head}`, `${tail}\r\n`]
  const batch = Math.max(1, Math.floor(32_768 / (start.length + end.length)))
  const response = outlet.events()
  let next = 0
  const pour = (): void => {
    while (next < wanted.events) {
      if (response.gone) return
      let frames = ''
      const stop = Math.min(wanted.events, next + batch)
      while (next < stop) frames += start + (firstNumber + next++) + end
      if (!response.write(frames)) {
        response.drained(pour)
        return
      }
    }
    outlet.answer(textResult(id, JSON.stringify(`${wanted.key} ${wanted.events}`)), indent)
  }
  pour()
}

const tools: Readonly<Record<string, Handler>> = { echo, large, firehose }

const handlers: Readonly<Record<string, Handler>> = {
  initialize: ({ id, params }, outlet) =>
    outlet.answer(
      result(
        id,
        `{"protocolVersion":${JSON.stringify(params.protocolVersion)},"capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"bench-backend","version":"1"}}`,
      ),
    ),
  ping: ({ id }, outlet) => outlet.answer(result(id, '{}')),
  'tools/call': (message, outlet) => (tools[message.params.name ?? ''] ?? unknown)(message, outlet),
}

const unknown: Handler = ({ id, method }, outlet) =>
  outlet.answer(
    `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":-32601,"message":"nothing is known of ${method}"}}`,
  )

const handle: Handler = (message, outlet) => (handlers[message.method] ?? unknown)(message, outlet)

function serveStreamable({ method, headers, body }: Request, response: Response): void {
  const session = headerIn(headers, 'mcp-session-id')
  if (session !== undefined && !sessions.has(session)) response.end(404)
  else if (method === 'POST') answerPost(JSON.parse(body) as Message, session, response)
  else if (session === undefined) response.end(400)
  else if (method === 'GET') openStream(session, response)
  else {
    sessions.delete(session)
    response.end(200)
  }
}

function answerPost(message: Message, session: string | undefined, response: Response): void {
  if (message.id === undefined) {
    response.end(202)
    return
  }
  if (message.method === 'initialize') {
    const id = `streamable-${opened++}`
    sessions.add(id)
    response.extra = `Mcp-Session-Id: ${id}\r\n`
  } else if (session === undefined) {
    response.end(400)
    return
  }
  let streaming = false
  handle(message, {
    answer(text, indent) {
      if (!streaming) {
        response.end(200, 'application/json', text)
        return
      }
      response.write(event(text, indent))
      response.finish()
    },
    events() {
      streaming = true
      response.begin()
      return response
    },
  })
}

function openStream(session: string, response: Response): void {
  streams.set(session, response)
  response.begin(() => streams.delete(session))
}

function openSse(response: Response): void {
  const session = `sse-${opened++}`
  openStream(session, response)
  response.write(chunk(`event: endpoint\ndata: ${messagesPath}${session}\n\n`))
}

const messagesPath = '/messages?session_id='

function postSse({ url, body }: Request, response: Response): void {
  const stream = streams.get(url.slice(messagesPath.length))
  if (stream === undefined) {
    response.end(404)
    return
  }
  response.end(202)
  const message = JSON.parse(body) as Message
  if (message.id === undefined) return
  handle(message, {
    answer: (text, indent) => void stream.write(event(text, indent)),
    events: () => stream,
  })
}

/** How many streams are open; on request, each one gets a notification. */
function control(url: string, response: Response): void {
  if (url === '/control/broadcast')
    for (const stream of streams.values()) stream.write(event(alive))
  response.end(200, 'text/plain', String(streams.size))
}

announce(
  serve((request, response) => {
    const { method, url } = request
    if (url === '/mcp') serveStreamable(request, response)
    else if (method === 'POST' && url.startsWith(messagesPath)) postSse(request, response)
    else if (method === 'GET' && url === '/sse') openSse(response)
    else if (url.startsWith('/control/')) control(url, response)
    else response.end(url === '/sse' ? 405 : 404)
  }),
)
