// Reads the body of a backend's HTTP answer to a POST, whatever its content type says. What the answer means for the
// message that was sent is the dialects' affair.
import { isUtf8 as isValidUtf8 } from 'node:buffer'
import { createDecoder } from '../event-stream/decode.ts'
import type { Decoder } from '../event-stream/decode.ts'
import type { RuleName, RuleSwitches } from '../event-stream/rules.ts'
import { ProxyError } from '../errors.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { charsetOf, isUtf8 } from '../protocol/charset.ts'
import { heldBytes } from '../protocol/passing.ts'
import type { Sink } from '../protocol/passing.ts'
import { readJson } from './answer-json.ts'
import type { HttpAnswer } from './http-answer.ts'
import { createSniffer, sniffWhole } from './sniff.ts'
import type { Form } from './sniff.ts'

export type Answer =
  /** An event stream; its messages have been passed on as they came. */
  | { readonly form: 'stream'; readonly at: StreamPosition }
  /** JSON: what was a message in it, and the text. */
  | { readonly form: 'json'; readonly messages: readonly Message[]; readonly text: string }
  /** `title` is that of an HTML page; `text` is cut to what a log line holds. */
  | { readonly form: 'html'; readonly title: string; readonly text: string }
  | { readonly form: 'text'; readonly text: string }
  /** JSON that has gone into a sink. */
  | { readonly form: 'passed' }
  | { readonly form: 'empty' }
  /** The body broke off or is larger than the limit; `at` if it was an event stream. */
  | { readonly form: 'broken'; readonly error: ProxyError; readonly at?: StreamPosition }

/** Where an event stream ended, for going on from there (2025-03-26, Transports, "Resumability and Redelivery"). */
export interface StreamPosition {
  /** Empty where the backend gives its events no ids. */
  readonly lastEventId: string
  /** ms after which the backend wants to be asked again. */
  readonly retry: number | undefined
}

export interface AnswerOptions {
  readonly route: string
  /** Bytes of one event or one JSON answer. */
  readonly maxEventBytes: number
  readonly rules: RuleSwitches
  repaired(rule: RuleName, line: string): void
}

export interface AnswerListener {
  /** A message of an event stream. */
  message(message: Message): void
  stray?(text: string): void
  trouble?(text: string): void
  /**
   * A message is larger than what is held, and this is how its text begins. Answers where all of it is to go, or
   * undefined to have it read whole. `length` as in `BackendListener.pass`.
   */
  large?(head: readonly Uint8Array[], length: number | undefined): Sink | undefined
}

/** Of an error page only this much is read; the title stands at its start. */
const pageBytes = 65_536
const shownCharacters = 200

const shown = (text: string): string => text.replace(/\s+/g, ' ').trim().slice(0, shownCharacters)
const titleOf = (page: string): string => shown(/<title[^>]*>([^<]*)/i.exec(page)?.[1] ?? '')

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength)

/** Decodes by UTF-8, and by the declared charset only where that fails. */
function textOf(chunks: readonly Uint8Array[], contentType: string): string {
  const [first] = chunks
  const bytes = chunks.length === 1 && first !== undefined ? asBuffer(first) : Buffer.concat(chunks)
  // Faster than a decoder for each answer, but it would leave a byte order mark where it is.
  if (isValidUtf8(bytes) && bytes[0] !== 0xef) return bytes.toString()
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    try {
      return new TextDecoder(charsetOf(contentType)).decode(bytes)
    } catch {
      return new TextDecoder().decode(bytes)
    }
  }
}

/**
 * At once where the body has come already, else when it is over; never rejects. Destroying the body ends it early with
 * `broken`.
 */
export function readAnswer(
  answer: HttpAnswer,
  options: AnswerOptions,
  on: AnswerListener,
): Answer | Promise<Answer> {
  const chunks = answer.body.takeWhole?.()
  return chunks === undefined
    ? readAsItComes(answer, options, on)
    : readWhole(chunks, answer.headers['content-type'] ?? '', options, on)
}

/** The short road, which most answers to small calls take. */
function readWhole(
  chunks: readonly Uint8Array[],
  contentType: string,
  options: AnswerOptions,
  on: AnswerListener,
): Answer {
  const form = sniffWhole(chunks, contentType)
  if (form !== 'stream') return answerIn(form, chunks, contentType, options)
  const decoder = streamDecoder(options, on, () => undefined)
  try {
    for (const chunk of chunks) decoder.feed(chunk)
    decoder.end()
  } catch (reason) {
    return { form: 'broken', error: ProxyError.from(reason), at: positionOf(decoder) }
  }
  return { form: 'stream', at: positionOf(decoder) }
}

const sizeOf = (chunks: readonly Uint8Array[]): number =>
  chunks.reduce((sum, { length }) => sum + length, 0)

const tooLarge = ({ route, maxEventBytes }: AnswerOptions): ProxyError =>
  new ProxyError(
    'EVENT_TOO_LARGE',
    `the backend of route "${route}" sent an answer larger than ${maxEventBytes} bytes`,
  )

