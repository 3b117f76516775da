// Time as a value that is passed in, so that tests turn the hands themselves.

export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  now(): number
  /** Calls `task` once after `ms`. Returns what calls it off. */
  after(ms: number, task: () => void): () => void
  /** Calls `task` every `ms` until called off. Keeps no process alive. */
  every(ms: number, task: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms)
    return () => clearTimeout(timer)
  },
  every(ms, task) {
    const timer = setInterval(task, ms)
    timer.unref()
    return () => clearInterval(timer)
  },
}
