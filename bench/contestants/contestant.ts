// The contract of a contestant: what stands between the load generator and the backend, and how it is started.
import type { SessionDialect } from '../client/session.ts'

/** The dialects on both sides of a contestant. */
export interface Crossing {
  readonly client: SessionDialect
  readonly backend: SessionDialect
}

export interface Setting {
  readonly crossing: Crossing
  readonly backendPort: number
  /** A directory of the contestant's own, for its files. */
  readonly directory: string
  /** The file that a CPU profile of Causeway is to be left in; undefined for none. */
  readonly profile: string | undefined
}

export interface RunningContestant {
  /** The root of its processes; undefined for none. */
  readonly pid: number | undefined
  readonly port: number
  /** Where clients connect, in the dialect of the crossing. */
  readonly path: string
  stop(): Promise<void>
}

export interface Contestant {
  readonly name: string
  /** Its version, or those of what it is made of. */
  readonly version: string
  /** Why it cannot run on this machine; undefined when it can. */
  readonly absent?: string | undefined
  /** Whether it speaks two dialects at a time. What only forwards runs with one on both sides. */
  readonly converts: boolean
  /** Where it cannot convert, whether it still runs, with the backend's dialect on both sides, to compare with. */
  readonly yardstick: boolean
  /** How much must have passed through it before it runs as fast as it can: machine code at once, JavaScript late. */
  readonly warmup: 'none' | 'jit' | 'slow-jit'
  start(setting: Setting): Promise<RunningContestant>
}

/** Paths of the backend, by dialect; what forwards has the same ones. */
export const backendPaths: Readonly<Record<SessionDialect, string>> = {
  sse: '/sse',
  streamable: '/mcp',
}

export const backendUrl = ({ crossing, backendPort }: Setting): string =>
  `http://127.0.0.1:${backendPort}${backendPaths[crossing.backend]}`
