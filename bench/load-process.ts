// The orchestrator's end of the load generator: one question at a time, over IPC.
import { once } from 'node:events'
import { start } from './processes.ts'
import type { JobOptions, Sample } from './workloads/workload.ts'

export type LoadRequest =
  | { readonly kind: 'open'; readonly name: string; readonly options: JobOptions }
  | { readonly kind: 'warm'; readonly name: string; readonly units: number }
  | { readonly kind: 'run'; readonly name: string; readonly seconds: number }
  | { readonly kind: 'close'; readonly name: string }

export type LoadReply =
  | { readonly ok: true; readonly sample: Sample | undefined }
  | { readonly ok: false; readonly problem: string }

export interface LoadProcess {
  readonly pid: number
  open(name: string, options: JobOptions): Promise<void>
  warm(name: string, units: number): Promise<void>
  run(name: string, seconds: number): Promise<Sample>
  close(name: string): Promise<void>
  stop(): Promise<void>
}

export function startLoad(): LoadProcess {
  const { child, pid, stop } = start({
    core: 'load',
    command: process.execPath,
    args: [new URL('load.ts', import.meta.url).pathname],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const gone = once(child, 'exit').then((): never => {
    throw new Error('the load generator has ended')
  })
  gone.catch(() => undefined)

  const ask = async (request: LoadRequest): Promise<Sample | undefined> => {
    child.send(request)
    const [reply] = (await Promise.race([once(child, 'message'), gone])) as [LoadReply]
    if (!reply.ok) throw new Error(reply.problem)
    return reply.sample
  }
  return {
    pid,
    async open(name, options) {
      await ask({ kind: 'open', name, options })
    },
    async warm(name, units) {
      await ask({ kind: 'warm', name, units })
    },
    async run(name, seconds) {
      const sample = await ask({ kind: 'run', name, seconds })
      if (sample === undefined) throw new Error('a run brought no sample')
      return sample
    },
    async close(name) {
      await ask({ kind: 'close', name })
    },
    stop,
  }
}
