// The body of a backend's answer, straight from the HTTP parser: chunks, an end, pausing. Node's Readable does the same
// at several times the cost, which small answers feel (a fifth of the CPU of a small request went there).
import { EventEmitter } from 'node:events'
import type { Dispatcher } from 'undici'

/** What the dialects use of a body; Node's streams have it too. */
export interface AnswerBody {
  on(event: 'data', task: (chunk: Uint8Array) => void): unknown
  on(event: 'error', task: (error: Error) => void): unknown
  on(event: 'end' | 'close', task: () => void): unknown
  once(event: 'error', task: (error: Error) => void): unknown
  once(event: 'end' | 'close', task: () => void): unknown
  pause(): unknown
  /** Goes on; without anybody who listens to `data`, what comes is thrown away. */
  resume(): unknown
  /** Gives the rest up. `error`, if given, is emitted before `close`. */
  destroy(error?: Error): unknown
  readonly destroyed: boolean
  readonly readableEnded: boolean
  /** All of it, if it has come already and nobody listens yet: a small answer mostly comes with its head. */
  takeWhole?(): readonly Uint8Array[] | undefined
}

type Source = Pick<Dispatcher.DispatchController, 'abort' | 'pause' | 'resume'>

/** Chunks that nobody has listened for yet are kept up to this many bytes; then the source has to wait. */
const most = 65_536

export class HttpBody extends EventEmitter implements AnswerBody {
  destroyed = false
  /** All has been emitted. */
  readableEnded = false
  readonly #source: Source
  #waiting: Uint8Array[] = []
  #size = 0
  /** The source has come to its end. */
  #whole = false
  #flowing = false
  #paused = false
  #held = false
  #scheduled = false

  constructor(source: Source) {
    super()
    this.#source = source
  }

  /** Listening to `data` makes it flow, with the next turn, as with Node's streams. */
  override on(event: string, task: (...args: never[]) => void): this {
    super.on(event, task as (...args: unknown[]) => void)
    if (event === 'data' && !this.#flowing) {
      this.#flowing = true
      if (!this.#paused) this.#schedule()
    }
    return this
  }

  takeWhole(): readonly Uint8Array[] | undefined {
    if (!this.#whole || this.#flowing || this.destroyed) return undefined
    const chunks = this.#waiting
    this.#waiting = []
    this.readableEnded = true
    this.destroyed = true
    return chunks
  }

  pause(): this {
    this.#paused = true
    return this
  }

  resume(): this {
    this.#paused = false
    this.#flowing = true
    this.#schedule()
    return this
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.#waiting = []
    if (!this.#whole) this.#source.abort(error ?? new Error('given up'))
    queueMicrotask(() => {
      // An error of a body that nobody reads any longer must not end the process.
      if (error !== undefined && this.listenerCount('error') > 0) this.emit('error', error)
      this.emit('close')
    })
    return this
  }

  /** The source's next chunk. */
  push(chunk: Uint8Array): void {
    if (this.destroyed) return
    this.#waiting.push(chunk)
    this.#size += chunk.length
    if (this.#flowing && !this.#paused) this.#schedule()
    else if (this.#paused || this.#size > most) this.#hold()
  }

  /** One read of a busy stream brings many small chunks, and each passed on by itself costs as much as all together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => this.#flow())
  }

  /** The source has ended well. */
  end(): void {
    this.#whole = true
    this.#flow()
  }

  /** The source has broken off. */
  fail(error: Error): void {
    this.#whole = true
    if (this.#mayEmit()) this.#emitWaiting()
    this.destroy(error)
  }

  #hold(): void {
    if (this.#held || this.#whole) return
    this.#held = true
    this.#source.pause()
  }

  #mayEmit(): boolean {
    return this.#flowing && !this.#paused && !this.destroyed
  }

  #emitWaiting(): void {
    const [first] = this.#waiting
    if (first === undefined) return
    const chunk = this.#waiting.length === 1 ? first : Buffer.concat(this.#waiting)
    this.#waiting = []
    this.#size = 0
    this.emit('data', chunk)
  }

  #flow(): void {
    this.#scheduled = false
    if (!this.#mayEmit()) return
    this.#emitWaiting()
    if (this.#paused) this.#hold()
    if (!this.#mayEmit()) return
    if (this.#held) {
      this.#held = false
      this.#source.resume()
    }
    if (!this.#whole || this.readableEnded) return
    this.readableEnded = true
    this.emit('end')
    this.destroy()
  }
}
