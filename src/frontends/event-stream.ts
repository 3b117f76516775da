// An event stream towards a client: headers at once, one write for all events of a tick, comments when idle, and an
// end for clients that have stopped reading.
import { encodeMessage, encodeRetry, keepAlive } from '../event-stream/event.ts'
import { createLineBytes } from '../event-stream/line-bytes.ts'
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import { Drain } from './drain.ts'
import type { Answerable, Outlet } from './exchange.ts'
import type { Keeper, Kept } from './keeper.ts'

export interface StreamLimits {
  /** ms without an event until a comment is sent. */
  readonly keepAlive: number
  /** Bytes kept for a client that reads too slowly; past it the stream is cut. */
  readonly buffer: number
  /** ms that a client may read nothing at all. */
  readonly stallTime: number
}

/** No proxy may store, change, compress or buffer an event stream. */
export const streamHeaders = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const

export interface EventStream extends Outlet {
  /** Writes encoded events as they are. */
  write(text: string): boolean
  /** Writes `head` and then what the sink is given, as bytes of one event; whatever else is written waits for its end. */
  pass(head: string): Sink
  /** A comment, to keep the connection alive. */
  comment(text: string): void
  readonly closed: boolean
}

/**
 * Turns `response` into an event stream. `headers` are added to the stream's own; `onCut` hears why a client was cut
 * off. The stream ends by `close`, or when the client goes.
 */
export function openEventStream(
  response: Answerable,
  headers: Readonly<Record<string, string>>,
  keeper: Keeper,
  limits: StreamLimits,
  onCut: (reason: string) => void,
): EventStream {
  let pending = ''
  let scheduled = false
  const drain = new Drain(response, keeper)
  let closed = false
  let unwatch = (): void => {}
  /** An event is being written in bytes. */
  let passing = false
  let lastWrite = keeper.now
  /** The largest write so far: a single large event must not cut a client off. */
  let largest = 0

  const finish = (): void => {
    if (closed) return
    closed = true
    unwatch()
    drain.wake()
  }

  const flush = (): void => {
    scheduled = false
    if (closed || passing || pending === '') return
    const text = pending
    pending = ''
    lastWrite = keeper.now
    drain.write(text)
  }

  const write = (text: string): boolean => {
    if (closed) return true
    pending += text
    if (!scheduled) {
      scheduled = true
      queueMicrotask(flush)
    }
    largest = Math.max(largest, text.length)
    const waiting = pending.length + response.writableLength
    if (drain.blockedSince !== undefined && waiting > limits.buffer + largest) {
      cut(`it left more than ${limits.buffer} bytes unread`)
    }
    return drain.blockedSince === undefined
  }

  const cut = (reason: string): void => {
    if (closed) return
    onCut(reason)
    finish()
    response.destroy()
  }

  const kept: Kept = {
    tick(now) {
      const { blockedSince } = drain
      if (blockedSince !== undefined) {
        if (now - blockedSince >= limits.stallTime)
          cut(`it read nothing for ${limits.stallTime} ms`)
      } else if (!passing && now - lastWrite >= limits.keepAlive) {
        write(keepAlive)
      }
    },
  }

  if (response.destroyed) closed = true
  else {
    response.writeHead(200, { ...headers, ...streamHeaders })
    response.flushHeaders()
    response.on('close', finish)
    unwatch = keeper.add(kept)
  }

  const pass = (head: string): Sink => {
    flush()
    passing = true
    const line = createLineBytes()
    const put = (bytes: Uint8Array | string): boolean => {
      if (closed) throw new ProxyError('CANCELLED', 'the client has gone')
      lastWrite = keeper.now
      return drain.write(bytes)
    }
    put(head)
    return {
      write: (chunk) => put(line.push(chunk)),
      onceDrained,
      end() {
        put(line.end())
        put('\n\n')
        passing = false
        flush()
      },
    }
  }

  const onceDrained = (task: () => void): void => {
    if (closed) task()
    else drain.onceDrained(task)
  }

  return {
    write,
    pass,
    comment: (text) => void write(text),
    send: (message: Message) => write(encodeMessage(message.text)),
    onceDrained,
    close(retry) {
      if (closed) return
      if (retry !== undefined) pending += encodeRetry(retry)
      flush()
      finish()
      response.end()
    },
    get closed() {
      return closed
    },
  }
}
