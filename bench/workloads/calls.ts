// Calls: each session sends its next tools/call once the last one is answered. The text of each is unique to session
// and call, and so is the id within the session; both are checked.
import { Connection } from '../http/connection.ts'
import { openSession } from '../client/open.ts'
import { resultIn } from '../client/session.ts'
import type { Session } from '../client/session.ts'
import { prose } from '../messages.ts'
import { measured, untilTime, untilUnits } from './window.ts'
import type { GoOn } from './window.ts'
import type { Job, JobOptions, Load, Progress, Sample } from './workload.ts'

type CallsLoad = Extract<Load, { kind: 'calls' }>

interface Caller {
  readonly session: Session
  readonly name: string
  calls: number
}

/** The JSON text without what it should hold once: parsing that too would cost more than the contestants do. */
function without(json: string, text: string): string {
  const at = json.indexOf(text.slice(0, 40))
  return json.startsWith(text, at) ? json.slice(0, at) + json.slice(at + text.length) : json
}

export function createCalls(load: CallsLoad, options: JobOptions, progress: Progress): Job {
  const { target, pids } = options
  const callers: Caller[] = []
  /** One for each worker, whose sessions share it. */
  const posts: Connection[] = []
  /** Which caller each worker takes next: the worker's own ones in turn. */
  const turns = Array.from({ length: load.parallel }, () => 0)
  const { bytes } = load
  const text = JSON.stringify(prose(bytes)).slice(1, -1)

  const call = async (caller: Caller): Promise<void> => {
    const id = ++caller.calls
    const key = `${caller.name}-${id}-`
    const wanted = load.tool === 'echo' ? { text: key.padEnd(load.bytes, 'x') } : { key, bytes }
    const params = JSON.stringify({ name: load.tool, arguments: wanted })
    const answer = await caller.session.request(id, 'tools/call', params)
    const [got, expected] =
      load.tool === 'echo' ? [answer, wanted.text] : [without(answer, text), `${key}  ${key}`]
    const { content } = resultIn(got, id) as { content?: { text?: unknown }[] }
    if (content?.[0]?.text !== expected) {
      throw new Error(`call ${id} got the wrong text: ${answer.slice(0, 200)}`)
    }
    progress()
  }

  const work = async (worker: number): Promise<number> => {
    const own = Math.floor((callers.length - worker - 1) / load.parallel) + 1
    const turn = turns[worker] ?? 0
    turns[worker] = (turn + 1) % own
    const caller = callers[worker + turn * load.parallel]
    if (caller === undefined) throw new Error('there are more workers than sessions')
    await call(caller)
    return 1
  }

  const run = async (goOn: GoOn): Promise<Sample> => {
    // Idle connections may have been closed since the last time, and opening them is not to be measured.
    for (const post of posts) await post.reopen()
    for (let worker = 0; worker < load.parallel; worker++) await work(worker)
    return measured({ pids, workers: load.parallel, goOn, work })
  }

  return {
    async open() {
      while (posts.length < load.parallel) posts.push(await Connection.open(target.port))
      for (let index = 0; index < load.sessions; index++) {
        const post = posts[index % posts.length]
        if (post === undefined) throw new Error('a load needs one call at a time at least')
        const session = await openSession(target, post)
        callers.push({ session, name: `s${index}`, calls: 0 })
        progress()
      }
    },
    async warm(units) {
      await run(untilUnits(units))
    },
    run: (seconds) => run(untilTime(seconds)),
    async close() {
      for (const { session } of callers) {
        await session.close()
        progress()
      }
      for (const post of posts) post.close()
    },
  }
}
