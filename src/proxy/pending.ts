// Every exchange that waits for its answer, by exchange number: who waits, since when, and until when.
import type { Clock } from '../clock.ts'
import type { Reply } from '../frontends/exchange.ts'
import { Table } from '../table.ts'
import type { Origin } from './parks.ts'

export interface Pending {
  readonly number: number
  readonly member: string
  readonly method: string
  /** Undefined: the answer goes to the member's standing stream. */
  readonly reply: Reply | undefined
  readonly idText: string
  /** Who asked for what, for a request that may have to wait for its client. */
  readonly origin: (() => Origin) | undefined
  readonly started: number
  /** It lasts as long as its client wants: it has no time limit, and nobody waits for its end. */
  readonly lasting: boolean
  /** Moved on by every word from the backend. */
  deadline: number
  readonly owner: Owner
}

/** The conversation that an exchange belongs to. */
export interface Owner {
  /** Time is up. */
  expire(pending: Pending): void
  /** Its client has gone; `cancels` where that calls the request off. */
  abandon(pending: Pending, cancels: boolean): void
}

export interface PendingExchanges {
  /** Those that somebody waits for. */
  readonly size: number
  add(pending: Omit<Pending, 'deadline' | 'started'>): void
  get(number: number): Pending | undefined
  /** Gives it another full time. */
  extend(pending: Pending): void
  remove(number: number): Pending | undefined
  /** The client behind `reply` has gone. */
  abandon(reply: Reply, cancels: boolean): void
  close(): void
}

/** `time`: ms that an exchange may wait without any word from the backend. */
export function createPendingExchanges(clock: Clock, time: number): PendingExchanges {
  const all = new Table<number, Pending>(Number)
  let lasting = 0
  const byReply = new WeakMap<Reply, number>()
  const stop = clock.every(Math.min(1000, time), () => {
    const now = clock.now()
    for (const pending of all.values()) if (pending.deadline <= now) pending.owner.expire(pending)
  })
  return {
    get size() {
      return all.size - lasting
    },
    add(pending) {
      const started = clock.now()
      const deadline = pending.lasting ? Infinity : started + time
      if (pending.lasting) lasting++
      all.set(pending.number, { ...pending, started, deadline })
      if (pending.reply !== undefined) byReply.set(pending.reply, pending.number)
    },
    get: (number) => all.get(number),
    extend(pending) {
      if (!pending.lasting) pending.deadline = clock.now() + time
    },
    remove(number) {
      const pending = all.delete(number)
      if (pending?.lasting === true) lasting--
      return pending
    },
    abandon(reply, cancels) {
      const pending = all.get(byReply.get(reply) ?? -1)
      pending?.owner.abandon(pending, cancels)
    },
    close() {
      stop()
      all.clear()
    },
  }
}
