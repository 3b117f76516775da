// The relay: sessions and single requests of all routes, each led to the conversation that serves it. Frontends,
// bridge, backends and store meet here and in live.ts, and nowhere else.
import { randomBytes, randomInt } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Caller, Relay, Reply } from '../frontends/exchange.ts'
import { modernRevision, servedRevisions } from '../protocol/dialects.ts'
import type { Message, Request } from '../protocol/jsonrpc.ts'
import type { Headers } from '../backends/backend.ts'
import type { Restore, SessionRecord, SessionStore } from '../sessions/store.ts'
import { Table } from '../table.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Backends } from './backends.ts'
import { createConversations } from './conversations.ts'
import type { Seat } from './conversations.ts'
import { identityOf } from './edge.ts'
import type { LiveServices } from './live-options.ts'
import { createParks } from './parks.ts'
import { createPendingExchanges } from './pending.ts'
import type { RequestStates } from './request-state.ts'
import { Session } from './session.ts'
import type { SessionServices } from './session.ts'

export interface RelayServices {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly store: SessionStore
  /** Keeps what another replica would need to go on with a session. */
  readonly remember?: (id: string, restore: Restore) => void
  /** Which sessions must be served by one replica with those of this caller. */
  readonly homeOf?: (caller: Caller) => string | undefined
  readonly backends: Backends
  readonly limits: {
    readonly requestTime: number
    readonly idleTime: number
    readonly sessions: number
    readonly sessionsPerPrincipal: number
    readonly parked: number
    readonly parkTime: number
  }
  /** Seals what modern clients bring back. */
  readonly states: RequestStates
  /** Our id in a fleet; empty where there is none. */
  readonly replica: string
}

export interface RunningRelay extends Relay {
  /** Exchanges that wait for their answers. */
  readonly exchanges: number
  readonly sessions: number
  /** The homes of backend streams that serve callers without a session. */
  homes(): Iterable<string>
  /** The replica that a request without a session brings answers for, where that is another one. */
  parkedAt(message: Request): string | undefined
  has(id: string): boolean
  /** Goes on with a session that another process has served. */
  adopt(record: SessionRecord, headers: Headers, restore: Restore | undefined): void
  /** Lets go of a session that is another replica's now; its streams end and their clients may come back. */
  leave(id: string): void
  leaveAll(): void
  /** Takes no new session or request; resolves when nothing waits any more, here or `busy`, or after `ms`. */
  drain(ms: number, busy?: () => boolean): Promise<void>
  /** Ends every session and closes every backend session. */
  close(): Promise<void>
}

const stopping = (): ProxyError =>
  new ProxyError('SHUTTING_DOWN', 'the proxy is shutting down', { retryAfter: 1 })

/** ms until a client whose stream we end may come back. */
const retryHint = 1000

/** How often idle sessions are looked for. */
const reapInterval = 5000

/** ms that a backend session stays open which was only needed for requests that could not share one. */
const surplusTime = 30_000

/** ms that a backend may take for a handshake of ours; a sleeping one takes most of it to wake. */
const ownTime = 90_000

