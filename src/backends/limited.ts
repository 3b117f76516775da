// Time limits of messages that nobody waits for: without one, a backend that never answers them would use up all
// connections. Requests have theirs from the relay.
import type { Clock } from '../clock.ts'
import type { Message } from '../protocol/jsonrpc.ts'

/** ms that a backend may take to accept a notification or a response; one that sleeps takes most of it to wake. */
const acceptTime = 90_000

/** Runs `task`, and gives `post` up when a message that is no request takes too long. */
export function limited<T>(
  message: Message,
  post: AbortController,
  clock: Clock,
  task: () => Promise<T>,
): Promise<T> {
  if (message.kind === 'request') return task()
  const callOff = clock.after(acceptTime, () => post.abort())
  return task().finally(callOff)
}

/** Resolves to undefined when the signal is aborted, and never otherwise. */
export const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
