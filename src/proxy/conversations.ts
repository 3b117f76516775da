// Which conversation serves whom: one for each client session, a pooled one for requests without a session, a common one
// where the backend keeps one queue for all streams of a user (design, rule 11).
import { createHash, hash } from 'node:crypto'
import { asksAnything } from '../bridge/capabilities.ts'
import { faultInAnswers, mayBeAsked } from '../bridge/parking.ts'
import { ProxyError } from '../errors.ts'
import type { Caller } from '../frontends/exchange.ts'
import type { Message, Request } from '../protocol/jsonrpc.ts'
import { declaredIn, paramsOf } from '../protocol/metadata.ts'
import type { Declared } from '../protocol/metadata.ts'
import { Table } from '../table.ts'
import type { Backends, Resolved } from './backends.ts'
import { Live } from './live.ts'
import type { LiveServices, MemberPort } from './live-options.ts'
import type { Park } from './parks.ts'
import { Pools } from './pools.ts'
import type { PoolLimits } from './pools.ts'

/** Where one request without a session is served. */
export interface Seat {
  readonly live: Live
  readonly member: string
  /** It brings answers for this one, which waits for them. */
  readonly park?: Park
}

export interface Conversations {
  /** The conversation for a new client session. */
  own(caller: Caller): Live | Promise<Live>
  /** Where a request or notification without a session is served. Throws or rejects with what stands in the way. */
  pooled(caller: Caller, message: Message): Seat | Promise<Seat>
  /** Ends what only lasts until we leave. */
  farewell(): void
  /** The homes of pooled conversations: see `homeOf`. */
  homes(): ReadonlySet<string>
  /** Closes pooled conversations not used since `before`, and those not needed since `surplus`, in the clock's ms. */
  reap(before: number, surplus: number): void
  close(): void
}

export function createConversations(
  services: LiveServices,
  backends: Backends,
  limits: PoolLimits,
): Conversations {
  const all = new Table<number, Live>(Number)
  let last = 0
  const pools = new Pools(limits)
  const homes = new Map<Live, string>()
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

  const create = (resolved: Resolved, caller: Caller, key: string, kind?: Kind): Live => {
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
      pooled: kind !== undefined,
      asked: kind?.asked ?? false,
      repeating: kind && pools.repeating(key),
      headers: caller.headers,
      onEndpoint,
      onContradiction: () => backends.doubt(caller),
      onDisconnected: () => leavePlace(live.current),
      onClosed: () => {
        all.delete(number)
        homes.delete(live)
        if (kind !== undefined) pools.remove(key, live)
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

  const own = (resolved: Resolved, caller: Caller, kind?: Kind): Live => {
    const { live: existing, key } = find(resolved, caller)
    if (existing !== undefined) return existing
    const live = create(resolved, caller, key, kind)
    if (resolved.stream === 'shared' || sharing.has(caller.route)) shared.set(key, live)
    return live
  }

  const pooled = (resolved: Resolved, caller: Caller, message: Message): Seat => {
    const { traits } = resolved
    const declared = declaredIn(message)
    if (!traits.modern && declared !== undefined && message.kind === 'request') {
      const state = paramsOf(message)['requestState']
      if (state !== undefined) return parked(caller, message)
    }
    const kind = kindOf(traits.handshake ? declared : undefined)
    const { live: common, key } = find(resolved, caller)
    const alone = isAlone(kind, declared, message)
    let live = common ?? pools.find(key, kind.member, alone)
    if (live === undefined) {
      pools.makeRoom(key)
      live = own(resolved, caller, kind)
    }
    if (!live.has(kind.member)) {
      live.join(kind.member, singlePort(caller), { single: true, declared: kind.declared })
    }
    if (common === undefined) pools.add(key, kind.member, live)
    if (resolved.stream !== 'own' && !homes.has(live)) homes.set(live, key)
    // Others may look for one before this request begins.
    if (alone) live.reserve()
    return { live, member: kind.member }
  }

  const parked = (caller: Caller, message: Request): Seat => {
    const fault = faultInAnswers(message)
    if (fault !== undefined) throw new ProxyError('PARAMS_INVALID', fault)
    const park = services.parks.take(caller, message)
    return { live: park.live.current, member: park.member, park }
  }

  const resolve = <T>(
    caller: Caller,
    modern: boolean,
    use: (resolved: Resolved) => T,
  ): T | Promise<T> => {
    const resolved = backends.resolve(caller, modern)
    return resolved instanceof Promise ? resolved.then(use) : use(resolved)
  }

  return {
    own: (caller) => resolve(caller, false, (resolved) => own(resolved, caller)),
    pooled: (caller, message) =>
      resolve(caller, declaredIn(message) !== undefined, (resolved) =>
        pooled(resolved, caller, message),
      ),
    homes: () => new Set(homes.values()),
    farewell() {
      for (const live of all.values()) live.farewell()
    },
    reap(before, surplus) {
      for (const live of pools.surplus(surplus)) live.current.close()
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

/** Callers without a session that can share a conversation: those who can be asked the same. */
interface Kind {
  /** The member of a conversation that stands for them. */
  readonly member: string
  readonly declared: Declared | undefined
  /** They can be asked something. */
  readonly asked: boolean
}

const plain: Kind = { member: 'single', declared: undefined, asked: false }

function kindOf(declared: Declared | undefined): Kind {
  if (declared === undefined || Object.keys(declared.capabilities).length === 0) return plain
  const digest = hash('sha256', declared.capabilitiesText, 'base64url')
  return {
    member: `single ${digest}`,
    declared,
    asked: asksAnything(declared.capabilities),
  }
}

/** What comes while the request runs would not be known to be for it, were there another one. */
const isAlone = ({ asked }: Kind, declared: Declared | undefined, message: Message): boolean =>
  message.kind === 'request' &&
  ((asked && mayBeAsked(message.method)) || declared?.logLevel !== undefined)

const singlePort = (caller: Caller): MemberPort => ({
  outlets: [],
  headers: caller.headers,
  negotiated() {},
  exchangeStarted() {},
  exchangeEnded() {},
})
