// The answer to a request that came in on another replica: frontends write it as they write any other, and it goes there
// in letters. What the client has not read yet is counted, so that a slow one slows us down.
import { EventEmitter } from 'node:events'
import type { Answerable } from '../frontends/exchange.ts'
import type { CutLetter, DataLetter, HeadLetter } from './letters.ts'

/** Bytes under way to a client before `write` says that it does not keep up. */
const highWater = 65_536

/** Without their numbers, which whoever sends them adds. */
type Part = Omit<HeadLetter, 'number'> | Omit<DataLetter, 'number'> | Omit<CutLetter, 'number'>
type Send = (part: Part, body?: string | Uint8Array) => void

/** What `Answerable` asks for; Node's overloads are not ours to write down. */
export class RemoteAnswer extends EventEmitter {
  headersSent = false
  destroyed = false
  writableEnded = false
  /** Bytes that the client has not read. */
  writableLength = 0
  statusCode = 200
  readonly #call: number
  readonly #send: Send
  #headers: Record<string, string | number> = {}
  /** The head has been settled and not gone out. */
  #pending = false
  #full = false

  constructor(call: number, send: Send) {
    super()
    this.#call = call
    this.#send = send
  }

  /** As frontends see it. */
  get answerable(): Answerable {
    return this as unknown as Answerable
  }

  writeHead(status: number, headers: Readonly<Record<string, string | number>> = {}): this {
    this.statusCode = status
    this.#headers = { ...headers }
    this.headersSent = true
    this.#pending = true
    return this
  }

  flushHeaders(): void {
    if (this.#pending && !this.destroyed) this.#put('', false)
  }

  write(data: string | Uint8Array): boolean {
    if (this.destroyed || this.writableEnded) return true
    this.#put(data, false)
    if (this.writableLength > highWater) this.#full = true
    return !this.#full
  }

  end(data: string = ''): this {
    if (this.destroyed || this.writableEnded) return this
    this.writableEnded = true
    this.#put(data, true)
    queueMicrotask(() => {
      this.emit('finish')
      this.#close()
    })
    return this
  }

  /** Breaks the answer off. */
  destroy(): this {
    if (this.destroyed) return this
    this.#send({ type: 'cut', call: this.#call })
    this.#close()
    return this
  }

  /** The client has read so much. */
  read(bytes: number): void {
    this.writableLength -= bytes
    if (!this.#full || this.writableLength > highWater) return
    this.#full = false
    this.emit('drain')
  }

  /** The client, or the replica that has it, has gone. */
  gone(): void {
    this.#close()
  }

  #put(data: string | Uint8Array, end: boolean): void {
    const call = this.#call
    if (!end) this.writableLength += Buffer.byteLength(data)
    if (!this.#pending) return this.#send({ type: 'data', call, end }, data)
    this.#pending = false
    this.#send({ type: 'head', call, status: this.statusCode, headers: this.#headers, end }, data)
  }

  #close(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}
