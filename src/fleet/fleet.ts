// Several replicas as one: whose a session is, what happens to a request that came in elsewhere, and who takes a session
// over when its replica has gone.
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Visit } from '../frontends/exchange.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { connectRedis, keyOf, storeAway } from '../sessions/redis.ts'
import type { RedisConfig, RedisConnection } from '../sessions/redis.ts'
import { createRedisStore } from '../sessions/redis-store.ts'
import type {
  Located,
  Restore,
  SessionRecord,
  SharedSessionStore,
  StoreLimits,
} from '../sessions/store.ts'
import { Table } from '../table.ts'
import type { Log } from '../telemetry/log.ts'
import { Forwarding, replicaLost } from './forwarding.ts'
import { Hosting } from './hosting.ts'
import type { Letter, ToClient, ToOwner } from './letters.ts'
import { createMailbox } from './mailbox.ts'
import { joinFleet } from './replica.ts'

/** What the fleet asks of the house: its sessions, and how requests are served here. */
export interface House {
  hosts(sessionId: string): boolean
  /** The replica that a request brings answers to, where that is another one. */
  parkedAt(visit: Visit): string | undefined
  /** The home that a visit of this caller must be served in, if any. Rejects where the backend had to be asked and failed. */
  home(visit: Visit, dialect: Dialect): Promise<string | undefined>
  /** The homes of what serves callers without a session here. */
  homes(): Iterable<string>
  /** Whether `caller` may use the session of `record`. */
  admits(record: SessionRecord, caller: Caller): boolean
  /** Whether all requests of a visit may be carried out twice. */
  mayRepeat(visit: Visit, restore: Restore | undefined): boolean
  adopt(record: SessionRecord, caller: Caller, restore: Restore | undefined): void
  leave(sessionId: string): void
  principalOf(headers: Caller['headers']): string
  serve(visit: Visit, dialect: Dialect): void
}

export interface Fleet {
  readonly store: SharedSessionStore
  /** Ours among the replicas. */
  readonly id: string
  /** Where counters are kept that all replicas have in common. */
  readonly counters: { readonly redis: RedisConnection; keyOf(id: string): string }
  /** Random bytes that all replicas have in common; undefined until the store has been reached. */
  readonly secret: Buffer | undefined
  /** The store has heard of us lately: whatever needs it will be served. */
  readonly reachable: boolean
  /** Begins to take letters; before that nothing is hosted. */
  open(house: House): void
  /**
   * Serves a visit where its session is. False: it is to be served here, because it is here, has just come here, or is
   * nowhere. Rejects with STORE_UNAVAILABLE, or with REPLICA_LOST where the other replica died over what may not be done
   * twice.
   */
  serveElsewhere(
    visit: Visit & { readonly response: ServerResponse },
    dialect: Dialect,
  ): Promise<boolean>
  /** Takes no more visits of others: they wait until `release`. */
  hold(): void
  /** Requests of ours that other replicas serve, and letters on their way. */
  readonly busy: boolean
  /** Gives all sessions of ours to whoever asks for them next. */
  release(): Promise<void>
  close(): Promise<void>
}

export interface FleetOptions {
  readonly config: RedisConfig
  readonly limits: StoreLimits
  readonly clock: Clock
  readonly log: Log
}

/** How often the homes of our sessions are kept ours. */
const homeInterval = 2000
/** Sessions change hands while they are looked for; after so many turns somebody is at fault. */
const mostTurns = 4
/** ms that letters to a replica that has given its sessions away may still come. */
const lastLetters = 300
/** ms between two lines about a store that is away. */
const logPause = 5000

