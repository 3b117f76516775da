// One timer for all open client streams: it keeps idle ones alive and cuts those whose client has stopped reading.
import type { Clock } from '../clock.ts'

/** What the keeper looks after; it calls `tick` about once a second. */
export interface Kept {
  tick(now: number): void
}

export interface Keeper {
  /** Milliseconds, as of the last tick: good enough for idle times, and free. */
  readonly now: number
  add(kept: Kept): void
  remove(kept: Kept): void
  close(): void
}

/** How often idle streams are looked at; keep-alives are late by at most this. */
const interval = 1000

export function createKeeper(clock: Clock): Keeper {
  const all = new Set<Kept>()
  let now = clock.now()
  const stop = clock.every(interval, () => {
    now = clock.now()
    for (const kept of all) kept.tick(now)
  })
  return {
    get now() {
      return now
    },
    add: (kept) => void all.add(kept),
    remove: (kept) => void all.delete(kept),
    close: stop,
  }
}
