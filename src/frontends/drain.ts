// Whether a client keeps up with what is written to it: since when it does not, and who waits for it to catch up.
import type { Answerable } from './exchange.ts'
import type { Keeper } from './keeper.ts'

export class Drain {
  /** By the keeper's time; undefined while the client keeps up. */
  blockedSince: number | undefined
  private readonly response: Answerable
  private readonly keeper: Keeper
  private waiting: (() => void)[] = []

  constructor(response: Answerable, keeper: Keeper) {
    this.response = response
    this.keeper = keeper
    response.on('drain', () => this.wake())
  }

  /** False: the client does not keep up. */
  write(data: Uint8Array | string): boolean {
    if (!this.response.write(data)) this.blockedSince ??= this.keeper.now
    return this.blockedSince === undefined
  }

  /** Calls `task` at once where nothing waits, else when `wake` is called. */
  onceDrained(task: () => void): void {
    if (this.blockedSince === undefined) task()
    else this.waiting.push(task)
  }

  /** The client has caught up, or gone. */
  wake(): void {
    this.blockedSince = undefined
    const tasks = this.waiting
    this.waiting = []
    for (const task of tasks) task()
  }
}
