// Answers of a modern backend that we have asked for ourselves and may use again (2026-07-28, Caching): public ones for
// everybody, private ones for whoever they were given to.
import { isObject } from '../protocol/jsonrpc.ts'
import type { Response } from '../protocol/jsonrpc.ts'
import type { Headers, Target } from './backend.ts'
import type { BackendOptions } from './options.ts'

interface Kept {
  readonly response: Response
  /** In the clock's ms. */
  readonly until: number
}

/** The oldest go first. */
const mostKept = 1000
/** ms that an answer is used at the longest, whatever the backend says. */
const longest = 3_600_000

export class FreshAnswers {
  readonly #options: Pick<BackendOptions, 'clock' | 'principalOf'>
  readonly #kept = new Map<string, Kept>()

  constructor(options: Pick<BackendOptions, 'clock' | 'principalOf'>) {
    this.#options = options
  }

  find(target: Target, headers: Headers, key: string): Response | undefined {
    for (const place of [this.#publicly(target, key), this.#privately(target, headers, key)]) {
      const found = this.#kept.get(place)
      if (found !== undefined && this.#options.clock.now() < found.until) return found.response
    }
    return undefined
  }

  /** Keeps a result for as long as it says that it is fresh; an error never. */
  keep(target: Target, headers: Headers, key: string, response: Response): void {
    const result = response.value['result']
    if (response.failed || !isObject(result)) return
    const { ttlMs, cacheScope, resultType } = result
    if (typeof ttlMs !== 'number' || !(ttlMs > 0) || resultType !== 'complete') return
    const place =
      cacheScope === 'public' ? this.#publicly(target, key) : this.#privately(target, headers, key)
    this.#kept.delete(place)
    this.#kept.set(place, { response, until: this.#options.clock.now() + Math.min(ttlMs, longest) })
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > mostKept && oldest !== undefined) this.#kept.delete(oldest)
  }

  /** What was kept of `target` under `key`, or a key that begins so, holds no longer, for nobody. */
  forget(target: Target, key: string): void {
    const beginning = this.#publicly(target, key)
    for (const place of this.#kept.keys()) {
      if (place.startsWith(beginning)) this.#kept.delete(place)
    }
  }

  #publicly({ url }: Target, key: string): string {
    return `${url.href}\n${key}`
  }

  #privately(target: Target, headers: Headers, key: string): string {
    return `${this.#publicly(target, key)}\n${this.#options.principalOf(headers)}`
  }
}
