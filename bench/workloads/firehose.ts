// The firehose: calls that are answered with many events before their result. Every event has to come, in order, with
// its number and the key of its call.
import { Connection } from '../http/connection.ts'
import { openSession } from '../client/open.ts'
import { resultIn } from '../client/session.ts'
import type { Session } from '../client/session.ts'
import { eventAround, firstNumber } from '../messages.ts'
import type { FirehoseArguments } from '../messages.ts'
import { measured, untilTime, untilUnits } from './window.ts'
import type { GoOn } from './window.ts'
import type { Job, JobOptions, Load, Progress, Sample } from './workload.ts'

type FirehoseLoad = Extract<Load, { kind: 'firehose' }>

/** Checks one event after the other; a proxy may have written the JSON anew, with its members in another order. */
class Expected {
  seen = 0
  private readonly wanted: FirehoseArguments
  private readonly token: number
  private readonly before: string
  private readonly after: string
  private readonly length: number

  constructor(wanted: FirehoseArguments, token: number) {
    this.wanted = wanted
    this.token = token
    const { before, after } = eventAround(wanted, token)
    this.before = before
    this.after = after
    this.length = before.length + String(firstNumber).length + after.length
  }

  take(data: string): boolean {
    const asSent =
      data.length === this.length &&
      data.startsWith(this.before) &&
      data.endsWith(this.after) &&
      Number(data.slice(this.before.length, -this.after.length)) === firstNumber + this.seen
    if (!asSent && !this.same(data)) return false
    this.seen++
    return true
  }

  private same(data: string): boolean {
    const expected = JSON.parse(this.before + (firstNumber + this.seen) + this.after) as Event
    const { method, params } = JSON.parse(data) as Event
    if (method !== expected.method || params === undefined) return false
    if (this.wanted.kind === 'progress' && params['progressToken'] !== this.token) return false
    return Object.entries(expected.params ?? {}).every(([name, value]) => params[name] === value)
  }
}

interface Event {
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
}

export function createFirehose(load: FirehoseLoad, options: JobOptions, progress: Progress): Job {
  const { target, pids } = options
  const sessions: Session[] = []
  let calls = 0

  const call = async (index: number, events: number): Promise<number> => {
    const session = sessions[index]
    if (session === undefined) throw new Error(`there is no session ${index}`)
    const id = ++calls
    const { event: kind, bytes, malformed } = load
    const wanted = { key: `s${index}-${id}`, events, bytes, kind, malformed }
    const expected = new Expected(wanted, id)
    const params = JSON.stringify({
      name: 'firehose',
      arguments: wanted,
      _meta: { progressToken: id },
    })
    const answer = await session.request(id, 'tools/call', params, (data) => {
      if (!expected.take(data)) return false
      if (expected.seen % 64 === 0) progress()
      return true
    })
    const { content } = resultIn(answer, id) as { content?: { text?: unknown }[] }
    if (content?.[0]?.text !== `${wanted.key} ${events}`) throw new Error('the result is wrong')
    if (expected.seen !== events) throw new Error(`${expected.seen} of ${events} events came`)
    progress()
    return events
  }

  const run = async (goOn: GoOn): Promise<Sample> => {
    for (const [index, session] of sessions.entries()) {
      await session.post.reopen()
      await call(index, 1)
    }
    const { units, seconds, cpu } = await measured({
      pids,
      workers: sessions.length,
      goOn,
      work: (worker) => call(worker, load.events),
    })
    return { units, seconds, cpu }
  }

  return {
    async open() {
      for (let index = 0; index < load.sessions; index++) {
        sessions.push(await openSession(target, await Connection.open(target.port)))
        progress()
      }
    },
    async warm(units) {
      await run(untilUnits(units))
    },
    run: (seconds) => run(untilTime(seconds)),
    async close() {
      for (const session of sessions) {
        await session.close()
        session.post.close()
      }
    },
  }
}
