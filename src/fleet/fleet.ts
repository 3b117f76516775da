// Several replicas as one: whose a session is, what happens to a request that came in elsewhere, and who takes a session
// over when its replica has gone.
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Visit } from '../frontends/exchange.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { connectRedis, storeAway } from '../sessions/redis.ts'
import type { RedisConfig } from '../sessions/redis.ts'
import { createRedisStore } from '../sessions/redis-store.ts'
import type { Restore, SessionRecord, SharedSessionStore, StoreLimits } from '../sessions/store.ts'
import type { Log } from '../telemetry/log.ts'
import { Forwarding, replicaLost } from './forwarding.ts'
import { Hosting } from './hosting.ts'
import type { Letter, ToClient, ToOwner } from './letters.ts'
import { createMailbox } from './mailbox.ts'
import { joinFleet } from './replica.ts'

/** What the fleet asks of the house: its sessions, and how requests are served here. */
export interface House {
  hosts(sessionId: string): boolean
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

/** Sessions change hands while they are looked for; after so many turns somebody is at fault. */
const mostTurns = 4
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
  const send = (to: string, letter: Letter, body?: string | Uint8Array): Promise<void> =>
    mailbox.send(to, letter, body)
  const lives = (id: string): Promise<boolean> => replica.lives(id)
  const forwarding = new Forwarding({ clock, send, lives })
  const hosting = new Hosting({
    clock,
    send,
    lives,
    hosts: (id) => house?.hosts(id) ?? false,
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

  return {
    store,
    get reachable() {
      return replica.heard
    },
    open(given) {
      house = given
    },
    async serveElsewhere(visit, dialect) {
      const { sessionId, caller } = visit
      if (house === undefined || sessionId === undefined || house.hosts(sessionId)) return false
      let lost = false
      for (let turn = 0; turn < mostTurns; turn++) {
        const found = await store.locate(sessionId)
        if (found === undefined && replica.justBack) throw justBack()
        if (found === undefined || !house.admits(found.record, caller)) return false
        const { record, owner, restore } = found
        if (lost && !house.mayRepeat(visit, restore)) throw replicaLost()
        if (owner === replica.id || house.hosts(sessionId)) return false
        if (owner !== '' && (await lives(owner))) {
          const how = await forwarding.forward(owner, visit, dialect)
          if (how === 'answered') return true
          lost ||= how === 'lost'
          continue
        }
        if (!(await store.claim(found))) continue
        log.info({ route: record.route }, 'session taken over')
        house.adopt(record, caller, restore)
        return false
      }
      return false
    },
    hold: () => hosting.hold(),
    async release() {
      await store.giveAway()
      hosting.release()
    },
    async close() {
      forwarding.close()
      hosting.close()
      await replica.leave()
      await store.close()
      mailbox.close()
      redis.disconnect()
    },
  }
}

/** The server may have come back without its data: who is not found may only not have been written down again. */
const justBack = (): ProxyError =>
  new ProxyError('STORE_UNAVAILABLE', 'the session store has just come back', { retryAfter: 2 })

const isAnswer = (letter: ToOwner | ToClient): letter is ToClient =>
  letter.type === 'head' ||
  letter.type === 'data' ||
  letter.type === 'cut' ||
  letter.type === 'moved'