export function createRelay(services: RelayServices): RunningRelay {
  const { clock, log, metrics, store, limits } = services
  const pending = createPendingExchanges(clock, limits.requestTime)
  const { states, replica } = services
  const parks = createParks({ clock, states, limits, replica })
  const liveServices: LiveServices = {
    clock,
    log,
    metrics,
    pending,
    parks,
    // A random start, so that two processes in front of one backend hardly ever use the same numbers at a time.
    ids: { next: randomInt(1, 2 ** 30) },
    carriers: new WeakMap(),
    ownTime: Math.min(limits.requestTime, ownTime),
  }
  const conversations = createConversations(liveServices, services.backends, limits)
  const sessions = new Table<string, Session>(String)
  /** Replies whose client has gone, perhaps before their conversation was found. */
  const gone = new WeakSet<Reply>()
  let draining = false

  const end = async (id: string, retry?: number): Promise<void> => {
    const session = sessions.delete(id)
    if (session === undefined) return
    session.close(retry, retry === undefined ? undefined : stopping())
    await store.delete(id)
  }

  const stopReaping = clock.every(reapInterval, () => {
    conversations.reap(clock.now() - limits.idleTime, clock.now() - surplusTime)
    store.reap().then(
      (ids) => {
        for (const id of ids) void end(id)
      },
      (error: unknown) => log.error({ err: error }, 'reaping sessions failed'),
    )
  })

  const refuseWhenDraining = (): void => {
    if (!draining) return
    throw new ProxyError('SHUTTING_DOWN', 'this replica is shutting down', { retryAfter: 1 })
  }

  metrics.readSessionsFrom(() => store.size)
  metrics.readParkedFrom(() => parks.size)

  const sessionServices: SessionServices = {
    store,
    converse: (caller) => conversations.own(caller),
    abandon: (reply) => pending.abandon(reply, false),
    learnt: services.remember,
    end,
  }

  /** Finds where a message without a session is served; detection may have to come first. */
  const withPool = (
    caller: Caller,
    message: Message,
    use: (seat: Seat) => void,
    fail: (error: ProxyError) => void,
  ): void => {
    let found: Seat | Promise<Seat>
    try {
      found = conversations.pooled(caller, message)
    } catch (error) {
      fail(ProxyError.from(error))
      return
    }
    if (found instanceof Promise) {
      found.then(
        (seat) => use({ ...seat, live: seat.live.current }),
        (error: unknown) => fail(ProxyError.from(error)),
      )
    } else use({ ...found, live: found.live.current })
  }

  return {
    get exchanges() {
      return pending.size
    },
    get sessions() {
      return sessions.size
    },
    async begin(caller, dialect) {
      refuseWhenDraining()
      const id = randomBytes(24).toString('base64url')
      const { route, parameters } = caller
      const principal = identityOf(caller.headers)
      const home = services.homeOf?.(caller)
      const record = { id, route, parameters, principal, dialect, ...(home && { home }) }
      const removed = await store.create(record)
      for (const other of removed) void end(other)
      const session = new Session(record, caller, sessionServices)
      sessions.set(id, session)
      return session
    },
    homes: () => conversations.homes(),
    parkedAt: (message) => parks.elsewhere(message),
    has: (id) => sessions.has(id),
    adopt(record, headers, restore) {
      if (sessions.has(record.id)) return
      sessions.set(record.id, new Session(record, { headers }, sessionServices, restore))
    },
    leave(id) {
      sessions.delete(id)?.close(retryHint, stopping())
    },
    leaveAll() {
      for (const session of sessions.values()) session.close(retryHint, stopping())
      sessions.clear()
    },
    find(caller, id) {
      const session = sessions.get(id)
      // Somebody else's session and no session look the same from outside.
      if (session === undefined || !session.isOf(caller)) {
        throw new ProxyError('SESSION_UNKNOWN', 'no such session; initialize again')
      }
      store.touch(id)
      return session
    },
    single(caller, message, reply) {
      const use = ({ live, member, park }: Seat): void => {
        if (gone.has(reply)) {
          if (park === undefined) live.unreserve(message)
          else live.giveUp(park.number, 'the client has gone')
        } else if (park === undefined) live.request(member, caller, message, reply)
        else live.resume(park, caller, message, reply)
      }
      if (draining) {
        reply.fail(new ProxyError('SHUTTING_DOWN', 'this replica is shutting down'))
        return
      }
      withPool(caller, message, use, (error) => reply.fail(error))
    },
    revisions(caller) {
      const backend = services.backends.known(caller, true)
      // A modern backend says so of itself, and all that it says passes.
      return backend === undefined || backend.traits.modern ? [modernRevision] : servedRevisions
    },
    abandonSingle(reply) {
      gone.add(reply)
      pending.abandon(reply, true)
    },
    singlePost(caller, message) {
      withPool(
        caller,
        message,
        ({ live, member }) => live.post(member, caller, message),
        (error) => log.warn({ route: caller.route, err: error }, 'message not taken'),
      )
    },
    async drain(ms, busy = () => false) {
      draining = true
      conversations.farewell()
      if (pending.size === 0 && !busy()) return
      await new Promise<void>((resolve) => {
        const stopLooking = clock.every(50, () => pending.size === 0 && !busy() && done())
        const callOff = clock.after(ms, () => done())
        const done = (): void => {
          stopLooking()
          callOff()
          resolve()
        }
      })
    },
    async close() {
      draining = true
      stopReaping()
      await Promise.all(sessions.keys().map((id) => end(id, retryHint)))
      conversations.close()
      pending.close()
      parks.close()
      await store.close()
    },
  }
}
