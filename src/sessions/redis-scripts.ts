// What must happen in one step inside Redis. Each script works on the keys of one session or one principal, so a Cluster
// can run it; the server keeps it after the first call.
import { createHash } from 'node:crypto'
import type { RedisConnection } from './redis.ts'

const scripts = {
  /**
   * Enters a session among those of its principal. Answers the session that had to go for it, "full" where all are in
   * use, or nothing. KEYS: the principal's. ARGV: session, now, most, lifetime.
   */
  reserve: `
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[4])
    local victim = false
    if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
      local idlest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
      if idlest[2] == 'inf' then return 'full' end
      victim = idlest[1]
      redis.call('ZREM', KEYS[1], victim)
    end
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
    return victim`,
  /**
   * Lets a session and its log live on, if it is still its owner's who asks. Answers 2 where nothing is known of it: a
   * server that came back without its data. ARGV: owner, lifetime.
   */
  refresh: `
    local owner = redis.call('HGET', KEYS[1], 'owner')
    if not owner then return 2 end
    if owner ~= ARGV[1] then return 0 end
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
    return 1`,
  /** Makes a session another's, if it is still whose it was. ARGV: from, to, lifetime. */
  claim: `
    if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'owner', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1`,
  /** Ends a session of another replica, which finds a word of it when it looks. ARGV: word, lifetime of that. */
  end: `
    if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'owner', ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1`,
  /** Makes a home somebody's, if it is nobody's or of one who has gone. Answers whose it is. ARGV: to, gone, lifetime. */
  home: `
    local owner = redis.call('GET', KEYS[1])
    if owner and owner ~= ARGV[1] and owner ~= ARGV[2] then return owner end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
    return ARGV[1]`,
  /** Keeps what another owner would need. ARGV: owner, text. */
  remember: `
    if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'restore', ARGV[2])
    return 1`,
} as const

const digests = Object.fromEntries(
  Object.entries(scripts).map(([name, text]) => [
    name,
    createHash('sha1').update(text).digest('hex'),
  ]),
)

/** Runs a script by its digest, and loads it where the server does not know it yet. */
export async function runScript(
  redis: RedisConnection,
  name: keyof typeof scripts,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(digests[name] ?? '', keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return redis.eval(scripts[name], keys.length, ...keys, ...args)
  }
}
