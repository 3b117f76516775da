// The order of a client's messages on their way to the backend, where each may have a connection of its own: what
// follows a notification must not overtake it, or `tools/list` comes ahead of `notifications/initialized`.
import type { Clock } from '../clock.ts'

/** ms that a message waits for the notification before it to be taken. */
const patience = 2000

export class Order {
  private readonly clock: Clock
  /** The latest notification of each member, while it has not been taken. */
  private readonly barriers = new Map<string, Promise<unknown>>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Runs `send` at once, or when the member's latest notification has been taken. A `barrier` holds up what follows. */
  run(member: string, send: () => Promise<void>, barrier: boolean): void {
    const before = this.barriers.get(member)
    const sent = before === undefined ? send() : before.then(send)
    if (!barrier) return
    const tired = new Promise<void>((resolve) => {
      const callOff = this.clock.after(patience, resolve)
      void sent.then(callOff)
    })
    const next = Promise.race([sent, tired]).then(() => {
      if (this.barriers.get(member) === next) this.barriers.delete(member)
    })
    this.barriers.set(member, next)
  }

  forget(member: string): void {
    this.barriers.delete(member)
  }

  absorb(other: Order): void {
    for (const [member, barrier] of other.barriers) this.barriers.set(member, barrier)
  }
}
