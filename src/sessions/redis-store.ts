// The Redis home of sessions: records that every replica can read, and logs from which any of them can go on. What a
// replica owns it also keeps in memory, so that serving a session costs no round trip: Redis is asked when a session
// opens or closes and when one is not known here, and told of all else behind the scenes.
import type { Clock } from '../clock.ts'
import { Table } from '../table.ts'
import { idlest, noRoom } from './caps.ts'
import { keyOf, storeAway } from './redis.ts'
import type { RedisConnection } from './redis.ts'
import { runScript } from './redis-scripts.ts'
import type {
  Located,
  Restore,
  SessionRecord,
  SharedSessionStore,
  StoredEvent,
  StoreLimits,
} from './store.ts'

export interface RedisStoreOptions {
  readonly redis: RedisConnection
  readonly prefix: string
  /** Unique to this process. */
  readonly replica: string
  readonly clock: Clock
  /** A session of ours has been ended or taken over elsewhere. */
  onLost(id: string): void
  onError(error: unknown): void
}

interface Entry {
  readonly record: SessionRecord
  /** ms, and which use of all. */
  used: number
  turn: number
  holds: number
  /** Sizes of the events in the log, oldest first. */
  sizes: number[]
  size: number
  restore: Restore | undefined
  /** Events that have not been sent yet. */
  unsent: StoredEvent[]
}

/** How often Redis hears which sessions are in use. A key outlives its session's idle time by a few of these. */
const refreshInterval = 5000
const margin = 60_000
/** ms that a home stays its owner's without a word. */
const homeLifetime = 10_000
/** The owner of a session that another replica has ended, and how long it may take its replica to see that, in ms. */
const ended = '!'
const endedLifetime = 60_000

