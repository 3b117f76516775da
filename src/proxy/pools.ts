// Conversations for callers without a session: which of them can take a request, and which has to go.
import type { Conversation } from '../bridge/conversation.ts'
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

/** What is open for one principal, and what its conversations know in common. */
interface Owned {
  lives: Pooled[]
  readonly repeating: Conversation['repeating']
}

/** `principal` below: whose conversations they are, with which backend. */
export class Pools {
  readonly #limits: PoolLimits
  readonly #all = new Table<string, Owned>(String)
  #size = 0

  constructor(limits: PoolLimits) {
    this.#limits = limits
  }

  /** One that is open and can take a request; `alone`: one in which no other client can be asked anything. */
  find(principal: string, kind: string, alone: boolean): Live | undefined {
    const fits = (each: Pooled): boolean =>
      each.kind === kind && !each.live.current.closed && !(alone && each.live.current.asking)
    return this.#all.get(principal)?.lives.find(fits)?.live.current
  }

  /** The tools of which a principal's calls repeat arguments in headers, for all its conversations. */
  repeating(principal: string): Conversation['repeating'] {
    return this.#of(principal).repeating
  }

  /** Makes room for one more. Throws LIMIT_REACHED where all are in use. */
  makeRoom(principal: string): void {
    const { sessions, sessionsPerPrincipal } = this.#limits
    const own = this.#all.get(principal)?.lives ?? []
    if (own.length >= sessionsPerPrincipal && !closeLongestIdle([own])) {
      throw tooMany('sessionsPerPrincipal', sessionsPerPrincipal)
    }
    if (
      this.#size >= sessions &&
      !closeLongestIdle([...this.#all.values()].map(({ lives }) => lives))
    ) {
      throw tooMany('sessions', sessions)
    }
  }

  /** Those that have been idle since `before`, in the clock's ms, beside another one of the same kind. */
  surplus(before: number): readonly Live[] {
    return [...this.#all.values()].flatMap(({ lives: own }) =>
      own
        .filter(({ kind, live }) => {
          const first = own.find((each) => each.kind === kind)
          return first?.live !== live && isIdle(live) && live.current.used < before
        })
        .map(({ live }) => live),
    )
  }

  add(principal: string, kind: string, live: Live): void {
    const { lives } = this.#of(principal)
    if (lives.some((each) => each.live === live && each.kind === kind)) return
    this.#size++
    lives.push({ kind, live })
  }

  remove(principal: string, live: Live): void {
    const owned = this.#all.get(principal)
    if (owned === undefined) return
    const left = owned.lives.filter((each) => each.live !== live)
    this.#size -= owned.lives.length - left.length
    owned.lives = left
    if (left.length === 0) this.#all.delete(principal)
  }

  #of(principal: string): Owned {
    let owned = this.#all.get(principal)
    if (owned === undefined) this.#all.set(principal, (owned = { lives: [], repeating: new Map() }))
    return owned
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
