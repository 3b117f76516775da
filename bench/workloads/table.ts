// The workloads W1 to W7 of the bench, and what is measured beside them.
import type { Crossing } from '../contestants/contestant.ts'
import type { Load } from './workload.ts'

export interface Workload {
  /** What `--only` takes; several workloads share one. */
  readonly id: string
  /** Unique: the id, and the crossing where the id has several. */
  readonly name: string
  readonly title: string
  readonly crossing: Crossing
  readonly load: Load
  /** What CPU is counted by the thousand of. */
  readonly unit: 'requests' | 'events' | 'sessions' | 'streams'
}

const both = { client: 'streamable', backend: 'streamable' } as const
const toSse = { client: 'streamable', backend: 'sse' } as const
const toStreamable = { client: 'sse', backend: 'streamable' } as const
const sse = { client: 'sse', backend: 'sse' } as const

export const crossings: readonly Crossing[] = [both, toSse, toStreamable, sse]

export const crossingText = ({ client, backend }: Crossing): string => `${client} > ${backend}`

const calls = (sessions: number, parallel = sessions): Load => ({
  kind: 'calls',
  tool: 'echo',
  bytes: 64,
  sessions,
  parallel,
})

const firehose = (malformed: boolean): Load => ({
  kind: 'firehose',
  sessions: 4,
  events: 5000,
  bytes: 64,
  event: 'message',
  malformed,
})

/** The loads of `--growth`: how a request's cost grows with the open sessions, and an event's with its size. */
export const growthSessions = [10, 100, 1000] as const
export const growthBytes = [1000, 10_000, 100_000] as const

export const sessionsLoad = (sessions: number): Load => calls(sessions, 10)

export const bytesLoad = (bytes: number): Load => ({
  kind: 'firehose',
  sessions: 4,
  events: Math.min(5000, Math.round(10_000_000 / bytes)),
  bytes,
  event: 'message',
  malformed: false,
})

/** All of them; for `quick` one of those that tell nearly the same. */
export function workloads(quick: boolean): readonly Workload[] {
  const call = (id: string, crossing: Crossing): Workload => ({
    id,
    name: id,
    title: 'tools/call of 64 bytes, 32 sessions',
    crossing,
    load: calls(32),
    unit: 'requests',
  })
  const named = (id: string, crossing: Crossing): string => `${id} ${crossingText(crossing)}`
  const large = (crossing: Crossing): Workload => ({
    id: 'large',
    name: named('large', crossing),
    title: 'results of 1 MB, 4 sessions',
    crossing,
    load: { kind: 'calls', tool: 'large', bytes: 1_000_000, sessions: 4, parallel: 4 },
    unit: 'requests',
  })
  const events = (id: string, title: string, load: Load, crossing: Crossing): Workload => ({
    id,
    name: named(id, crossing),
    title,
    crossing,
    load,
    unit: 'events',
  })
  const streams = quick ? 2000 : 5000
  return [
    call('W1', both),
    call('W2', toSse),
    call('W3', toStreamable),
    call('W4', sse),
    {
      id: 'latency',
      name: 'latency',
      title: 'tools/call of 64 bytes, one session',
      crossing: both,
      load: calls(1),
      unit: 'requests',
    },
    ...(quick ? [toSse] : [both, toSse]).map(large),
    ...crossings.map((crossing) =>
      events('W5', 'firehose of events with 64 bytes', firehose(false), crossing),
    ),
    ...(quick ? [toSse] : [toSse, sse]).map((crossing) =>
      events('W5m', 'firehose with indented `data:` lines', firehose(true), crossing),
    ),
    ...(quick ? [sse] : [sse, toSse, toStreamable]).map((crossing): Workload => ({
      id: 'W6',
      name: named('W6', crossing),
      title: `${streams.toLocaleString('en')} idle streams`,
      crossing,
      load: { kind: 'idle', streams },
      unit: 'streams',
    })),
    ...crossings.map((crossing): Workload => ({
      id: 'W7',
      name: named('W7', crossing),
      title: 'sessions opened and closed, 8 at a time',
      crossing,
      load: { kind: 'sessions', parallel: 8 },
      unit: 'sessions',
    })),
  ]
}
