// One timer for all open client streams: it keeps idle ones alive and cuts those whose client has stopped reading.
import type { Clock } from '../clock.ts'
import { Table } from '../table.ts'

/** What the keeper looks after; it calls `tick` about once a second. */
export interface Kept {
  tick(now: number): void
}

export interface Keeper {
  /** Milliseconds, as of the last tick: good enough for idle times, and free. */
  readonly now: number
  /** Returns what takes it away again, once or more often. */
  add(kept: Kept): () => void
  close(): void
}

/** How often idle streams are looked at; keep-alives are late by at most this. */
const interval = 1000

export function createKeeper(clock: Clock): Keeper {
  const all = new Table<number, Kept>(Number)
  let last = 0
  let now = clock.now()
  const stop = clock.every(interval, () => {
    now = clock.now()
    for (const [, kept] of all) kept.tick(now)
  })
  return {
    get now() {
      return now
    },
    add(kept) {
      const number = ++last
      all.set(number, kept)
      return () => void all.delete(number)
    },
    close: stop,
  }
}
