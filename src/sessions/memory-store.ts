// The memory home of sessions: one process, nothing survives it. Sessions stand in no order: using one is to cost nothing,
// and looking for the idlest is rare.
import type { Clock } from '../clock.ts'
import { Table } from '../table.ts'
import { idlest, noRoom } from './caps.ts'
import type { SessionRecord, SessionStore, StoredEvent, StoreLimits } from './store.ts'

interface Entry {
  readonly record: SessionRecord
  /** ms of its last use, and which use of all that was. */
  used: number
  turn: number
  holds: number
  /** Oldest first, from `first` on. What is before it has been dropped, and goes when there is enough of it. */
  events: StoredEvent[]
  first: number
  /** Characters of the events kept. */
  size: number
}

/** Small events are dropped so many at a time; where larger ones come, each at once. */
const mostDropped = 64
const smallText = 4096

export function createMemoryStore(limits: StoreLimits, clock: Clock): SessionStore {
  const entries = new Table<string, Entry>(String)
  const perPrincipal = new Map<string, number>()
  let turns = 0

  const count = (principal: string, by: number): void => {
    const next = (perPrincipal.get(principal) ?? 0) + by
    if (next === 0) perPrincipal.delete(principal)
    else perPrincipal.set(principal, next)
  }

  const remove = (id: string): boolean => {
    const entry = entries.delete(id)
    if (entry === undefined) return false
    count(entry.record.principal, -1)
    return true
  }

  const use = (entry: Entry): void => {
    entry.used = clock.now()
    entry.turn = ++turns
  }

  const makeRoom = (principal: string): string[] => {
    const removed: string[] = []
    const make = (limit: string, suits: (entry: Entry) => boolean) => {
      const id = idlest(entries.values(), suits)?.record.id
      if (id === undefined) throw noRoom(limit)
      remove(id)
      removed.push(id)
    }
    if ((perPrincipal.get(principal) ?? 0) >= limits.sessionsPerPrincipal) {
      make(
        `limits.sessionsPerPrincipal is ${limits.sessionsPerPrincipal}`,
        ({ record }) => record.principal === principal,
      )
    }
    if (entries.size >= limits.sessions) {
      make(`limits.sessions is ${limits.sessions}`, () => true)
    }
    return removed
  }

  return {
    get size() {
      return entries.size
    },
    async create(record) {
      const removed = makeRoom(record.principal)
      const entry = { record, used: 0, turn: 0, holds: 0, events: [], first: 0, size: 0 }
      use(entry)
      entries.set(record.id, entry)
      count(record.principal, 1)
      return removed
    },
    async get(id) {
      return entries.get(id)?.record
    },
    touch(id) {
      const entry = entries.get(id)
      if (entry !== undefined) use(entry)
    },
    hold(id) {
      const entry = entries.get(id)
      if (entry !== undefined) entry.holds++
    },
    release(id) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entry.holds--
      use(entry)
    },
    log(id, event) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entry.events.push(event)
      entry.size += event.text.length
      const { events } = entry
      while (events.length - entry.first > limits.replayEvents || entry.size > limits.replayBytes) {
        entry.size -= events[entry.first++]?.text.length ?? entry.size
      }
      // Moving all of them up for each event dropped would be felt in a fast stream.
      if (entry.first > mostDropped || event.text.length > smallText) {
        events.splice(0, entry.first)
        entry.first = 0
      }
    },
    async replay(id, stream, after) {
      const { events = [], first = 0 } = entries.get(id) ?? {}
      return events
        .slice(first)
        .filter((event) => event.stream === stream && event.sequence > after)
    },
    async delete(id) {
      return remove(id)
    },
    async reap() {
      const removed: string[] = []
      const oldest = clock.now() - limits.idleTime
      for (const { used, holds, record } of entries.values()) {
        if (used > oldest || holds > 0) continue
        remove(record.id)
        removed.push(record.id)
      }
      return removed
    },
    async close() {
      entries.clear()
      perPrincipal.clear()
    },
  }
}
