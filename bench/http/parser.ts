// Reads the HTTP/1.1 messages of one connection, requests or responses, as latin1 text. It knows the framings that
// contestants use and no more: Content-Length, chunks without trailers, and a body that ends with the connection.
// Backend and load generator are written by hand on it because node:http and undici cost as much for a request as the
// proxies that are to be measured.

export interface Receiver {
  /** Everything up to the blank line, with the first line. */
  head(headers: string): void
  data(text: string): void
  end(): void
  fail(reason: Error): void
}

type Mode = 'head' | 'length' | 'chunk-size' | 'chunk' | 'chunk-end' | 'last-chunk' | 'close'

const lengthHeader = /\r\ncontent-length: *(\d+)/i
const chunkedHeader = /\r\ntransfer-encoding: *chunked/i

/** The status of a response. */
export const statusIn = (headers: string): number => Number(headers.slice(9, 12))

const closeHeader = /\r\nconnection: *close/i

/** Whether the connection ends with this message. */
export const closes = (headers: string): boolean => closeHeader.test(headers)

const patterns = new Map<string, RegExp>()

/** The value of a header, or undefined. */
export function headerIn(headers: string, name: string): string | undefined {
  let pattern = patterns.get(name)
  if (pattern === undefined) {
    pattern = new RegExp(`\r\n${name}: *([^\r]*)`, 'i')
    patterns.set(name, pattern)
  }
  return pattern.exec(headers)?.[1]
}

export class MessageParser {
  private readonly kind: 'request' | 'response'
  private mode: Mode = 'head'
  /** What is left of the body or of the chunk. */
  private left = 0
  /** The beginning of a head or of a chunk's size whose end has not come yet. */
  private rest = ''

  constructor(kind: 'request' | 'response') {
    this.kind = kind
  }

  feed(text: string, receiver: Receiver): void {
    const input = this.rest + text
    this.rest = ''
    let at = 0
    while (at < input.length) {
      const next = this.step(input, at, receiver)
      if (next === -1) {
        this.rest = input.slice(at)
        return
      }
      at = next
    }
  }

  /** The connection has ended. Whether that is also the end of the response. */
  get endsWithConnection(): boolean {
    return this.mode === 'close'
  }

  /** Takes one piece from `at` on; answers where the next one begins, or -1 if this one is not complete. */
  private step(input: string, at: number, receiver: Receiver): number {
    switch (this.mode) {
      case 'head': {
        const end = input.indexOf('\r\n\r\n', at)
        if (end === -1) return -1
        this.begin(input.slice(at, end), receiver)
        return end + 4
      }
      case 'length':
      case 'chunk': {
        const end = Math.min(input.length, at + this.left)
        this.left -= end - at
        receiver.data(at === 0 && end === input.length ? input : input.slice(at, end))
        if (this.left === 0) {
          if (this.mode === 'chunk') this.mode = 'chunk-end'
          else this.finish(receiver)
        }
        return end
      }
      case 'chunk-size': {
        const end = input.indexOf('\r\n', at)
        if (end === -1) return -1
        this.left = parseInt(input.slice(at, end), 16)
        this.mode = this.left === 0 ? 'last-chunk' : 'chunk'
        return end + 2
      }
      case 'chunk-end':
      case 'last-chunk':
        if (input.length < at + 2) return -1
        if (this.mode === 'chunk-end') this.mode = 'chunk-size'
        else this.finish(receiver)
        return at + 2
      case 'close':
        receiver.data(input.slice(at))
        return input.length
    }
  }

  private begin(headers: string, receiver: Receiver): void {
    const length = lengthHeader.exec(headers)?.[1]
    receiver.head(headers)
    if (length !== undefined && length !== '0') {
      this.left = Number(length)
      this.mode = 'length'
    } else if (length === undefined && chunkedHeader.test(headers)) this.mode = 'chunk-size'
    else if (length === '0' || this.kind === 'request' || statusIn(headers) === 204) {
      this.finish(receiver)
    } else this.mode = 'close'
  }

  private finish(receiver: Receiver): void {
    this.mode = 'head'
    receiver.end()
  }
}
