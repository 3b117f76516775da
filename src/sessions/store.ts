// The contract of a session store: where session records live. Both homes pass the same contract suite
// (test/fixtures/store-contract.ts). Only records live here; open streams and exchanges belong to the process.
import type { Restore } from '../bridge/conversation.ts'
import type { Dialect } from '../protocol/dialects.ts'

export type { Restore } from '../bridge/conversation.ts'

/** What must be known to serve a session; JSON through and through. */
export interface SessionRecord {
  readonly id: string
  readonly route: string
  readonly parameters: Readonly<Record<string, string>>
  readonly principal: string
  readonly dialect: Dialect
  /** Sessions with the same one hear the same backend stream, and must be served by one replica. */
  readonly home?: string
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

export interface Located {
  readonly record: SessionRecord
  /** The replica that serves it. */
  readonly owner: string
  readonly restore: Restore | undefined
}

/** A store that several replicas share. Each session is one replica's; what is said above of all sessions holds for its own. */
export interface SharedSessionStore extends SessionStore {
  /** Finds a session, whoever serves it. */
  locate(id: string): Promise<Located | undefined>
  /** Takes a session over, if it is still whose it was found to be. Resolves to whether it is ours now. */
  claim(found: Located): Promise<boolean>
  /** The homes of our own sessions. */
  homes(): readonly string[]
  /** The replica that serves the sessions of a home: us, if it was nobody's, or `gone`'s. */
  takeHome(home: string, gone?: string): Promise<string>
  /** Finds out at once which sessions are no longer ours, after a time in which nothing could be heard of us. */
  recheck(): Promise<void>
  /** Gives all of ours away: the owner is nobody, written as an empty text, until somebody claims them. */
  giveAway(): Promise<void>
  /** Keeps what the next owner will need. Never waits. */
  remember(id: string, restore: Restore): void
}
