// The connection to Redis or Valkey: one server, Sentinels or a Cluster. Which keys there are is decided here, once.
import type { ConnectionOptions } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import { ProxyError } from '../errors.ts'

export interface RedisConfig {
  readonly url?: string | undefined
  readonly cluster?: readonly string[] | undefined
  readonly sentinels?: readonly string[] | undefined
  readonly sentinelName?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly cert?: string | undefined
        readonly key?: string | undefined
        readonly verify: boolean
      }
    | undefined
  readonly prefix: string
}

export type RedisConnection = Redis | Cluster

/** ms after which a command is given up: whoever waits for it is told 503. */
const commandTime = 2000
const connectTime = 5000
const longestPause = 1000

/**
 * Opens a connection; it connects by itself, and again whenever it is lost. Commands fail at once while there is none, so
 * that nobody waits for a server that is away. `blocking`: for commands that wait in the server.
 */
export function connectRedis(config: RedisConfig, blocking = false): RedisConnection {
  const credentials = {
    ...(config.username !== undefined && { username: config.username }),
    ...(config.password !== undefined && { password: config.password }),
  }
  const options = {
    ...credentials,
    ...tlsOf(config),
    enableAutoPipelining: !blocking,
    // While a connection is made commands wait for it, but not longer than any other.
    enableOfflineQueue: true,
    maxRetriesPerRequest: blocking ? null : 1,
    connectTimeout: connectTime,
    ...(!blocking && { commandTimeout: commandTime }),
    retryStrategy: pause,
  }
  const { cluster, sentinels, url } = config
  if (cluster !== undefined) {
    return new Cluster(cluster.map(addressOf), {
      enableAutoPipelining: !blocking,
      // A Cluster whose nodes cannot be reached would keep commands for ever.
      enableOfflineQueue: false,
      clusterRetryStrategy: pause,
      redisOptions: { ...options, ...credentialsIn(cluster[0]), ...credentials },
    })
  }
  if (sentinels !== undefined) {
    return new Redis({
      ...options,
      ...(config.sentinelName !== undefined && { name: config.sentinelName }),
      sentinels: sentinels.map(addressOf),
      sentinelRetryStrategy: pause,
    })
  }
  return new Redis(url ?? '', options)
}

const pause = (times: number): number => Math.min(times * 50, longestPause)

function tlsOf({ tls, url, cluster, sentinels }: RedisConfig): { tls?: ConnectionOptions } {
  const secure = [url, ...(cluster ?? []), ...(sentinels ?? [])].some((each) =>
    each?.startsWith('rediss:'),
  )
  if (tls === undefined) return secure ? { tls: {} } : {}
  const { ca, cert, key, verify } = tls
  return {
    tls: {
      rejectUnauthorized: verify,
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    },
  }
}

function addressOf(text: string): { host: string; port: number } {
  const { hostname, port } = new URL(text)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? 6379 : port) }
}

function credentialsIn(text: string | undefined): { username?: string; password?: string } {
  const { username, password } = new URL(text ?? 'redis://x')
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
  }
}

/** What a key is of; the braces keep what belongs together in one slot of a Cluster. */
export type KeyKind =
  /** A session's record, and its event log. */
  | 'session'
  | 'events'
  /** The sessions of a principal, by their last use. */
  | 'principal'
  /** That a replica lives, and its mailbox. */
  | 'alive'
  | 'mail'
  /** The replica that serves all sessions of a shared backend stream. */
  | 'home'
  /** What the fleet seals with. */
  | 'secret'
  /** How often somebody has asked. */
  | 'limit'

const owners: Readonly<Record<KeyKind, string>> = {
  session: 's',
  events: 's',
  principal: 'p',
  alive: 'r',
  mail: 'r',
  home: 'h',
  secret: 'f',
  limit: 'l',
}

/** Every key of ours is made here. */
export const keyOf = (prefix: string, kind: KeyKind, id: string): string =>
  `${prefix}:{${owners[kind]}:${id}}:${kind}`

/** Redis did not do what was asked of it. */
export const storeAway = (cause: unknown): ProxyError =>
  cause instanceof ProxyError
    ? cause
    : new ProxyError('STORE_UNAVAILABLE', 'the session store cannot be reached', {
        cause,
        retryAfter: 2,
      })
