// The load generator, a process of its own: does what the orchestrator asks for over IPC, one thing at a time.
import type { LoadRequest, LoadReply } from './load-process.ts'
import { createCalls } from './workloads/calls.ts'
import { createFirehose } from './workloads/firehose.ts'
import { createIdle } from './workloads/idle.ts'
import { createSessions } from './workloads/sessions.ts'
import type { Job, JobOptions, Progress, Sample } from './workloads/workload.ts'

/** ms without anything received after which a contestant is held to have lost an answer, and how often to look. */
const patience = 2500
const interval = 250

const jobs = new Map<string, Job>()
let received = 0
const progress: Progress = () => {
  received++
}

function create(options: JobOptions): Job {
  const { load } = options
  switch (load.kind) {
    case 'calls':
      return createCalls(load, options, progress)
    case 'firehose':
      return createFirehose(load, options, progress)
    case 'idle':
      return createIdle(load, options, progress)
    case 'sessions':
      return createSessions(load, options, progress)
  }
}

/** Rejects once nothing has been received for a while. */
function watched<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const starved = new Promise<never>((_resolve, reject) => {
    let seen = received
    let starving = 0
    timer = setInterval(() => {
      starving = seen === received ? starving + interval : 0
      seen = received
      if (starving >= patience) reject(new Error(`nothing came for ${patience / 1000} s`))
    }, interval)
  })
  return Promise.race([work, starved]).finally(() => clearInterval(timer))
}

async function perform(request: LoadRequest): Promise<Sample | undefined> {
  const { name } = request
  if (request.kind === 'open') {
    const job = create(request.options)
    jobs.set(name, job)
    await watched(job.open())
    return undefined
  }
  const job = jobs.get(name)
  if (job === undefined) throw new Error(`there is no job "${name}"`)
  switch (request.kind) {
    case 'warm':
      await watched(job.warm(request.units))
      return undefined
    case 'run':
      return await watched(job.run(request.seconds))
    case 'close':
      jobs.delete(name)
      await watched(job.close())
      return undefined
  }
}

process.on('message', (request: LoadRequest) => {
  const reply = (answer: LoadReply): void => void process.send?.(answer)
  perform(request).then(
    (sample) => reply({ ok: true, sample }),
    (reason: unknown) =>
      reply({ ok: false, problem: reason instanceof Error ? reason.message : String(reason) }),
  )
})
// What is left over of a contestant that has failed may go on failing; it has been reported already.
process.on('unhandledRejection', () => undefined)
