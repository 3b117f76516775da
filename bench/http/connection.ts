// One keep-alive HTTP/1.1 connection of the load generator, one request at a time.
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { closes, MessageParser, statusIn } from './parser.ts'
import type { Receiver } from './parser.ts'

export interface Answer {
  readonly status: number
  readonly headers: string
  readonly body: string
}

export class Connection {
  private readonly port: number
  private socket: Socket
  private parser = new MessageParser('response')
  private receiver: Receiver | undefined

  private constructor(port: number, socket: Socket) {
    this.port = port
    this.socket = socket
    this.listen()
  }

  static async open(port: number): Promise<Connection> {
    return new Connection(port, await connected(port))
  }

  /** Closes the connection and opens it again. */
  async reopen(): Promise<void> {
    this.close()
    this.socket = await connected(this.port)
    this.parser = new MessageParser('response')
    this.listen()
  }

  /** Sends a request and hears its response piece by piece. Opens the connection again if the last response closed it. */
  async stream(request: string, receiver: Receiver): Promise<void> {
    if (this.receiver !== undefined) throw new Error('this connection has a request in flight')
    if (this.socket.destroyed) await this.reopen()
    let last = false
    this.receiver = {
      head: (headers) => {
        last = closes(headers)
        receiver.head(headers)
      },
      data: (text) => receiver.data(text),
      end: () => {
        this.receiver = undefined
        if (last) this.socket.destroy()
        receiver.end()
      },
      fail: (reason) => receiver.fail(reason),
    }
    this.socket.write(request, 'latin1')
  }

  /** Sends a request and waits for the whole response. */
  exchange(request: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let answer = { status: 0, headers: '', body: '' }
      this.stream(request, {
        head: (headers) => {
          answer = { status: statusIn(headers), headers, body: '' }
        },
        data: (text) => {
          answer.body += text
        },
        end: () => resolve(answer),
        fail: reject,
      }).catch(reject)
    })
  }

  close(): void {
    this.receiver = undefined
    this.socket.destroy()
  }

  private listen(): void {
    const { socket, parser } = this
    socket.on('data', (bytes: Buffer) => {
      if (socket !== this.socket) return
      if (this.receiver === undefined) socket.destroy()
      else parser.feed(bytes.toString('latin1'), this.receiver)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      if (socket === this.socket) this.closed()
    })
  }

  private closed(): void {
    const { receiver } = this
    this.receiver = undefined
    if (receiver === undefined) return
    if (this.parser.endsWithConnection) receiver.end()
    else receiver.fail(new Error('the connection was closed in the middle of a response'))
  }
}

function connected(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}
