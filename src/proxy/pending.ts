// Every exchange that waits for its answer, by exchange number: who waits, since when, and until when.
import type { Clock } from '../clock.ts'
import type { Reply } from '../frontends/exchange.ts'
import { Table } from '../table.ts'

export interface Pending {
  readonly number: number
  readonly member: string
  readonly method: string
  /** Undefined: the answer goes to the member's standing stream. */
  readonly reply: Reply | undefined
  readonly idText: string
  readonly started: number
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
  const byReply = new WeakMap<Reply, number>()
  const stop = clock.every(Math.min(1000, time), () => {
    const now = clock.now()
    for (const pending of all.values()) if (pending.deadline <= now) pending.owner.expire(pending)
  })
  return {
    get size() {
      return all.size
    },
    add(pending) {
      const started = clock.now()
      all.set(pending.number, { ...pending, started, deadline: started + time })
      if (pending.reply !== undefined) byReply.set(pending.reply, pending.number)
    },
    get: (number) => all.get(number),
    extend(pending) {
      pending.deadline = clock.now() + time
    },
    remove(number) {
      return all.delete(number)
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
