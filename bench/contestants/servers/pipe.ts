// Contestant *pipe*: a bare node:http server piping to a keep-alive node:http agent, the least that a plain reverse
// proxy in Node costs. Argument: the backend's port.
import { Agent, createServer, request as requestOf } from 'node:http'
import { announce } from './listening.ts'

const port = Number(process.argv[2])
const agent = new Agent({ keepAlive: true })

announce(
  createServer({ keepAliveTimeout: 0, noDelay: true }, (request, response) => {
    const { method, url: path, headers } = request
    const forwarded = requestOf({ agent, host: '127.0.0.1', port, method, path, headers })
    forwarded.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      // Otherwise an idle stream would not open before its first event.
      if (answer.headers['content-type'] === 'text/event-stream') response.flushHeaders()
      answer.pipe(response)
      answer.on('error', () => response.destroy())
    })
    forwarded.on('error', () => response.destroy())
    response.on('close', () => {
      if (!response.writableFinished) forwarded.destroy()
    })
    request.pipe(forwarded)
  }),
)
