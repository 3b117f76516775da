// An `sse` session (2024-11-05): one GET stream for everything that comes, POSTs answered 202.
import { Connection } from '../http/connection.ts'
import { statusIn } from '../http/parser.ts'
import { EventReader } from './event-reader.ts'
import {
  checkInitialized,
  initializedText,
  initializeParams,
  isGreeting,
  framed,
  requestText,
} from './session.ts'
import type { Listener, Session, Target } from './session.ts'

interface Waiting {
  readonly listener: Listener | undefined
  resolve(text: string): void
  reject(reason: Error): void
}

export class SseSession implements Session {
  readonly post: Connection
  private readonly target: Target
  private readonly stream: Connection
  private postHead = ''
  private waiting: Waiting | undefined
  /** Hears what comes while no request is in flight. */
  private idle: Listener | undefined
  private failure: Error | undefined

  private constructor(target: Target, post: Connection, stream: Connection) {
    this.target = target
    this.post = post
    this.stream = stream
  }

  static async open(target: Target, post: Connection): Promise<SseSession> {
    const session = new SseSession(target, post, await Connection.open(target.port))
    try {
      await session.begin()
      const params = initializeParams('2024-11-05')
      checkInitialized(await session.request(0, 'initialize', params), 0)
      await session.send(initializedText)
    } catch (error) {
      session.stream.close()
      throw error
    }
    return session
  }

  async request(id: number, method: string, params: string, listener?: Listener): Promise<string> {
    if (this.failure !== undefined) throw this.failure
    const answer = new Promise<string>((resolve, reject) => {
      this.waiting = { listener, resolve, reject }
    })
    const [text] = await Promise.all([answer, this.send(requestText(id, method, params))])
    return text
  }

  listen(listener: Listener): Promise<void> {
    this.idle = listener
    return Promise.resolve()
  }

  /** Closing the stream is all there is to it. */
  close(): Promise<void> {
    this.stream.close()
    return Promise.resolve()
  }

  private async send(body: string): Promise<void> {
    const { status } = await this.post.exchange(this.postHead + framed(body))
    if (status !== 202) throw new Error(`a message was answered ${status}`)
  }

  /** Opens the stream and waits for its `endpoint` event. */
  private begin(): Promise<void> {
    const { port, path } = this.target
    return new Promise((resolve, reject) => {
      const fail = (reason: Error): void => {
        this.failure = reason
        this.waiting?.reject(reason)
        reject(reason)
      }
      const events = new EventReader(
        (name, data) => {
          if (name === 'message') this.take(data, fail)
          else if (name === 'endpoint') {
            const endpoint = new URL(data, `http://127.0.0.1:${port}${path}`)
            this.postHead = `POST ${endpoint.pathname}${endpoint.search} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n`
            resolve()
          } else fail(new Error(`an event named "${name}" came`))
        },
        (line) => fail(new Error(`a malformed line came: ${line.slice(0, 60)}`)),
      )
      this.stream
        .stream(
          `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\n\r\n`,
          {
            head: (headers) => {
              const status = statusIn(headers)
              if (status !== 200) fail(new Error(`the stream was answered ${status}`))
            },
            data: (text) => events.feed(text),
            end: () => fail(new Error('the stream ended')),
            fail,
          },
        )
        .catch(fail)
    })
  }

  private take(data: string, fail: (reason: Error) => void): void {
    const { waiting } = this
    if (isGreeting(data)) return
    if (waiting === undefined) {
      if (this.idle?.(data) !== true) fail(new Error(`nobody waits for ${data.slice(0, 200)}`))
    } else if (waiting.listener?.(data) !== true) {
      this.waiting = undefined
      waiting.resolve(data)
    }
  }
}
