// The contract of a session store: where session records live. Both homes pass the same contract suite
// (test/fixtures/store-contract.ts). Only records live here; open streams and exchanges belong to the process.
import type { Dialect } from '../protocol/dialects.ts'

/** What must be known to serve a session; JSON through and through. */
export interface SessionRecord {
  readonly id: string
  readonly route: string
  readonly parameters: Readonly<Record<string, string>>
  readonly principal: string
  readonly dialect: Dialect
}

export interface SessionStore {
  /**
   * Adds a record. Where a cap is met, makes room by removing the least recently used session that is not held, first
   * of the same principal. Resolves to the ids removed; rejects with LIMIT_REACHED when every session is held.
   */
  create(record: SessionRecord): Promise<readonly string[]>
  get(id: string): Promise<SessionRecord | undefined>
  /** Marks a session as used now. Unknown ids are ignored. */
  touch(id: string): void
  /** While held (an open stream, a running exchange) a session neither expires nor is removed for others. Holds are counted. */
  hold(id: string): void
  release(id: string): void
  /** Keeps an event for resuming; the oldest of the session give way to the limits. Never waits. */
  log(id: string, event: StoredEvent): void
  /** What is kept of a stream after a sequence number, in order. */
  replay(id: string, stream: string, after: number): Promise<readonly StoredEvent[]>
  /** Resolves to whether there was one. */
  delete(id: string): Promise<boolean>
  /** Removes what has been idle too long; resolves to the ids removed. */
  reap(): Promise<readonly string[]>
  /** Live sessions. */
  readonly size: number
  close(): Promise<void>
}

export interface StoredEvent {
  readonly stream: string
  readonly sequence: number
  /** The event as it was written. */
  readonly text: string
}

export interface StoreLimits {
  /** Events kept of one session, and their characters. */
  readonly replayEvents: number
  readonly replayBytes: number
  /** Sessions in total. */
  readonly sessions: number
  readonly sessionsPerPrincipal: number
  /** ms after which an unused session expires. */
  readonly idleTime: number
}
