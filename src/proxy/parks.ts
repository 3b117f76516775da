// Requests of modern clients that wait for their client to come back with answers: how many and how long, and who may go
// on with one (design, rule 3).
import { hash } from 'node:crypto'
import { notWaiting } from '../bridge/parking.ts'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Caller } from '../frontends/exchange.ts'
import { editObject, findValue } from '../protocol/json-text.ts'
import { isObject } from '../protocol/jsonrpc.ts'
import type { Json, Request } from '../protocol/jsonrpc.ts'
import { paramsOf } from '../protocol/metadata.ts'
import { Table } from '../table.ts'
import { identityOf } from './edge.ts'
import type { Live } from './live.ts'
import type { ParkClaims, RequestStates } from './request-state.ts'

/** One that waits. */
export interface Park {
  readonly number: number
  readonly live: Live
  readonly member: string
  readonly round: number
  /** When it is given up, in the clock's ms. */
  readonly until: number
}

/** Who asked for what: only the same request of the same caller may bring the answers. */
export interface Origin {
  readonly principal: string
  readonly request: string
}

export interface Parks {
  /** The state for the client to come back with; undefined where too many wait already. */
  add(park: Omit<Park, 'until'>, origin: Origin): string | undefined
  /** Takes what waits for this request. Throws PARAMS_INVALID where nothing does, or not for this caller. */
  take(caller: Caller, message: Request): Park
  /** The replica that a request with answers is for; undefined where that is us, or nobody. */
  elsewhere(message: Request): string | undefined
  readonly size: number
  close(): void
}

export interface ParksOptions {
  readonly clock: Clock
  readonly states: RequestStates
  /** How many may wait, and how long in ms. */
  readonly limits: { readonly parked: number; readonly parkTime: number }
  /** Our id in a fleet; empty where there is none. */
  readonly replica: string
}

const sweepInterval = 1000

export function createParks({ clock, states, limits, replica }: ParksOptions): Parks {
  const all = new Table<number, Park>(Number)

  const stop = clock.every(Math.min(sweepInterval, limits.parkTime), () => {
    for (const { number, live, until } of all.values()) {
      if (until > clock.now()) continue
      all.delete(number)
      live.current.giveUp(number, `no answers came within limits.parkTime, ${limits.parkTime} ms`)
    }
  })

  const claimsIn = (message: Request): ParkClaims | undefined => {
    const { requestState } = paramsOf(message)
    return typeof requestState === 'string' ? states.open(requestState) : undefined
  }

  return {
    add(park, { principal, request }) {
      if (all.size >= limits.parked) return undefined
      const { number: exchange, round } = park
      all.set(exchange, { ...park, until: clock.now() + limits.parkTime })
      return states.seal({ replica, exchange, round, principal, request })
    },
    take(caller, message) {
      const claims = claimsIn(message)
      if (claims === undefined || claims.replica !== replica) throw notWaiting()
      const { principal, request } = originOf(caller, message)
      if (claims.principal !== principal || claims.request !== request) throw notWaiting()
      const park = all.get(claims.exchange)
      if (park === undefined || park.round !== claims.round) throw notWaiting()
      if (park.until <= clock.now()) throw notWaiting()
      all.delete(claims.exchange)
      return park
    },
    elsewhere(message) {
      const claims = claimsIn(message)
      return claims === undefined || claims.replica === replica ? undefined : claims.replica
    },
    get size() {
      return all.size
    },
    close() {
      stop()
      all.clear()
    },
  }
}

/** What of a caller and a request must be the same when it comes back. */
export function originOf(caller: Caller, message: Request): Origin {
  const { route, parameters } = caller
  const edited = editObject(message.text, ['params'], {
    drop: ['_meta', 'inputResponses', 'requestState'],
  })
  const params = findValue(edited, ['params'])
  const whole = [
    JSON.stringify([route, parameters, message.method]),
    params === undefined ? '' : inOrder(edited.slice(params.start, params.end)),
  ]
  return {
    principal: identityOf(caller.headers),
    request: hash('sha256', whole.join('\n'), 'base64url'),
  }
}

/** JSON text with the members of objects in the order of their names; what is nested too deeply for that stays as it is. */
export function inOrder(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text) as Json, (_, each: Json) => {
      if (!isObject(each)) return each
      return Object.fromEntries(
        Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)),
      )
    })
  } catch {
    return text
  }
}

export const tooManyParked = (): ProxyError =>
  new ProxyError('LIMIT_REACHED', 'too many requests wait for answers: limits.parked is reached', {
    retryAfter: 5,
  })
