// Conversations for callers without a session: which of them can take a request, and which has to go.
import { ProxyError } from '../errors.ts'
import { Table } from '../table.ts'
import type { Live } from './live.ts'

export interface PoolLimits {
  /** Conversations that may be open at once; past it the longest idle one is closed. */
  readonly sessions: number
  /** Those of one principal: each of its requests that can be asked something has one to itself. */
  readonly sessionsPerPrincipal: number
}

interface Pooled {
  /** Those who can be asked the same are of one kind. */
  readonly kind: string
  readonly live: Live
}

/** `principal` below: whose conversations they are, with which backend. */
export class Pools {
  readonly #limits: PoolLimits
  readonly #all = new Table<string, Pooled[]>(String)
  #size = 0

  constructor(limits: PoolLimits) {
    this.#limits = limits
  }

  /** One that is open and can take a request; `alone`: one in which no other client can be asked anything. */
  find(principal: string, kind: string, alone: boolean): Live | undefined {
    const fits = (each: Pooled): boolean =>
      each.kind === kind && !each.live.current.closed && !(alone && each.live.current.asking)
    return this.#all.get(principal)?.find(fits)?.live.current
  }

  /** Makes room for one more. Throws LIMIT_REACHED where all are in use. */
  makeRoom(principal: string): void {
    const { sessions, sessionsPerPrincipal } = this.#limits
    const own = this.#all.get(principal) ?? []
    if (own.length >= sessionsPerPrincipal && !closeLongestIdle([own])) {
      throw tooMany('sessionsPerPrincipal', sessionsPerPrincipal)
    }
    if (this.#size >= sessions && !closeLongestIdle(this.#all.values())) {
      throw tooMany('sessions', sessions)
    }
  }

  /** Those that have been idle since `before`, in the clock's ms, beside another one of the same kind. */
  surplus(before: number): readonly Live[] {
    return [...this.#all.values()].flatMap((own) =>
      own
        .filter(({ kind, live }) => {
          const first = own.find((each) => each.kind === kind)
          return first?.live !== live && isIdle(live) && live.current.used < before
        })
        .map(({ live }) => live),
    )
  }

  add(principal: string, kind: string, live: Live): void {
    const own = this.#all.get(principal)
    if (own?.some((each) => each.live === live && each.kind === kind) === true) return
    this.#size++
    if (own === undefined) this.#all.set(principal, [{ kind, live }])
    else own.push({ kind, live })
  }

  remove(principal: string, live: Live): void {
    const own = this.#all.get(principal) ?? []
    const left = own.filter((each) => each.live !== live)
    this.#size -= own.length - left.length
    if (left.length > 0) this.#all.set(principal, left)
    else this.#all.delete(principal)
  }
}

const isIdle = ({ current }: Live): boolean => current.idle && current.onlySingles

function closeLongestIdle(all: Iterable<readonly Pooled[]>): boolean {
  let longest: Live | undefined
  for (const own of all) {
    for (const { live } of own) {
      if (!isIdle(live)) continue
      if (longest === undefined || live.current.used < longest.used) longest = live.current
    }
  }
  longest?.close()
  return longest !== undefined
}

const tooMany = (limit: string, most: number): ProxyError =>
  new ProxyError(
    'LIMIT_REACHED',
    `too many callers without a session: limits.${limit} is ${most}`,
    { retryAfter: 5 },
  )
