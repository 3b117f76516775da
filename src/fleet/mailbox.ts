// The mailboxes of replicas: one Redis stream each, which only its replica reads. A letter stays until it has been read,
// so that none is lost while the reader's connection is; what comes from one sender comes in its order.
import type { Redis } from 'ioredis'
import type { Clock } from '../clock.ts'
import { keyOf } from '../sessions/redis.ts'
import type { RedisConnection } from '../sessions/redis.ts'
import type { Letter } from './letters.ts'

export interface MailboxOptions {
  /** For sending, and for reading, which waits in the server. */
  readonly redis: RedisConnection
  readonly reader: RedisConnection
  readonly prefix: string
  readonly replica: string
  readonly clock: Clock
  onLetter(from: string, letter: Letter, body: Buffer): void
  onError(error: unknown): void
}

export interface Mailbox {
  /** Letters that are on their way to the server. */
  readonly sending: number
  /** Rejects when the letter could not be put there. */
  send(to: string, letter: Letter, body?: string | Uint8Array): Promise<void>
  /** Reads no more; resolves when all letters on their way have arrived or failed. */
  close(): Promise<void>
}

/** ms that letters are kept for a replica that does not read them. */
export const mailLifetime = 30_000
/** ms that reading waits in the server, so that a connection that died in silence is found out. */
const readTime = 2000
const mostAtOnce = 200
/** Letters that nobody reads are not kept without end. */
const mostLetters = 20_000

export function createMailbox(options: MailboxOptions): Mailbox {
  const { redis, reader, prefix, replica, clock, onLetter, onError } = options
  const own = keyOf(prefix, 'mail', replica)
  let closed = false
  let sending = 0
  let idle: (() => void) | undefined

  const read = async (): Promise<void> => {
    let last = '0-0'
    for (;;) {
      if (closed) return
      try {
        const answer = await (reader as Redis).xreadBuffer(
          'COUNT',
          mostAtOnce,
          'BLOCK',
          readTime,
          'STREAMS',
          own,
          last,
        )
        const entries = answer?.[0]?.[1] ?? []
        for (const [id, fields] of entries) {
          last = id.toString()
          open(fields)
        }
        if (entries.length > 0) redis.xtrim(own, 'MINID', next(last)).catch(onError)
      } catch (error) {
        if (closed) return
        onError(error)
        await new Promise<void>((resolve) => clock.after(pauseAfterError, resolve))
      }
    }
  }

  const open = (fields: readonly Buffer[]): void => {
    const [, from, , letter, , body] = fields
    if (from === undefined || letter === undefined) return
    try {
      onLetter(from.toString(), JSON.parse(letter.toString()) as Letter, body ?? Buffer.alloc(0))
    } catch (error) {
      onError(error)
    }
  }

  void read()
  return {
    get sending() {
      return sending
    },
    async send(to, letter, body = '') {
      const key = keyOf(prefix, 'mail', to)
      const bytes = typeof body === 'string' ? body : Buffer.from(body)
      const fields = ['from', replica, 'letter', JSON.stringify(letter), 'body', bytes]
      sending++
      try {
        await Promise.all([
          redis.xadd(key, 'MAXLEN', '~', mostLetters, '*', ...fields),
          redis.pexpire(key, mailLifetime),
        ])
      } finally {
        if (--sending === 0) idle?.()
      }
    },
    async close() {
      closed = true
      reader.disconnect()
      if (sending > 0) await new Promise<void>((resolve) => (idle = resolve))
    },
  }
}

const pauseAfterError = 200

/** The id after this one. */
function next(id: string): string {
  const [ms = '0', sequence = '0'] = id.split('-')
  return `${ms}-${BigInt(sequence) + 1n}`
}
