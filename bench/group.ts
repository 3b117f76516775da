// One workload over all its contestants: all are started and warmed up, then measured in turn, repetition by repetition,
// so that whatever else the machine does meets all of them alike.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Contestant, RunningContestant } from './contestants/contestant.ts'
import { startLoad } from './load-process.ts'
import type { LoadProcess } from './load-process.ts'
import { startServer } from './processes.ts'
import type { Started } from './processes.ts'
import type { Workload } from './workloads/table.ts'
import { crossingText } from './workloads/table.ts'
import type { Load, Sample } from './workloads/workload.ts'

export interface GroupOptions {
  readonly quick: boolean
  readonly repetitions: number
  readonly seconds: number
  /** For configuration files and logs. */
  readonly directory: string
  /** A directory for CPU profiles of Causeway; undefined for none. */
  readonly profiles: string | undefined
}

/** What came of one contestant under one workload. */
export interface Row {
  readonly contestant: string
  readonly samples: readonly Sample[]
  /** Why there is nothing to compare: it cannot do this, is not installed, or failed. */
  readonly problem?: string
  /** What it ran instead, as a yardstick for those that can do it. */
  readonly instead?: string
}

interface Entry {
  readonly contestant: Contestant
  readonly workload: Workload
  readonly instead: string | undefined
  readonly samples: Sample[]
  running?: RunningContestant
  problem?: string
}

/** What the contestants of one group share. */
interface Stage {
  readonly backend: Started & { readonly port: number }
  readonly load: LoadProcess
  readonly options: GroupOptions
}

/** Units to pass before the measuring, by kind of load: machine code, JavaScript, and JavaScript that is slow to warm. */
const warmups: Record<
  Load['kind'],
  Record<'full' | 'quick', Record<Contestant['warmup'], number>>
> = {
  calls: {
    full: { none: 1000, jit: 30_000, 'slow-jit': 12_000 },
    quick: { none: 500, jit: 6000, 'slow-jit': 1000 },
  },
  firehose: {
    full: { none: 50_000, jit: 200_000, 'slow-jit': 60_000 },
    quick: { none: 20_000, jit: 60_000, 'slow-jit': 20_000 },
  },
  sessions: {
    full: { none: 200, jit: 2000, 'slow-jit': 1500 },
    quick: { none: 100, jit: 400, 'slow-jit': 150 },
  },
  idle: {
    full: { none: 50, jit: 200, 'slow-jit': 200 },
    quick: { none: 50, jit: 100, 'slow-jit': 100 },
  },
}

/** A call of 1 MB costs as much as many small ones, and one session makes calls one by one. */
const shareOfWarmup = ({ load }: Workload): number => {
  if (load.kind !== 'calls') return 1
  if (load.tool === 'large') return 1 / 40
  return load.sessions === 1 ? 1 / 4 : 1
}

export async function runGroup(
  workload: Workload,
  contestants: readonly Contestant[],
  options: GroupOptions,
): Promise<Row[]> {
  const entries = contestants.map((contestant) => entryFor(contestant, workload))
  const stage = {
    backend: await startServer('load', new URL('backend.ts', import.meta.url), []),
    load: startLoad(),
    options,
  }
  try {
    // Memory is not comparable once it has been used for something else.
    if (workload.load.kind === 'idle') await runFresh(entries, stage)
    else await runInterleaved(entries, stage)
  } finally {
    await stage.load.stop()
    await stage.backend.stop()
  }
  return entries.map(({ contestant, samples, problem, instead }) => ({
    contestant: contestant.name,
    samples,
    ...(problem !== undefined && { problem }),
    ...(instead !== undefined && { instead }),
  }))
}

/** What a contestant is to run, or why it is not to. */
function entryFor(contestant: Contestant, workload: Workload): Entry {
  const { crossing, load } = workload
  const converting = crossing.client !== crossing.backend
  const mending = load.kind === 'firehose' && load.malformed
  if (contestant.absent !== undefined) {
    return { contestant, workload, instead: undefined, samples: [], problem: contestant.absent }
  }
  if (!contestant.yardstick || (!converting && !mending)) {
    const problem = converting && !contestant.converts ? 'cannot' : undefined
    return { contestant, workload, instead: undefined, samples: [], ...(problem && { problem }) }
  }
  const own = { client: crossing.backend, backend: crossing.backend }
  return {
    contestant,
    workload: {
      ...workload,
      crossing: own,
      load: load.kind === 'firehose' ? { ...load, malformed: false } : load,
    },
    instead: `${mending ? 'clean, ' : ''}${crossingText(own)}`,
    samples: [],
  }
}

async function runInterleaved(entries: readonly Entry[], stage: Stage): Promise<void> {
  try {
    for (const entry of entries) await attempt(entry, () => begin(entry, stage))
    for (let repetition = 0; repetition < stage.options.repetitions; repetition++) {
      // Every other time backwards, so that nobody always runs after the same neighbour.
      const turn = repetition % 2 === 0 ? entries : entries.toReversed()
      for (const entry of turn) await attempt(entry, () => sample(entry, stage))
    }
    for (const entry of entries) {
      await attempt(entry, () => stage.load.close(entry.contestant.name))
    }
  } finally {
    for (const entry of entries) await entry.running?.stop()
  }
}

async function runFresh(entries: readonly Entry[], stage: Stage): Promise<void> {
  for (let repetition = 0; repetition < stage.options.repetitions; repetition++) {
    for (const entry of entries) {
      await attempt(entry, async () => {
        await begin(entry, stage)
        await sample(entry, stage)
        await stage.load.close(entry.contestant.name)
      })
      await entry.running?.stop()
    }
  }
}

/** Does one step of a contestant, unless an earlier one has failed. */
async function attempt(entry: Entry, step: () => Promise<void>): Promise<void> {
  if (entry.problem !== undefined) return
  try {
    await step()
  } catch (error) {
    entry.problem = `fails: ${(error as Error).message.trim().split('\n')[0]}`
  }
}

async function begin(entry: Entry, { backend, load, options }: Stage): Promise<void> {
  const { contestant, workload } = entry
  const { crossing } = workload
  const fileName = (text: string): string => text.replaceAll(/\W+/g, '-')
  const directory = join(options.directory, fileName(contestant.name))
  mkdirSync(directory, { recursive: true })
  entry.running = await contestant.start({
    crossing,
    backendPort: backend.port,
    directory,
    profile:
      options.profiles === undefined
        ? undefined
        : join(options.profiles, `${fileName(`${workload.name} ${contestant.name}`)}.cpuprofile`),
  })
  const { pid, port, path } = entry.running
  await load.open(contestant.name, {
    load: workload.load,
    target: { dialect: crossing.client, port, path },
    // Where nothing stands in between, what the bench itself costs is worth knowing.
    pids: pid === undefined ? [backend.pid, load.pid] : [pid],
    backendPort: backend.port,
  })
  const units = warmups[workload.load.kind][options.quick ? 'quick' : 'full'][contestant.warmup]
  await load.warm(contestant.name, Math.ceil(units * shareOfWarmup(workload)))
}

async function sample({ contestant, samples }: Entry, { load, options }: Stage): Promise<void> {
  samples.push(await load.run(contestant.name, options.seconds))
}