export function createRedisStore(
  limits: StoreLimits,
  options: RedisStoreOptions,
): SharedSessionStore {
  const { redis, prefix, replica, clock, onError } = options
  const entries = new Table<string, Entry>(String)
  const dirty = new Set<string>()
  let turns = 0
  const lifetime = limits.idleTime + margin
  const sessionKey = (id: string): string => keyOf(prefix, 'session', id)
  const eventsKey = (id: string): string => keyOf(prefix, 'events', id)
  const principalKey = (principal: string): string => keyOf(prefix, 'principal', principal)

  const behind = (work: Promise<unknown>): void => void work.catch(onError)

  const use = (id: string, entry: Entry): void => {
    entry.used = clock.now()
    entry.turn = ++turns
    dirty.add(id)
  }

  const enter = (record: SessionRecord, sizes: number[] = [], restore?: Restore): Entry => {
    const size = sizes.reduce((sum, each) => sum + each, 0)
    const entry = { record, used: 0, turn: 0, holds: 0, sizes, size, restore, unsent: [] }
    entries.set(record.id, entry)
    use(record.id, entry)
    return entry
  }

  /** Tells Redis which sessions have been used, in one go, and finds out which are no longer ours. */
  const refresh = async (ids: Iterable<string>): Promise<void> => {
    const asked: Promise<void>[] = []
    for (const id of ids) {
      dirty.delete(id)
      const entry = entries.get(id)
      if (entry !== undefined) asked.push(refreshOne(id, entry))
    }
    await Promise.all(asked)
  }

  const refreshOne = async (id: string, entry: Entry): Promise<void> => {
    const { principal } = entry.record
    const idle = clock.now() - entry.used
    const used = entry.holds > 0 ? '+inf' : score(idle, entry.turn)
    const [ours] = await Promise.all([
      runScript(redis, 'refresh', [sessionKey(id), eventsKey(id)], [replica, lifetime]),
      redis.zadd(principalKey(principal), used, id),
      redis.pexpire(principalKey(principal), lifetime),
    ])
    if (ours === 1 || entries.get(id) !== entry) return
    if (ours === 2) return write(entry)
    entries.delete(id)
    options.onLost(id)
  }

  const write = async ({ record, restore }: Entry): Promise<void> => {
    const key = sessionKey(record.id)
    const fields = { record: JSON.stringify(record), owner: replica }
    await Promise.all([
      redis.hset(
        key,
        restore === undefined ? fields : { ...fields, restore: JSON.stringify(restore) },
      ),
      redis.pexpire(key, lifetime),
    ])
  }

  const stopRefreshing = clock.every(refreshInterval, () => {
    // What is held counts as used all the time.
    for (const [id, { holds }] of entries) if (holds > 0) dirty.add(id)
    behind(refresh([...dirty]))
  })

  const remove = async (id: string, principal: string | undefined): Promise<boolean> => {
    entries.delete(id)
    dirty.delete(id)
    const [count] = await Promise.all([
      redis.del(sessionKey(id), eventsKey(id)),
      principal === undefined ? undefined : redis.zrem(principalKey(principal), id),
    ])
    return count > 0
  }

  /** A session that may be another replica's. */
  const removeAnywhere = async (id: string): Promise<void> => {
    if (entries.has(id)) await remove(id, undefined)
    else await runScript(redis, 'end', [sessionKey(id), eventsKey(id)], [ended, endedLifetime])
  }

  /** Room in this process for one more; answers what had to go. */
  const makeRoom = async (): Promise<string[]> => {
    if (entries.size < limits.sessions) return []
    const entry = idlest(entries.values())
    if (entry === undefined) throw noRoom(`limits.sessions is ${limits.sessions}`)
    const { id, principal } = entry.record
    await remove(id, principal)
    return [id]
  }

  const flushEvents = async (id: string, entry: Entry): Promise<void> => {
    const { unsent } = entry
    if (unsent.length === 0) return
    entry.unsent = []
    const key = eventsKey(id)
    const texts = unsent.map((event) => JSON.stringify(event))
    await Promise.all([
      redis.rpush(key, ...texts),
      redis.ltrim(key, -entry.sizes.length || 1, entry.sizes.length === 0 ? 0 : -1),
      redis.pexpire(key, lifetime),
    ])
  }

  const reaching = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw storeAway(error)
    }
  }

  return {
    get size() {
      return entries.size
    },
    create: (record) =>
      reaching(async () => {
        await refresh([...dirty])
        const removed = await makeRoom()
        const victim = await runScript(
          redis,
          'reserve',
          [principalKey(record.principal)],
          [record.id, score(0, turns + 1), limits.sessionsPerPrincipal, lifetime],
        )
        if (victim === 'full') {
          throw noRoom(`limits.sessionsPerPrincipal is ${limits.sessionsPerPrincipal}`)
        }
        if (typeof victim === 'string') {
          await removeAnywhere(victim)
          removed.push(victim)
        }
        await write(enter(record))
        return removed
      }),
    get: (id) =>
      reaching(async () => {
        const own = entries.get(id)
        if (own !== undefined) return own.record
        const text = await redis.hget(sessionKey(id), 'record')
        return text === null ? undefined : (JSON.parse(text) as SessionRecord)
      }),
    locate: (id) =>
      reaching(async (): Promise<Located | undefined> => {
        const [record, owner, restore] = await redis.hmget(
          sessionKey(id),
          'record',
          'owner',
          'restore',
        )
        if (typeof record !== 'string' || typeof owner !== 'string') return undefined
        return {
          record: JSON.parse(record) as SessionRecord,
          owner,
          restore: typeof restore === 'string' ? (JSON.parse(restore) as Restore) : undefined,
        }
      }),
    claim: ({ record, owner, restore }) =>
      reaching(async () => {
        const key = sessionKey(record.id)
        const won = await runScript(redis, 'claim', [key], [owner, replica, lifetime])
        if (won !== 1) return false
        const texts = await redis.lrange(eventsKey(record.id), 0, -1)
        enter(
          record,
          texts.map((text) => (JSON.parse(text) as StoredEvent).text.length),
          restore,
        )
        return true
      }),
    homes: () => [...new Set(entries.values().flatMap(({ record }) => record.home ?? []))],
    takeHome: (home, gone = '') =>
      reaching(async () => {
        const key = keyOf(prefix, 'home', home)
        return String(await runScript(redis, 'home', [key], [replica, gone, homeLifetime]))
      }),
    recheck: () => reaching(() => refresh(entries.keys())),
    giveAway: () =>
      reaching(async () => {
        const given = [...entries]
        entries.clear()
        dirty.clear()
        await Promise.all(
          given.map(async ([id, entry]) => {
            await flushEvents(id, entry)
            await runScript(redis, 'claim', [sessionKey(id)], [replica, '', lifetime])
          }),
        )
      }),
    remember(id, restore) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entry.restore = restore
      behind(runScript(redis, 'remember', [sessionKey(id)], [replica, JSON.stringify(restore)]))
    },
    touch(id) {
      const entry = entries.get(id)
      if (entry !== undefined) use(id, entry)
    },
    hold(id) {
      const entry = entries.get(id)
      if (entry !== undefined && entry.holds++ === 0) dirty.add(id)
    },
    release(id) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entry.holds--
      use(id, entry)
    },
    log(id, event) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entry.sizes.push(event.text.length)
      entry.size += event.text.length
      while (entry.sizes.length > limits.replayEvents || entry.size > limits.replayBytes) {
        entry.size -= entry.sizes.shift() ?? entry.size
      }
      // All of one turn in one command.
      if (entry.unsent.push(event) === 1) setImmediate(() => behind(flushEvents(id, entry)))
    },
    replay: (id, stream, after) =>
      reaching(async () => {
        const entry = entries.get(id)
        if (entry !== undefined) await flushEvents(id, entry)
        const texts = await redis.lrange(eventsKey(id), 0, -1)
        return texts
          .map((text) => JSON.parse(text) as StoredEvent)
          .filter((event) => event.stream === stream && event.sequence > after)
      }),
    delete: (id) => reaching(() => remove(id, entries.get(id)?.record.principal)),
    async reap() {
      const removed: string[] = []
      const oldest = clock.now() - limits.idleTime
      for (const { used, holds, record } of entries.values()) {
        if (used > oldest || holds > 0) continue
        removed.push(record.id)
        await reaching(() => remove(record.id, record.principal))
      }
      return removed
    },
    async close() {
      stopRefreshing()
      await refresh([...dirty]).catch(onError)
      entries.clear()
    },
  }
}

/** When a session was used, as its place among those of its principal: of two uses within one ms the later one counts. */
const score = (idle: number, turn: number): string =>
  String(Date.now() - idle + (turn % 1000) / 1000)