/** What has been read whole and is no event stream. */
function answerIn(
  form: Exclude<Form, 'stream'>,
  chunks: readonly Uint8Array[],
  contentType: string,
  options: AnswerOptions,
): Answer {
  if (form === 'empty') return { form }
  if (form === 'json' && sizeOf(chunks) > options.maxEventBytes) {
    return { form: 'broken', error: tooLarge(options) }
  }
  const text = textOf(chunks, contentType)
  if (form === 'html') return { form, title: titleOf(text), text: shown(text) }
  if (form === 'text') return { form, text: shown(text) }
  const { messages, isJson } = readJson(text, options)
  if (!isJson) return { form: 'text', text: shown(text) }
  return {
    form,
    messages,
    get text() {
      return shown(text)
    },
  }
}

function readAsItComes(
  answer: HttpAnswer,
  options: AnswerOptions,
  on: AnswerListener,
): Promise<Answer> {
  return new Promise((resolve) => {
    const { body, headers } = answer
    const { route, maxEventBytes } = options
    const contentType = headers['content-type'] ?? ''
    const sniffer = createSniffer(contentType)
    let form: Form | undefined
    let decoder: Decoder | undefined
    let chunks: Uint8Array[] = []
    let size = 0
    let over = false
    let sink: Sink | undefined
    let offered = false

    const broken = (error: ProxyError): void => {
      over = true
      const at = decoder === undefined ? undefined : positionOf(decoder)
      resolve({ form: 'broken', error, ...(at && { at }) })
      body.destroy()
    }
    const large = (head: readonly Uint8Array[], length?: number): Sink | undefined => {
      const to = on.large?.(head, length)
      return to && paced(to, body)
    }
    /** Offers a large text to whoever may take it as it is. */
    const offer = (): void => {
      offered = true
      const length =
        headers['content-encoding'] === undefined ? headers['content-length'] : undefined
      sink = large(chunks, length === undefined ? undefined : Number(length))
      if (sink === undefined) return
      for (const each of chunks) sink.write(each)
      chunks = []
    }
    const keep = (chunk: Uint8Array): void => {
      if (sink !== undefined) return void sink.write(chunk)
      chunks.push(chunk)
      size += chunk.length
      if (form === 'json' && size > heldBytes && !offered && isUtf8(contentType)) {
        offer()
        if (sink !== undefined) return
      }
      if (form === 'json' && size > maxEventBytes) {
        broken(tooLarge(options))
      } else if (form !== 'json' && size > pageBytes) {
        over = true
        resolve(finished(form ?? 'text'))
        body.destroy()
      }
    }
    const decode = (task: (to: Decoder) => void): void => {
      decoder ??= streamDecoder(options, on, large)
      task(decoder)
    }
    const finished = (whole: Form): Answer => {
      if (whole === 'stream') return { form: 'stream', at: positionOf(decoder) }
      if (sink === undefined) return answerIn(whole, chunks, contentType, options)
      sink.end()
      return { form: 'passed' }
    }

    const take = (chunk: Uint8Array): void => {
      if (form === undefined) {
        form = sniffer.take(chunk)
        if (form === undefined) return
        const { held } = sniffer
        if (form === 'stream') decode((to) => held.forEach((each) => to.feed(each)))
        else held.forEach(keep)
      } else if (form === 'stream') decode((to) => to.feed(chunk))
      else keep(chunk)
    }
    const guarded = (task: () => void): void => {
      try {
        task()
      } catch (reason) {
        broken(ProxyError.from(reason))
      }
    }
    body.on('data', (chunk: Uint8Array) => guarded(() => take(chunk)))
    body.once('end', () => guarded(ended))
    const ended = (): void => {
      if (over) return
      if (form === undefined) {
        form = sniffer.end()
        const { held } = sniffer
        if (form === 'stream') decode((to) => held.forEach((each) => to.feed(each)))
        else chunks = [...held]
      }
      if (form === 'stream') decode((to) => to.end())
      const whole = finished(form)
      over = true
      resolve(whole)
    }
    const cut = (cause?: Error): void => {
      if (over) return
      const text = `the backend of route "${route}" broke its answer off`
      broken(new ProxyError('BACKEND_STREAM_ENDED', text, cause && { cause }))
    }
    body.once('error', cut)
    body.once('close', () => cut())
  })
}

const positionOf = (decoder: Decoder | undefined): StreamPosition => ({
  lastEventId: decoder?.lastEventId ?? '',
  retry: decoder?.retry,
})

/** Stops reading `body` while the sink is slow. */
const paced = (to: Sink, body: HttpAnswer['body']): Sink => ({
  ...to,
  write(chunk) {
    if (to.write(chunk)) return true
    body.pause()
    to.onceDrained(() => body.resume())
    return false
  },
})

function streamDecoder(
  options: AnswerOptions,
  on: AnswerListener,
  large: (head: readonly Uint8Array[]) => Sink | undefined,
): Decoder {
  const { maxEventBytes, rules } = options
  return createDecoder(
    { maxEventBytes, rules, endpoints: false },
    {
      decoded(value) {
        if (value.kind === 'message') on.message(value.message)
        else if (value.kind === 'stray') on.stray?.(value.text)
        else if (value.kind === 'error') on.trouble?.(value.text)
      },
      repaired: (rule, line) => options.repaired(rule, line),
      ...(on.large && { large: (head: Uint8Array) => large([head]) }),
    },
  )
}
