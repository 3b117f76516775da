// A map for what comes and goes with every request.
//
// A Map of the language that has grown old keeps all that was ever in it alive until the next full collection: each time
// it makes room it leaves its former table behind, which points on to the new one, and once one of them lies in old space
// the whole chain counts as used. In a proxy that is each request with everything hanging on it: a fifth of all memory
// allocated had to be copied and then collected again at length. An object without a shape has no such chain.
export class Table<K extends string | number, V> {
  #entries: Record<K, V> = Object.create(null)
  #size = 0
  readonly #toKey: (text: string) => K

  /** `toKey`: `Number` or `String`, whichever the keys are. */
  constructor(toKey: (text: string) => K) {
    this.#toKey = toKey
  }

  get size(): number {
    return this.#size
  }

  get(key: K): V | undefined {
    return this.#entries[key]
  }

  has(key: K): boolean {
    return this.#entries[key] !== undefined
  }

  /** `value` must not be undefined. */
  set(key: K, value: V): void {
    if (this.#entries[key] === undefined) this.#size++
    this.#entries[key] = value
  }

  /** Returns what was there. */
  delete(key: K): V | undefined {
    const value = this.#entries[key]
    if (value === undefined) return undefined
    this.#size--
    delete this.#entries[key]
    return value
  }

  clear(): void {
    this.#entries = Object.create(null)
    this.#size = 0
  }

  /** As they were at the call, so that any may be taken away meanwhile: numbers in rising order, strings as they came. */
  values(): V[] {
    return Object.values(this.#entries)
  }

  keys(): K[] {
    return Object.keys(this.#entries).map(this.#toKey)
  }

  /** Without a list in between, for what is asked with every event. Nothing may be put in or taken away meanwhile. */
  forEach(task: (value: V, key: K) => void): void {
    for (const key in this.#entries) task(this.#entries[key], this.#toKey(key))
  }

  *[Symbol.iterator](): Generator<[K, V]> {
    for (const key of this.keys()) {
      const value = this.#entries[key]
      if (value !== undefined) yield [key, value]
    }
  }
}
