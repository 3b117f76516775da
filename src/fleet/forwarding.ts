// Requests that came in here and belong to a session of another replica: they go there in letters, and the answer comes
// back as it is written. Every one of them ends, also when the other replica does.
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { encodeMessage } from '../event-stream/event.ts'
import type { Body, Visit } from '../frontends/exchange.ts'
import { failureOf } from '../frontends/reply.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { Table } from '../table.ts'
import type { ToClient, ToOwner } from './letters.ts'

/**
 * `moved`: the other replica has done nothing with it. `lost`: it has gone before it said anything, and may have done
 * something.
 */
export type Forwarded = 'answered' | 'moved' | 'lost'

export interface ForwardingOptions {
  readonly clock: Clock
  send(to: string, letter: ToOwner, body?: string): Promise<void>
  lives(replica: string): Promise<boolean>
}

interface Call {
  readonly owner: string
  readonly visit: Visit
  readonly response: ServerResponse
  /** The number of the next letter about it. */
  next: number
  /** Its answer is an event stream. */
  streams: boolean
  /** Bytes passed on and not yet told. */
  read: number
  end(how: Forwarded): void
}

/** How often it is looked whether the owners of running calls live. */
const watchInterval = 1000
/** Bytes that are told at once. */
const readStep = 32_768

export class Forwarding {
  readonly #options: ForwardingOptions
  readonly #calls = new Table<number, Call>(Number)
  #last = 0
  #watching = false
  /** Owners that were gone when they were last looked for. */
  #missed: ReadonlySet<string> = new Set()
  readonly #stop: () => void

  constructor(options: ForwardingOptions) {
    this.#options = options
    this.#stop = options.clock.every(watchInterval, () => void this.#watch())
  }

  /** Rejects with STORE_UNAVAILABLE where the letter cannot be sent. */
  async forward(
    owner: string,
    visit: Visit & { readonly response: ServerResponse },
    dialect: Dialect,
  ): Promise<Forwarded> {
    const { response, caller, request, sessionId = '', messagesPath } = visit
    if (response.destroyed) return 'answered'
    const number = ++this.#last
    const { route, parameters, headers, address } = caller
    const letter: ToOwner = {
      type: 'visit',
      call: number,
      dialect,
      method: request.method ?? '',
      headers: pick(request.headers),
      caller: { route, parameters, headers, address },
      sessionId,
      messagesPath,
    }
    return new Promise((resolve, reject) => {
      const closed = (): void => {
        if (this.#calls.delete(number) === undefined) return
        this.#tell(owner, { type: 'gone', call: number })
        resolve('answered')
      }
      const end = (how: Forwarded): void => {
        response.off('close', closed)
        this.#calls.delete(number)
        resolve(how)
      }
      this.#calls.set(number, { owner, visit, response, next: 0, streams: false, read: 0, end })
      response.on('close', closed)
      this.#options.send(owner, letter, textOf(visit.body)).catch((error: unknown) => {
        response.off('close', closed)
        if (this.#calls.delete(number) !== undefined) reject(error)
      })
    })
  }

  /** What the owner says. */
  receive(letter: ToClient, body: Buffer): void {
    const call = this.#calls.get(letter.call)
    if (call === undefined) return
    const { response } = call
    if (letter.type === 'moved') return call.end('moved')
    // A letter comes twice when the connection broke before its sender heard that it had arrived.
    if (letter.type !== 'cut' && letter.number < call.next) return
    if (letter.type === 'cut' || letter.number > call.next) {
      this.#tell(call.owner, { type: 'gone', call: letter.call })
      return this.#breakOff(call)
    }
    call.next++
    if (letter.type === 'head') {
      call.streams = String(letter.headers['content-type']).startsWith('text/event-stream')
      response.writeHead(letter.status, letter.headers)
      if (!letter.end) response.flushHeaders()
    }
    if (!letter.end) return this.#pass(letter.call, call, body)
    call.end('answered')
    response.end(body)
  }

  /** Requests that wait for their answers. */
  get size(): number {
    return this.#calls.size
  }

  close(): void {
    this.#stop()
    for (const call of this.#calls.values()) this.#breakOff(call)
  }

  #pass(number: number, call: Call, body: Buffer): void {
    if (body.length === 0) return
    call.response.write(body, () => {
      call.read += body.length
      if (call.read < readStep) return
      this.#tell(call.owner, { type: 'read', call: number, bytes: call.read })
      call.read = 0
    })
  }

  /** What cannot be told now does not matter: whoever should hear it watches whether we live. */
  #tell(owner: string, letter: ToOwner): void {
    this.#options.send(owner, letter).catch(() => undefined)
  }

  /** An owner that is gone twice in a row is: one that leaves in good order may have a last letter on its way. */
  async #watch(): Promise<void> {
    if (this.#watching) return
    this.#watching = true
    await this.#lookForOwners()
    this.#watching = false
  }

  async #lookForOwners(): Promise<void> {
    const owners = new Set(this.#calls.values().map(({ owner }) => owner))
    const gone = new Set<string>()
    for (const owner of owners) {
      // While the store is away nobody can be said to be gone.
      const alive = await this.#options.lives(owner).catch(() => true)
      if (alive) continue
      gone.add(owner)
      if (!this.#missed.has(owner)) continue
      for (const call of this.#calls.values()) if (call.owner === owner) this.#breakOff(call)
    }
    this.#missed = gone
  }

  /** The rest will not come: an event stream that has begun can say so, another answer can only be cut. */
  #breakOff(call: Call): void {
    const { response, visit } = call
    if (!response.headersSent) return call.end('lost')
    call.end('answered')
    if (!call.streams) {
      response.destroy()
      return
    }
    const requests = visit.body?.messages.filter(({ kind }) => kind === 'request') ?? []
    const [only] = requests
    if (requests.length === 1 && only?.kind === 'request') {
      response.write(encodeMessage(failureOf(only.idText, replicaLost()).text))
    }
    response.end()
  }
}

export const replicaLost = (): ProxyError =>
  new ProxyError(
    'REPLICA_LOST',
    'the replica of this session cannot be heard any more; the request may have been carried out',
  )

/** Headers that frontends look at. */
const isLooked = (name: string): boolean =>
  name === 'accept' || name === 'last-event-id' || name.startsWith('mcp-')

function pick(headers: Visit['request']['headers']): Record<string, string> {
  const picked: Record<string, string> = {}
  for (const name in headers) {
    const value = headers[name]
    if (typeof value === 'string' && isLooked(name)) picked[name] = value
  }
  return picked
}

function textOf(body: Body | undefined): string {
  if (body === undefined) return ''
  const text = body.messages.map((message) => message.text).join(',')
  return body.batch ? `[${text}]` : text
}
