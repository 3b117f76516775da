// A stream towards a client that outlives its connection: each event carries an id `<stream>-<sequence>` and is logged, so
// that a client that comes back with `Last-Event-ID` goes on where it was, without a gap or a double (2025-11-25,
// Transports, "Resumability and Redelivery").
import { ProxyError } from '../errors.ts'
import { encodeMessage, encodePriming, messageHead } from '../event-stream/event.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'
import type { EventStream } from './event-stream.ts'
import type { EventLog, LoggedEvent, Outlet } from './exchange.ts'

/** ms after which a client that lost its connection may come back. */
const retryTime = 1000

export class ResumableStream implements Outlet {
  readonly id: string
  /** It brings what belongs to no exchange. */
  readonly standing: boolean
  private readonly log: EventLog
  /** Of the latest event; 0 is the priming event. */
  private sequence = 0
  private connection: EventStream | undefined
  /** Events that come while older ones are being read. */
  private queued: LoggedEvent[] = []
  /** Clients that are coming back, to be answered in turn; the latest gets the stream. */
  private resuming = 0
  private latest = 0
  private ended = false

  constructor(id: string, standing: boolean, log: EventLog) {
    this.id = id
    this.standing = standing
    this.log = log
  }

  /** Nothing will be sent any more. */
  get over(): boolean {
    return this.ended
  }

  /** Begins on a first connection; `priming` gives the client an id to come back with before anything was said. */
  begin(connection: EventStream, priming: boolean): void {
    this.connection = connection
    if (priming) connection.write(encodePriming(`${this.id}-0`, retryTime))
  }

  /**
   * Goes on, on another connection, after the event of this sequence number. Rejects with EVENTS_GONE when the log no
   * longer has all that follows.
   */
  async resume(connect: () => EventStream, after: number): Promise<void> {
    const until = this.sequence
    const turn = ++this.latest
    this.resuming++
    try {
      const events = after > until ? undefined : await this.log.read(this.id, after)
      const kept = events?.filter(({ sequence }) => sequence <= until) ?? []
      if (events === undefined || kept.length !== until - after) {
        throw new ProxyError('EVENTS_GONE', `events after ${this.id}-${after} are no longer kept`)
      }
      const connection = connect()
      if (turn !== this.latest) {
        // The client has come once more meanwhile.
        connection.close()
        return
      }
      this.connection?.close()
      this.connection = connection
      for (const { text } of kept) connection.write(text)
      const since = this.queued.filter(({ sequence }) => sequence > until)
      this.queued = []
      for (const { text } of since) connection.write(text)
      if (this.ended) connection.close()
    } finally {
      this.resuming--
      if (this.resuming === 0) this.release()
    }
  }

  /** Nobody came back for what was queued: it goes where it would have gone. */
  private release(): void {
    for (const { text } of this.queued) this.connection?.write(text)
    this.queued = []
  }

  send(message: Message): boolean {
    this.sequence++
    const text = encodeMessage(message.text, `${this.id}-${this.sequence}`)
    this.log.append(this.id, this.sequence, text)
    if (this.resuming > 0) {
      this.queued.push({ sequence: this.sequence, text })
      return true
    }
    return this.connection?.write(text) ?? true
  }

  /**
   * The next message in bytes; undefined where it must be held. It is not logged: a client that loses it cannot come
   * back for it, which EVENTS_GONE will tell.
   */
  pass(): Sink | undefined {
    if (this.resuming > 0 || this.connection === undefined || this.connection.closed) {
      return undefined
    }
    this.sequence++
    return this.connection.pass(messageHead(`${this.id}-${this.sequence}`))
  }

  /** A comment, to keep the connection alive. */
  comment(text: string): void {
    this.connection?.write(text)
  }

  onceDrained(task: () => void): void {
    if (this.connection === undefined) task()
    else this.connection.onceDrained(task)
  }

  close(retry?: number): void {
    this.ended = true
    this.connection?.close(retry)
  }
}

/** An event id of ours, taken apart. */
export function parseEventId(id: string): { stream: string; sequence: number } | undefined {
  const match = /^([\w-]+)-(\d{1,15})$/.exec(id)
  const [, stream, sequence] = match ?? []
  if (stream === undefined) return undefined
  return { stream, sequence: Number(sequence) }
}
