// The HTTP/1.1 server of the backend: keep-alive, one request of a connection at a time, bodies as ASCII text.
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { closes, MessageParser } from './parser.ts'

export interface Request {
  readonly method: string
  readonly url: string
  readonly headers: string
  readonly body: string
}

const reasons: Readonly<Record<number, string>> = { 200: 'OK', 202: 'Accepted', 404: 'Not Found' }

/** The response to one request: a whole one, or an event stream. */
export class Response {
  private readonly socket: Socket
  private readonly close: boolean
  /** Further headers, each with its line break. */
  extra = ''

  constructor(socket: Socket, close: boolean) {
    this.socket = socket
    this.close = close
  }

  end(status: number, type = 'text/plain', body = ''): void {
    this.write(
      `${this.head(status)}Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    if (this.close) this.socket.end()
  }

  /** Begins an event stream. `closed` is called once its connection is over. */
  begin(closed?: () => void): void {
    this.write(
      `${this.head(200)}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n`,
    )
    if (closed !== undefined) this.socket.once('close', closed)
  }

  /** Writes to an event stream what is already in chunks; false: wait for `drained` before more is written. */
  write(text: string): boolean {
    return this.socket.write(text, 'latin1')
  }

  drained(then: () => void): void {
    this.socket.once('drain', then)
  }

  /** Ends an event stream. */
  finish(): void {
    this.write('0\r\n\r\n')
    if (this.close) this.socket.end()
  }

  get gone(): boolean {
    return this.socket.destroyed
  }

  private head(status: number): string {
    const connection = this.close ? 'Connection: close\r\n' : ''
    return `HTTP/1.1 ${status} ${reasons[status] ?? 'Refused'}\r\n${this.extra}${connection}`
  }
}

export function serve(handler: (request: Request, response: Response) => void): Server {
  return createServer({ noDelay: true }, (socket) => {
    const parser = new MessageParser('request')
    let headers = ''
    let body = ''
    const receiver = {
      head(text: string) {
        headers = text
        body = ''
      },
      data(text: string) {
        body += text
      },
      end() {
        const [method = '', url = ''] = headers.slice(0, headers.indexOf('\r\n')).split(' ', 2)
        handler({ method, url, headers, body }, new Response(socket, closes(headers)))
      },
      fail: () => undefined,
    }
    socket.on('data', (bytes) => parser.feed(bytes.toString('latin1'), receiver))
    socket.on('error', () => undefined)
  })
}

/** One chunk of a body. */
export const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`
