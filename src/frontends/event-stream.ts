// An event stream towards a client: headers at once, one write for all events of a tick, comments when idle, and an
// end for clients that have stopped reading.
import type { ServerResponse } from 'node:http'
import { encodeMessage, encodeRetry, keepAlive } from '../event-stream/event.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Outlet } from './exchange.ts'
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
  /** A comment, to keep the connection alive. */
  comment(text: string): void
  readonly closed: boolean
}

/**
 * Turns `response` into an event stream. `headers` are added to the stream's own; `onCut` hears why a client was cut
 * off. The stream ends by `close`, or when the client goes.
 */
export function openEventStream(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  keeper: Keeper,
  limits: StreamLimits,
  onCut: (reason: string) => void,
): EventStream {
  let pending = ''
  let scheduled = false
  let blockedSince: number | undefined
  let closed = false
  let lastWrite = keeper.now
  /** The largest write so far: a single large event must not cut a client off. */
  let largest = 0
  let drained: (() => void)[] = []

  const wake = (): void => {
    blockedSince = undefined
    const tasks = drained
    drained = []
    for (const task of tasks) task()
  }

  const finish = (): void => {
    if (closed) return
    closed = true
    keeper.remove(kept)
    wake()
  }

  const flush = (): void => {
    scheduled = false
    if (closed || pending === '') return
    const text = pending
    pending = ''
    lastWrite = keeper.now
    if (!response.write(text)) blockedSince ??= keeper.now
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
    if (blockedSince !== undefined && waiting > limits.buffer + largest) {
      cut(`it left more than ${limits.buffer} bytes unread`)
    }
    return blockedSince === undefined
  }

  const cut = (reason: string): void => {
    if (closed) return
    onCut(reason)
    finish()
    response.destroy()
  }

  const kept: Kept = {
    tick(now) {
      if (blockedSince !== undefined) {
        if (now - blockedSince >= limits.stallTime)
          cut(`it read nothing for ${limits.stallTime} ms`)
      } else if (now - lastWrite >= limits.keepAlive) {
        write(keepAlive)
      }
    },
  }

  if (response.destroyed) closed = true
  else {
    response.writeHead(200, { ...headers, ...streamHeaders })
    response.flushHeaders()
    response.on('drain', wake)
    response.on('close', finish)
    keeper.add(kept)
  }

  return {
    write,
    comment: (text) => void write(text),
    send: (message: Message) => write(encodeMessage(message.text)),
    onceDrained(task) {
      if (blockedSince === undefined || closed) task()
      else drained.push(task)
    },
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
