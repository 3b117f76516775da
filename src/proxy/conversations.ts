// Which conversation serves whom: one for each client session, a pooled one for requests without a session, a common one
// where the backend keeps one queue for all streams of a user (design, rule 11).
import { createHash } from 'node:crypto'
import { ProxyError } from '../errors.ts'
import type { Caller } from '../frontends/exchange.ts'
import { Table } from '../table.ts'
import type { Backends, Resolved } from './backends.ts'
import { Live } from './live.ts'
import type { LiveServices, MemberPort } from './live-options.ts'

export interface Conversations {
  /** The conversation for a new client session. */
  own(caller: Caller): Live | Promise<Live>
  /** The conversation for requests of callers without a session; they are its member `single`. */
  pooled(caller: Caller, single: string): Live | Promise<Live>
  /** Closes pooled conversations not used since `before`, in the clock's ms. */
  reap(before: number): void
  close(): void
}

/** `most`: pooled conversations that may be open at once; past it the longest idle one is closed. */
export function createConversations(
  services: LiveServices,
  backends: Backends,
  most: number,
): Conversations {
  const all = new Table<number, Live>(Number)
  let last = 0
  const pools = new Table<string, Live>(String)
  /** Conversations on a shared stream, by whose stream it is. */
  const shared = new Table<string, Live>(String)
  /** Who was told to POST where: the same place twice gives a shared stream away. */
  const endpoints = new Table<string, Live>(String)
  const places = new WeakMap<Live, string>()
  /** Routes whose backend has been found to share streams. */
  const sharing = new Set<string>()

  const forget = (live: Live, table: Table<string, Live>, key: string): void => {
    if (table.get(key) === live) table.delete(key)
  }

  const leavePlace = (live: Live): void => {
    forget(live, endpoints, places.get(live) ?? '')
    places.delete(live)
  }

  const alive = (table: Table<string, Live>, key: string): Live | undefined => {
    const live = table.get(key)?.current
    if (live === undefined || live.closed) {
      table.delete(key)
      return undefined
    }
    return live
  }

  const create = (resolved: Resolved, caller: Caller, key: string, isPool: boolean): Live => {
    const onEndpoint = (live: Live, url: string): void => {
      if (resolved.stream === 'own') return
      const place = `${key}\n${url}`
      const other = alive(endpoints, place)
      if (other === undefined) {
        leavePlace(live)
        places.set(live, place)
        endpoints.set(place, live)
      } else if (other !== live) {
        services.log.info(
          { route: caller.route },
          'the backend keeps one queue for all streams of a user; its sessions share a stream from now on',
        )
        sharing.add(caller.route)
        other.absorb(live)
        shared.set(key, other)
      }
    }
    const live = new Live(services, {
      target: resolved.target,
      traits: resolved.traits,
      dialect: resolved.dialect,
      pooled: isPool,
      headers: caller.headers,
      onEndpoint,
      onContradiction: () => backends.doubt(caller),
      onDisconnected: () => leavePlace(live.current),
      onClosed: () => {
        all.delete(number)
        forget(live, pools, key)
        forget(live, shared, key)
        leavePlace(live)
      },
    })
    const number = ++last
    all.set(number, live)
    return live
  }

  const find = (resolved: Resolved, caller: Caller): { live: Live | undefined; key: string } => {
    const key = streamKey(resolved, caller)
    return { key, live: alive(shared, key) }
  }

  const own = (resolved: Resolved, caller: Caller, isPool = false): Live => {
    const { live: existing, key } = find(resolved, caller)
    if (existing !== undefined) return existing
    const live = create(resolved, caller, key, isPool)
    if (resolved.stream === 'shared' || sharing.has(caller.route)) shared.set(key, live)
    return live
  }

  const pooled = (resolved: Resolved, caller: Caller, single: string): Live => {
    const { live: common, key } = find(resolved, caller)
    const existing = common ?? alive(pools, key)
    if (existing === undefined) makeRoom()
    const live = existing ?? own(resolved, caller, true)
    if (!live.has(single)) live.join(single, singlePort(caller), { single: true })
    pools.set(key, live)
    return live
  }

  /** Pools are opened by whoever sends another header: they must not be without number. */
  const makeRoom = (): void => {
    if (pools.size < most) return
    let longest: Live | undefined
    for (const { current } of pools.values()) {
      if (!current.idle || !current.onlySingles) continue
      if (longest === undefined || current.used < longest.used) longest = current
    }
    if (longest === undefined) {
      const text = `too many callers without a session: limits.sessions is ${most}`
      throw new ProxyError('LIMIT_REACHED', text, { retryAfter: 5 })
    }
    longest.close()
  }

  const resolve = (caller: Caller, use: (resolved: Resolved) => Live): Live | Promise<Live> => {
    const resolved = backends.resolve(caller)
    return resolved instanceof Promise ? resolved.then(use) : use(resolved)
  }

  return {
    own: (caller) => resolve(caller, (resolved) => own(resolved, caller)),
    pooled: (caller, single) => resolve(caller, (resolved) => pooled(resolved, caller, single)),
    reap(before) {
      for (const live of all.values()) {
        if (live.onlySingles && live.idle && live.used < before) live.close()
      }
    },
    close() {
      for (const live of all.values()) live.close()
    },
  }
}

/** Whose stream it is: the same URL asked with the same credentials. */
const streamKey = ({ target }: Resolved, caller: Caller): string =>
  createHash('sha256')
    .update(`${target.route}\n${target.url.href}\n${caller.principal}`)
    .digest('base64url')

/** Sessions on one backend stream have one home in a fleet: which they are is known by whose stream it is. */
export const homeOf = (resolved: Resolved | undefined, caller: Caller): string | undefined =>
  resolved === undefined || resolved.stream === 'own' ? undefined : streamKey(resolved, caller)

const singlePort = (caller: Caller): MemberPort => ({
  outlets: [],
  headers: caller.headers,
  negotiated() {},
  exchangeStarted() {},
  exchangeEnded() {},
})