export async function createFleet(options: FleetOptions): Promise<Fleet> {
  const { config, limits, clock, log } = options
  const { prefix } = config
  let house: House | undefined
  let told = -Infinity

  const onError = (error: unknown): void => {
    if (clock.now() - told < logPause) return
    told = clock.now()
    log.warn({ err: storeAway(error) }, 'session store away')
  }
  const redis = connectRedis(config)
  const reader = connectRedis(config, true)
  for (const connection of [redis, reader]) connection.on('error', onError)

  const replica = await joinFleet({
    redis,
    prefix,
    clock,
    onError,
    onBack: () => void store.recheck().catch(onError),
  })
  const store = createRedisStore(limits, {
    redis,
    prefix,
    replica: replica.id,
    clock,
    onLost: (id) => house?.leave(id),
    onError,
  })
  /** Sessions that are being taken over, and whether that succeeds. */
  const claims = new Table<string, Promise<boolean>>(String)

  /** Takes a session over, once for all who ask for it meanwhile. */
  const claim = (found: Located, caller: Caller): Promise<boolean> => {
    const { record, restore } = found
    const running = claims.get(record.id)
    if (running !== undefined) return running
    const claiming = store
      .claim(found)
      .then((won) => {
        if (!won) return false
        log.info({ route: record.route }, 'session taken over')
        house?.adopt(record, caller, restore)
        return true
      })
      .finally(() => void claims.delete(record.id))
    claims.set(record.id, claiming)
    return claiming
  }

  /** Whose a session is, when its replica has gone: ours, or that of the replica that has its home. */
  const inherit = async (found: Located, caller: Caller): Promise<string | undefined> => {
    const { record, owner } = found
    const heir = record.home === undefined ? replica.id : await homeAt(record.home, owner)
    if (heir !== replica.id) return heir
    return (await claim(found, caller)) ? heir : undefined
  }

  /** The replica of a home, which is ours if it was nobody's. */
  const homeAt = async (home: string, gone?: string): Promise<string> => {
    const at = await store.takeHome(home, gone)
    if (at === replica.id || (await lives(at))) return at
    return store.takeHome(home, at)
  }

  /** Another replica takes a session for ours: so it may be, because its own has gone and we have its home. */
  const acquire = async (id: string, caller: Caller): Promise<boolean> => {
    await claims.get(id)
    if (house?.hosts(id) ?? false) return true
    const found = await store.locate(id)
    if (found === undefined || (found.owner !== '' && (await lives(found.owner)))) return false
    return (await inherit(found, caller)) === replica.id
  }

  const stopKeeping = clock.every(homeInterval, () => {
    const homes = new Set([...store.homes(), ...(house?.homes() ?? [])])
    for (const home of homes) store.takeHome(home).catch(onError)
  })

  const send = (to: string, letter: Letter, body?: string | Uint8Array): Promise<void> =>
    mailbox.send(to, letter, body)
  const lives = (id: string): Promise<boolean> => replica.lives(id)
  const forwarding = new Forwarding({ clock, send, lives })
  const hosting = new Hosting({
    clock,
    send,
    lives,
    hosts: (id, caller) => id === '' || (house?.hosts(id) ?? false) || acquire(id, caller),
    principalOf: (headers) => house?.principalOf(headers) ?? '',
    serve: (visit, dialect) => house?.serve(visit, dialect),
  })
  const mailbox = createMailbox({
    redis,
    reader,
    prefix,
    replica: replica.id,
    clock,
    onError,
    onLetter(from, letter, body) {
      if (isAnswer(letter)) forwarding.receive(letter, body)
      else hosting.receive(from, letter, body)
    },
  })

  /** A session opens where its home is, and a request without a session is served there. */
  const openElsewhere = async (
    visit: Visit & { readonly response: ServerResponse },
    dialect: Dialect,
  ): Promise<boolean> => {
    const opens = dialect !== 'streamable' || visit.body !== undefined
    const home = opens ? await house?.home(visit, dialect) : undefined
    if (home === undefined) return false
    for (let turn = 0; turn < mostTurns; turn++) {
      const at = await homeAt(home)
      if (at === replica.id) return false
      const how = await forwarding.forward(at, visit, dialect)
      if (how === 'answered') return true
      if (how === 'lost' && house?.mayRepeat(visit, undefined) === false) throw replicaLost()
    }
    return false
  }

  /** A request that brings answers goes to where they are waited for. */
  const resumeElsewhere = async (
    visit: Visit & { readonly response: ServerResponse },
    dialect: Dialect,
    at: string,
  ): Promise<boolean> => {
    const how = (await lives(at)) ? await forwarding.forward(at, visit, dialect) : 'moved'
    if (how === 'answered') return true
    throw how === 'lost' ? replicaLost() : waitsNoMore()
  }

  return {
    store,
    id: replica.id,
    counters: { redis, keyOf: (id) => keyOf(prefix, 'limit', id) },
    get secret() {
      return replica.secret
    },
    get reachable() {
      return replica.heard
    },
    open(given) {
      house = given
    },
    async serveElsewhere(visit, dialect) {
      const { sessionId, caller } = visit
      if (house === undefined) return false
      const parkedAt = dialect === 'stateless' ? house.parkedAt(visit) : undefined
      if (parkedAt !== undefined) return resumeElsewhere(visit, dialect, parkedAt)
      if (sessionId === undefined) return openElsewhere(visit, dialect)
      if (house.hosts(sessionId)) return false
      let lost = false
      for (let turn = 0; turn < mostTurns; turn++) {
        const found = await store.locate(sessionId)
        if (found === undefined && replica.justBack) throw justBack()
        if (found === undefined || !house.admits(found.record, caller)) return false
        const { owner, restore } = found
        if (lost && !house.mayRepeat(visit, restore)) throw replicaLost()
        await claims.get(sessionId)
        if (owner === replica.id || house.hosts(sessionId)) return false
        const alive = owner !== '' && (await lives(owner))
        const at = alive ? owner : await inherit(found, caller)
        if (at === replica.id) return false
        if (at === undefined) continue
        if (isPassing(visit)) throw movedMeanwhile()
        const how = await forwarding.forward(at, visit, dialect)
        if (how === 'answered') return true
        lost ||= how === 'lost'
      }
      return false
    },
    get busy() {
      return forwarding.size > 0 || mailbox.sending > 0
    },
    hold: () => hosting.hold(),
    async release() {
      await store.giveAway()
      hosting.release()
      // Who had found us before that has a letter on its way.
      await new Promise<void>((resolve) => clock.after(lastLetters, resolve))
    },
    async close() {
      stopKeeping()
      forwarding.close()
      hosting.close()
      await replica.leave()
      await store.close()
      await mailbox.close()
      redis.disconnect()
    },
  }
}

/** Its replica has gone, and what waited there with it. */
const waitsNoMore = (): ProxyError =>
  new ProxyError('PARAMS_INVALID', 'requestState: no request waits for these answers any more')

/** The server may have come back without its data: who is not found may only not have been written down again. */
const justBack = (): ProxyError =>
  new ProxyError('STORE_UNAVAILABLE', 'the session store has just come back', { retryAfter: 2 })

/** Its body is on its way to a backend from here, and has not been kept. */
const isPassing = ({ body }: Visit): boolean =>
  body?.messages.some((message) => message.kind === 'request' && message.bytes !== undefined) ??
  false

const movedMeanwhile = (): ProxyError =>
  new ProxyError('STORE_UNAVAILABLE', 'the session has moved while a large request came in', {
    retryAfter: 1,
  })

const isAnswer = (letter: ToOwner | ToClient): letter is ToClient =>
  letter.type === 'head' ||
  letter.type === 'data' ||
  letter.type === 'cut' ||
  letter.type === 'moved'
