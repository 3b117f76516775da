// A `streamable` session (2025-06-18): POSTs answered in JSON or as an event stream, a standing GET stream, DELETE.
import { Connection } from '../http/connection.ts'
import { EventReader } from './event-reader.ts'
import { headerIn, statusIn } from '../http/parser.ts'
import {
  checkInitialized,
  initializedText,
  initializeParams,
  framed,
  requestText,
} from './session.ts'
import type { Listener, Session, Target } from './session.ts'

const revision = '2025-06-18'

export class StreamableSession implements Session {
  readonly post: Connection
  private readonly target: Target
  private readonly common: string
  private readonly postHead: string
  private standing: Connection | undefined

  private constructor(target: Target, post: Connection, id: string) {
    this.target = target
    this.post = post
    this.common = `Host: 127.0.0.1:${target.port}\r\nMcp-Session-Id: ${id}\r\nMCP-Protocol-Version: ${revision}\r\n`
    this.postHead = `POST ${target.path} HTTP/1.1\r\n${this.common}${postHeaders}`
  }

  static async open(target: Target, post: Connection): Promise<StreamableSession> {
    const body = requestText(0, 'initialize', initializeParams(revision))
    const head = `POST ${target.path} HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\n${postHeaders}`
    const { text, headers } = await answerTo(post, head + framed(body))
    checkInitialized(text, 0)
    const id = headerIn(headers, 'mcp-session-id')
    if (id === undefined) throw new Error('initialize was answered without an Mcp-Session-Id')
    const session = new StreamableSession(target, post, id)
    const { status } = await post.exchange(session.postHead + framed(initializedText))
    if (status !== 202) throw new Error(`a notification was answered ${status}`)
    return session
  }

  async request(id: number, method: string, params: string, listener?: Listener): Promise<string> {
    const body = requestText(id, method, params)
    return (await answerTo(this.post, this.postHead + framed(body), listener)).text
  }

  async listen(listener: Listener): Promise<void> {
    const connection = await Connection.open(this.target.port)
    this.standing = connection
    await new Promise<void>((resolve, reject) => {
      const events = new EventReader(
        (_name, data) => {
          if (!listener(data)) connection.close()
        },
        () => connection.close(),
      )
      connection
        .stream(
          `GET ${this.target.path} HTTP/1.1\r\n${this.common}Accept: text/event-stream\r\n\r\n`,
          {
            head: (headers) => {
              const status = statusIn(headers)
              if (status === 200) resolve()
              else reject(new Error(`the standing stream was answered ${status}`))
            },
            data: (text) => events.feed(text),
            end: () => reject(new Error('the standing stream ended')),
            fail: reject,
          },
        )
        .catch(reject)
    })
  }

  async close(): Promise<void> {
    this.standing?.close()
    const { status } = await this.post.exchange(
      `DELETE ${this.target.path} HTTP/1.1\r\n${this.common}\r\n`,
    )
    if (status < 200 || status > 204) throw new Error(`DELETE was answered ${status}`)
  }
}

const postHeaders =
  'Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n'

/** The one response in the answer to a POST; every other message in it goes to the listener. */
function answerTo(
  connection: Connection,
  request: string,
  listener?: Listener,
): Promise<{ text: string; headers: string }> {
  return new Promise((resolve, reject) => {
    let headers = ''
    let text: string | undefined
    let problem: string | undefined
    const events = new EventReader(
      (_name, data) => {
        if (listener?.(data) === true) return
        if (text !== undefined) problem ??= `an unexpected message came: ${text.slice(0, 200)}`
        text = data
      },
      (line) => {
        problem ??= `a malformed line came: ${line.slice(0, 60)}`
      },
    )
    let streamed = false
    connection
      .stream(request, {
        head(all) {
          headers = all
          const status = statusIn(all)
          streamed = all.includes('text/event-stream')
          if (status !== 200) problem ??= `a request was answered ${status}`
        },
        data(piece) {
          if (streamed) events.feed(piece)
          else text = text === undefined ? piece : text + piece
        },
        end() {
          if (problem !== undefined) reject(new Error(problem))
          else if (text === undefined) reject(new Error('an answer ended without its response'))
          else resolve({ text, headers })
        },
        fail: reject,
      })
      .catch(reject)
  })
}
