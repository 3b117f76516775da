// Time limits of what a conversation sends of its own accord; those of clients' requests stand in pending.ts.
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'

export class OwnLimits {
  readonly #clock: Clock
  /** ms. */
  readonly #time: number
  readonly #running = new Set<() => void>()

  constructor(clock: Clock, time: number) {
    this.#clock = clock
    this.#time = time
  }

  /** Calls `late` with BACKEND_TIMEOUT when the time for something sent on `route` is up. */
  start(route: string, late: (error: ProxyError) => void): void {
    const callOff = this.#clock.after(this.#time, () => {
      this.#running.delete(callOff)
      const text = `the backend of route "${route}" did not answer in ${this.#time} ms`
      late(new ProxyError('BACKEND_TIMEOUT', text))
    })
    this.#running.add(callOff)
  }

  absorb(other: OwnLimits): void {
    for (const callOff of other.#running) this.#running.add(callOff)
    other.#running.clear()
  }

  close(): void {
    for (const callOff of this.#running) callOff()
    this.#running.clear()
  }
}
