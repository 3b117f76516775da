// How often somebody may ask. Counters are this process's own, or shared through Redis; where that is away, each process
// counts for itself. Keys are digests: neither users nor addresses stand in Redis.
import { hash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import type { Cluster, Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { ProxyError } from '../errors.ts'

/** `count` in any window of `time` ms, which is rounded up to whole seconds. */
export interface RateLimit {
  readonly count: number
  readonly time: number
}

/** What has no limit is not counted. */
export interface RateLimitsConfig {
  /** Requests of one principal on one route. */
  readonly requests?: RateLimit | undefined
  /**
   * Failed authentications of one address, or of one IPv6 network of 64 bits. Hosted clients share a few addresses, and
   * tokens expire: it must be generous.
   */
  readonly failures?: RateLimit | undefined
  /** Registrations of clients, all together: each address of a hosted client stands for many users. */
  readonly registrations?: RateLimit | undefined
}

/** Redis, and what makes a key of an id. */
export interface SharedCounters {
  readonly redis: Redis | Cluster
  keyOf(id: string): string
}

/** All reject with RATE_LIMITED, which says when to come back. */
export interface RateLimits {
  request(route: string, principal: string): Promise<void>
  /** Before a credential of this address is verified, if that costs anything. */
  beforeVerifying(address: string): Promise<void>
  /** A credential that came from this address was wrong: not that one was missing. Never rejects. */
  failed(address: string): Promise<void>
  registration(): Promise<void>
  /** Counters in this process. */
  readonly held: number
}

/** Counters that each limit keeps in memory, the oldest going first. */
export const heldCounters = 10_000
/** ms; timers of the language go to 24 days. */
const longestTime = 86_400_000

/** Throws CONFIG_INVALID. */
export function createRateLimits(config: RateLimitsConfig, shared?: SharedCounters): RateLimits {
  const requests = createLimiter('requests', config.requests, shared)
  const failures = createLimiter('failures', config.failures, shared)
  const registrations = createLimiter('registrations', config.registrations, shared)
  const all = [requests, failures, registrations]
  return {
    request: (route, principal) =>
      take(requests, `requests on route "${route}"`, `${route}\n${principal}`),
    async beforeVerifying(address) {
      if (failures === undefined) return
      const found = await failures.limiter.get(failures.keyOf(networkOf(address)))
      if (found === null || found.msBeforeNext <= 0) return
      if (found.consumedPoints < failures.limit.count) return
      throw refused(failures.limit, 'failed authentications', found.msBeforeNext)
    },
    failed: (address) => take(failures, '', networkOf(address)).catch(() => undefined),
    registration: () => take(registrations, 'registrations', ''),
    get held() {
      return all.reduce((sum, each) => sum + (each?.memory.dump().storage.length ?? 0), 0)
    },
  }
}

interface Limiter {
  readonly limit: RateLimit
  readonly limiter: BoundedMemory | RateLimiterRedis
  readonly memory: BoundedMemory
  keyOf(id: string): string
}

function createLimiter(
  name: keyof RateLimitsConfig,
  limit: RateLimit | undefined,
  shared: SharedCounters | undefined,
): Limiter | undefined {
  if (limit === undefined) return undefined
  const { count, time } = limit
  if (!(Number.isSafeInteger(count) && count >= 1 && time > 0 && time <= longestTime)) {
    const text = `rate limit of ${name}: ${count} in ${time} ms is not at least 1 in at most a day`
    throw new ProxyError('CONFIG_INVALID', text)
  }
  // Redis counts in whole seconds; with less than one of them a key would never go.
  const options = { points: count, duration: Math.ceil(time / 1000), keyPrefix: '' }
  const memory = new BoundedMemory(options)
  return {
    limit,
    memory,
    limiter:
      shared === undefined
        ? memory
        : new RateLimiterRedis({
            ...options,
            storeClient: shared.redis,
            insuranceLimiter: memory,
            // Without it each request waits for a connection first.
            rejectIfRedisNotReady: true,
          }),
    keyOf(id) {
      const digest = hash('sha256', `${name}\n${id}`, 'base64url')
      return shared === undefined ? digest : shared.keyOf(digest)
    },
  }
}

/** The library keeps a counter, and a timer, for everybody until the end of the window. This one keeps so many. */
class BoundedMemory extends RateLimiterMemory {
  /** By the beginning of their windows. */
  readonly #keys = new Set<string>()

  override async consume(
    ...args: Parameters<RateLimiterMemory['consume']>
  ): Promise<RateLimiterRes> {
    const result = await super.consume(...args)
    if (result.isFirstInDuration) this.#began(String(args[0]))
    return result
  }

  #began(key: string): void {
    this.#keys.delete(key)
    this.#keys.add(key)
    if (this.#keys.size <= heldCounters) return
    for (const oldest of this.#keys) {
      this.#keys.delete(oldest)
      return void this.delete(oldest)
    }
  }
}

async function take(limiter: Limiter | undefined, what: string, id: string): Promise<void> {
  if (limiter === undefined) return
  try {
    await limiter.limiter.consume(limiter.keyOf(id))
  } catch (reason) {
    if (reason instanceof RateLimiterRes) throw refused(limiter.limit, what, reason.msBeforeNext)
    throw new ProxyError('AUTH_UNAVAILABLE', 'requests cannot be counted', { cause: reason })
  }
}

const refused = ({ count, time }: RateLimit, what: string, ms: number): ProxyError =>
  new ProxyError('RATE_LIMITED', `more than ${count} ${what} in ${Math.ceil(time / 1000)} s`, {
    retryAfter: Math.max(1, Math.ceil(ms / 1000)),
  })

/**
 * What one subscriber has: an IPv4 address, or the first 64 bits of an IPv6 one, who has 2^64 addresses for nothing
 * (RFC 4291, section 2.5.4). An IPv4 address is the same in both notations.
 */
function networkOf(address: string): string {
  const plain = address.replace(/%.*$/, '')
  if (!isIPv6(plain)) return plain
  // The URL parser has one spelling for each address, without dots.
  const [head = '', tail = ''] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0')
  const groups = [...first, ...zeros, ...last]
  if (groups.slice(0, 6).join(':') !== '0:0:0:0:0:ffff') return groups.slice(0, 4).join(':')
  const bytes = groups.slice(6).flatMap((group) => {
    const number = Number.parseInt(group, 16)
    return [number >> 8, number & 255]
  })
  return bytes.join('.')
}
