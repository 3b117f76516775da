// Requests that came in on other replicas and belong to sessions of ours: they are served like our own, and their answers
// go back in letters.
import type { Clock } from '../clock.ts'
import { parseBody } from '../frontends/body.ts'
import type { Caller, Visit } from '../frontends/exchange.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { Table } from '../table.ts'
import type { ToClient, ToOwner, VisitLetter } from './letters.ts'
import { RemoteAnswer } from './remote-answer.ts'

export interface HostingOptions {
  readonly clock: Clock
  send(to: string, letter: ToClient, body?: string | Uint8Array): Promise<void>
  lives(replica: string): Promise<boolean>
  /** Whether the session is ours; later, while it is being taken over. */
  hosts(sessionId: string, caller: Caller): boolean | Promise<boolean>
  principalOf(headers: Caller['headers']): string
  /** Serves a request to its end; renders whatever goes wrong. */
  serve(visit: Visit, dialect: Dialect): void
}

interface Guest {
  readonly from: string
  readonly answer: RemoteAnswer
}

const guestKey = (from: string, call: number): string => `${from} ${call}`

const watchInterval = 1000
/** How often, and for how long, it is tried to say that an answer has broken off. */
const tellInterval = 500
const tellTries = 60

export class Hosting {
  readonly #options: HostingOptions
  readonly #guests = new Table<string, Guest>(String)
  /** The latest call of each sender. */
  readonly #latest = new Table<string, number>(String)
  readonly #stop: () => void
  /** Letters that wait for the sessions to be given up; undefined while they are served. */
  #held: (() => void)[] | undefined
  #released = false

  constructor(options: HostingOptions) {
    this.#options = options
    this.#stop = options.clock.every(watchInterval, () => void this.#watch())
  }

  receive(from: string, letter: ToOwner, body: Buffer): void {
    if (letter.type === 'visit') return this.#visit(from, letter, body)
    const answer = this.#guests.get(guestKey(from, letter.call))?.answer
    if (letter.type === 'gone') answer?.gone()
    else answer?.read(letter.bytes)
  }

  /** From now on nothing new is served: it waits until `release`, and is then told to look elsewhere. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    this.#released = true
    for (const tell of this.#held ?? []) tell()
    this.#held = undefined
  }

  close(): void {
    this.#stop()
    for (const { answer } of this.#guests.values()) answer.gone()
  }

  #visit(from: string, letter: VisitLetter, body: Buffer): void {
    const moved = (): void => this.#tell(from, { type: 'moved', call: letter.call })
    if (this.#released) return moved()
    if (this.#held !== undefined) return void this.#held.push(moved)
    // A letter comes twice when the connection broke before its sender heard that it had arrived.
    if (letter.call <= (this.#latest.get(from) ?? 0)) return
    this.#latest.set(from, letter.call)
    const caller = this.#callerOf(letter)
    const answer = this.#answerTo(from, letter)
    const decide = (ours: boolean): void => {
      if (ours) return this.#serve(letter, body, caller, answer)
      answer.gone()
      moved()
    }
    const hosted = this.#options.hosts(letter.sessionId, caller)
    if (typeof hosted === 'boolean') decide(hosted)
    else void hosted.then(decide, () => decide(false))
  }

  #callerOf({ caller }: VisitLetter): Caller {
    const { principalOf } = this.#options
    return {
      ...caller,
      get principal() {
        return principalOf(caller.headers)
      },
    }
  }

  #answerTo(from: string, { call }: VisitLetter): RemoteAnswer {
    const key = guestKey(from, call)
    let number = 0
    const answer = new RemoteAnswer(call, (part, bytes) => {
      this.#options.send(from, { ...part, number: number++ }, bytes).catch(() => {
        answer.gone()
        this.#tell(from, { type: 'cut', call, number: -1 })
      })
    })
    this.#guests.set(key, { from, answer })
    answer.once('close', () => this.#guests.delete(key))
    return answer
  }

  #serve(letter: VisitLetter, body: Buffer, caller: Caller, answer: RemoteAnswer): void {
    // Its client has gone while it was found out whose the session is.
    if (answer.destroyed) return
    try {
      const visit: Visit = {
        request: { method: letter.method, headers: letter.headers },
        response: answer.answerable,
        caller,
        sessionId: letter.sessionId === '' ? undefined : letter.sessionId,
        body: letter.method === 'POST' ? parseBody(body.toString()) : undefined,
        messagesPath: letter.messagesPath,
      }
      this.#options.serve(visit, letter.dialect)
    } catch {
      answer.destroy()
    }
  }

  /** Says what the other side must know, again and again while the store is away. */
  #tell(to: string, letter: ToClient, tries = tellTries): void {
    this.#options.send(to, letter).catch(() => {
      if (tries > 0)
        this.#options.clock.after(tellInterval, () => this.#tell(to, letter, tries - 1))
    })
  }

  async #watch(): Promise<void> {
    const senders = new Set(this.#guests.values().map(({ from }) => from))
    for (const sender of senders) {
      const alive = await this.#options.lives(sender).catch(() => true)
      if (alive) continue
      this.#latest.delete(sender)
      for (const { from, answer } of this.#guests.values()) if (from === sender) answer.gone()
    }
  }
}
