// The contract between the orchestrator and the load generator: what a load is, and what comes of it.
import type { Target } from '../client/session.ts'
import type { EventKind } from '../messages.ts'

export type Load =
  | {
      readonly kind: 'calls'
      readonly sessions: number
      /** Calls under way at a time, taken by the sessions in turn; at most the number of sessions. */
      readonly parallel: number
      /** Of the text that comes back. */
      readonly bytes: number
      /** `echo` sends the text there and back, `large` has the backend make it. */
      readonly tool: 'echo' | 'large'
    }
  | {
      readonly kind: 'firehose'
      readonly sessions: number
      /** Events of one call. */
      readonly events: number
      readonly bytes: number
      readonly event: EventKind
      readonly malformed: boolean
    }
  | { readonly kind: 'idle'; readonly streams: number }
  | { readonly kind: 'sessions'; readonly parallel: number }

/** One contestant under one load. */
export interface JobOptions {
  readonly load: Load
  readonly target: Target
  /** The roots of the processes that are measured. */
  readonly pids: readonly number[]
  /** Of the backend itself, for its control path. */
  readonly backendPort: number
}

/** One measured repetition. */
export interface Sample {
  /** Requests, events, streams or sessions. */
  readonly units: number
  readonly seconds: number
  /** ms of CPU that the measured processes took. */
  readonly cpu: number
  /** ms of one call, or of opening and closing one session. */
  readonly p50?: number
  readonly p99?: number
  /** Resident bytes for each idle stream. */
  readonly rss?: number
}

/** A load on one contestant, inside the load generator. Everything that is not as it should be rejects. */
export interface Job {
  open(): Promise<void>
  /** Runs unmeasured until at least this many units have passed. */
  warm(units: number): Promise<void>
  run(seconds: number): Promise<Sample>
  close(): Promise<void>
}

/** Tells that something has been received, which puts off the watchdog. */
export type Progress = () => void
