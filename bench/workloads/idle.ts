// Idle streams: how much memory each one takes. They are counted as alive only once a notification that the backend
// then sends on every stream has come through all of them.
import { setTimeout as pause } from 'node:timers/promises'
import { Connection } from '../http/connection.ts'
import { openSession } from '../client/open.ts'
import type { Session } from '../client/session.ts'
import { rssOf } from '../measure.ts'
import { waitFor } from '../wait-for.ts'
import { broadcast, openStreams } from './control.ts'
import type { Job, JobOptions, Load, Progress, Sample } from './workload.ts'

type IdleLoad = Extract<Load, { kind: 'idle' }>

/** Sessions that are opened at a time. */
const parallel = 16

export function createIdle(load: IdleLoad, options: JobOptions, progress: Progress): Job {
  const { target, pids, backendPort } = options

  /** Opens so many sessions with a standing stream each, and calls `heard` for what comes on them. */
  const openMany = async (count: number, heard: () => void): Promise<Session[]> => {
    const sessions: Session[] = []
    let begun = 0
    const opener = async (): Promise<void> => {
      const post = await Connection.open(target.port)
      while (begun++ < count) {
        const session = await openSession(target, post)
        await session.listen(() => {
          heard()
          return true
        })
        sessions.push(session)
        progress()
      }
    }
    await Promise.all(Array.from({ length: parallel }, opener))
    return sessions
  }

  /** Waits as long as anybody would, and not only as long as the watchdog does. */
  const patiently = (condition: () => boolean | Promise<boolean>, what: string): Promise<void> =>
    waitFor(
      () => {
        progress()
        return condition()
      },
      what,
      15_000,
    )

  const closeAll = async (sessions: readonly Session[]): Promise<void> => {
    for (const session of sessions) {
      await session.close()
      progress()
    }
    for (const { post } of sessions) post.close()
    await patiently(
      async () => (await openStreams(backendPort)) === 0,
      'the streams of closed sessions to be closed at the backend too',
    )
  }

  const run = async (): Promise<Sample> => {
    const { streams } = load
    const begun = performance.now()
    const before = await settledRss(pids, progress)
    let heard = 0
    const sessions = await openMany(streams, () => heard++)
    await patiently(
      async () => (await openStreams(backendPort)) >= streams,
      'every stream to be open at the backend',
    )
    const rss = ((await settledRss(pids, progress)) - before) / streams
    await broadcast(backendPort)
    await patiently(() => heard >= streams, `${streams} streams to be alive`).catch(() => {
      throw new Error(`${heard} of ${streams} streams were alive`)
    })
    if (heard > streams) throw new Error(`${heard} notifications came on ${streams} streams`)
    await closeAll(sessions)
    return { units: streams, seconds: (performance.now() - begun) / 1000, cpu: 0, rss }
  }

  return {
    open: () => Promise.resolve(),
    async warm(units) {
      await closeAll(await openMany(units, () => undefined))
    },
    run,
    close: () => Promise.resolve(),
  }
}

/** The resident bytes once they have stood still for three quarters of a second, or after 5 s. */
async function settledRss(pids: readonly number[], progress: Progress): Promise<number> {
  const interval = 250
  let last = rssOf(pids)
  for (let waited = 0, still = 0; waited < 5000 && still < 750; waited += interval) {
    await pause(interval)
    progress()
    const now = rssOf(pids)
    still = Math.abs(now - last) <= last / 200 ? still + interval : 0
    last = now
  }
  return last
}
