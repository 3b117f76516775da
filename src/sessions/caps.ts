// Making room for one more session: who has to go, and what is said where nobody can.
import { ProxyError } from '../errors.ts'

interface Held {
  /** Which use of all its last one was. */
  readonly turn: number
  readonly holds: number
}

/** The least recently used that is not held. */
export function idlest<E extends Held>(
  entries: readonly E[],
  suits: (entry: E) => boolean = () => true,
): E | undefined {
  let found: E | undefined
  for (const entry of entries) {
    if (entry.holds === 0 && suits(entry) && !(found && found.turn < entry.turn)) found = entry
  }
  return found
}

/** `limit` says which one was met, and its value. */
export const noRoom = (limit: string): ProxyError =>
  new ProxyError('LIMIT_REACHED', `too many sessions: ${limit}, all in use`, { retryAfter: 5 })
