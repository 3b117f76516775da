// Set-up: sessions that are opened, up to `notifications/initialized`, and closed again. Once all is over, no stream may
// be left open at the backend.
import { Connection } from '../http/connection.ts'
import { openSession } from '../client/open.ts'
import { waitFor } from '../wait-for.ts'
import { openStreams } from './control.ts'
import { measured, untilTime, untilUnits } from './window.ts'
import type { GoOn } from './window.ts'
import type { Job, JobOptions, Load, Progress, Sample } from './workload.ts'

type SessionsLoad = Extract<Load, { kind: 'sessions' }>

export function createSessions(load: SessionsLoad, options: JobOptions, progress: Progress): Job {
  const { target, pids, backendPort } = options

  const run = async (goOn: GoOn): Promise<Sample> => {
    const posts: Connection[] = []
    for (let worker = 0; worker < load.parallel; worker++) {
      posts.push(await Connection.open(target.port))
    }
    const before = await openStreams(backendPort)
    const sample = await measured({
      pids,
      workers: load.parallel,
      goOn,
      async work(worker) {
        const post = posts[worker]
        if (post === undefined) throw new Error('there are more workers than connections')
        const session = await openSession(target, post)
        await session.close()
        progress()
        return 1
      },
      async settle() {
        await waitFor(async () => {
          progress()
          return (await openStreams(backendPort)) <= before
        }, 'the streams of closed sessions to be closed at the backend too')
      },
    })
    for (const post of posts) post.close()
    return sample
  }

  return {
    open: () => Promise.resolve(),
    async warm(units) {
      await run(untilUnits(units))
    },
    run: (seconds) => run(untilTime(seconds)),
    close: () => Promise.resolve(),
  }
}
