// Conversations for callers without a session: which of them can take a request, and which has to go.
import { ProxyError } from '../errors.ts'
import { Table } from '../table.ts'
import type { Live } from './live.ts'

export interface PoolLimits {
  /** Conversations that may be open at once; past it the longest idle one is closed. */
  readonly sessions: number
  /** Those of one kind for one principal: each of its requests that can be asked something has one to itself. */
  readonly sessionsPerPrincipal: number
}

export class Pools {
  readonly #limits: PoolLimits
  readonly #all = new Table<string, Live[]>(String)
  #size = 0

  constructor(limits: PoolLimits) {
    this.#limits = limits
  }

  /** One that is open and can take a request; `alone`: one in which no other client can be asked anything. */
  find(key: string, alone: boolean): Live | undefined {
    const open = (this.#all.get(key) ?? []).filter(({ current }) => !current.closed)
    return open.find(({ current }) => !alone || !current.asking)?.current
  }

  /** Makes room for one more. Throws LIMIT_REACHED where all are in use. */
  makeRoom(key: string): void {
    const { sessions, sessionsPerPrincipal } = this.#limits
    const own = this.#all.get(key) ?? []
    if (own.length >= sessionsPerPrincipal) throw tooMany('sessionsPerPrincipal', own.length)
    if (this.#size < sessions) return
    let longest: Live | undefined
    for (const lives of this.#all.values()) {
      for (const { current } of lives) {
        if (!current.idle || !current.onlySingles) continue
        if (longest === undefined || current.used < longest.used) longest = current
      }
    }
    if (longest === undefined) throw tooMany('sessions', sessions)
    longest.close()
  }

  /** Those that have been idle since `before`, in the clock's ms, beside another one of the same kind. */
  surplus(before: number): readonly Live[] {
    return [...this.#all.values()].flatMap((own) => {
      const idle = own.filter(({ current }) => current.idle && current.onlySingles)
      // The first one is taken first, so it is kept for the next request.
      const spare = idle.length < own.length ? idle : idle.slice(1)
      return spare.filter(({ current }) => current.used < before)
    })
  }

  add(key: string, live: Live): void {
    const own = this.#all.get(key)
    if (own?.includes(live) === true) return
    this.#size++
    if (own === undefined) this.#all.set(key, [live])
    else own.push(live)
  }

  remove(key: string, live: Live): void {
    const own = this.#all.get(key) ?? []
    const index = own.indexOf(live)
    if (index === -1) return
    this.#size--
    own.splice(index, 1)
    if (own.length === 0) this.#all.delete(key)
  }
}

const tooMany = (limit: string, most: number): ProxyError =>
  new ProxyError(
    'LIMIT_REACHED',
    `too many callers without a session: limits.${limit} is ${most}`,
    { retryAfter: 5 },
  )
