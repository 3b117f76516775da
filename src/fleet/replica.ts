// That a replica lives. One key of its own says so for all its sessions at once, and is renewed in one command; who finds
// it gone may take those sessions over.
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { keyOf } from '../sessions/redis.ts'
import type { RedisConnection } from '../sessions/redis.ts'

export interface Replica {
  /** Unique to this process: neither host nor process number alone would be. */
  readonly id: string
  /** Random bytes that all replicas have in common; undefined until Redis has been reached. */
  readonly secret: Buffer | undefined
  /** Redis has heard of us lately. */
  readonly heard: boolean
  /** Redis was away until a moment ago, and what is missing there may not have been written again. */
  readonly justBack: boolean
  /** Whether another one lives. Rejects when Redis cannot be asked. */
  lives(id: string): Promise<boolean>
  /** Says that we are gone, so that nobody waits for it to show. */
  leave(): Promise<void>
}

/** ms that others believe in us without a word, and how often there is one. */
const leaseTime = 4000
const renewal = 1000
/** ms that the common secret is kept without anybody who needs it, and how often it is asked for. */
const secretTime = 86_400_000
const secretRenewal = 600_000
const secretLength = 32
/** ms that a start waits for a server. */
const firstTime = 2000
/** ms for which an answer about another replica holds. */
const heldTrue = 500
const mostKnown = 1000

export interface ReplicaOptions {
  readonly redis: RedisConnection
  readonly prefix: string
  readonly clock: Clock
  /** Redis has been away: others may have taken our sessions over, or it may have forgotten them. */
  onBack(): void
  onError(error: unknown): void
}

export async function joinFleet(options: ReplicaOptions): Promise<Replica> {
  const { redis, prefix, clock, onBack, onError } = options
  const id = randomBytes(9).toString('base64url')
  const key = keyOf(prefix, 'alive', id)
  const known = new Map<string, { readonly until: number; readonly alive: boolean }>()
  let heard = -Infinity
  let back = -Infinity
  let away = false
  let left = false
  let secret: Buffer | undefined
  let secretAt = -Infinity

  /** Makes the secret where nobody has yet; a server that has forgotten it is told again. */
  const agree = async (): Promise<void> => {
    const place = keyOf(prefix, 'secret', 'fleet')
    const own = (secret ?? randomBytes(secretLength)).toString('base64url')
    await redis.set(place, own, 'PX', secretTime, 'NX')
    await redis.pexpire(place, secretTime)
    const common = await redis.get(place)
    if (common === null) return
    secret = Buffer.from(common, 'base64url')
    secretAt = clock.now()
  }

  const renew = async (): Promise<void> => {
    if (left) return
    await redis.set(key, '1', 'PX', leaseTime)
    const now = clock.now()
    if (away || now - secretAt > secretRenewal) await agree()
    if (away || (heard !== -Infinity && now - heard > leaseTime)) {
      away = false
      back = now
      known.clear()
      onBack()
    }
    heard = now
  }
  const tryRenewing = (): Promise<void> => renew().catch(onError)

  const stop = clock.every(renewal, () => void tryRenewing())
  redis.on('close', () => (away = true))
  // A server that is away at the start is waited for like one that goes away later, after a while that it may take.
  await new Promise<void>((resolve) => {
    const callOff = clock.after(firstTime, resolve)
    const renewed = (): void => {
      if (heard === -Infinity) return
      callOff()
      resolve()
    }
    redis.on('ready', () => void tryRenewing().then(renewed))
    void tryRenewing().then(renewed)
  })

  const isBack = (): boolean => clock.now() - back < leaseTime

  return {
    id,
    get secret() {
      return secret
    },
    get heard() {
      return clock.now() - heard < leaseTime
    },
    get justBack() {
      return isBack()
    },
    async lives(other) {
      // Those who live may not have said so again.
      if (isBack()) return true
      const now = clock.now()
      const before = known.get(other)
      if (before !== undefined && now < before.until) return before.alive
      const alive = (await redis.exists(keyOf(prefix, 'alive', other))) === 1
      // The answer may be that of a server that has come back without its data.
      if (away || isBack()) return true
      if (known.size > mostKnown) known.clear()
      known.set(other, { until: now + heldTrue, alive })
      return alive
    },
    async leave() {
      left = true
      stop()
      await redis.del(key).catch(onError)
    },
  }
}
