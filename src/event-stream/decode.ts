// A backend's event stream, from bytes to what it says. Lines are mended here and put together to events by the standard
// (WHATWG HTML, section 9.2.6); events are read in repair.ts. Nothing is unbounded. No parser of a library stands between:
// those drop malformed lines in silence, and feeding one line by line was an eighth of the cost of a fast stream.
import { ProxyError } from '../errors.ts'
import { heldBytes } from '../protocol/passing.ts'
import type { Sink } from '../protocol/passing.ts'
import { cleanEvent, dataStart, fieldLine, lineEnd, valueOf } from './fields.ts'
import { createJsonScan } from './json-scan.ts'
import type { JsonScan } from './json-scan.ts'
import { createLines } from './lines.ts'
import { isHeartbeatName, isJson, readClean, readEvent } from './repair.ts'
import type { Decoded, EventContext } from './repair.ts'
import { isOn, lineRules } from './rules.ts'
import type { RuleName, RuleSwitches } from './rules.ts'

export type { Decoded } from './repair.ts'

export interface DecodeOptions {
  /** Bytes of one event, its lines and line ends included. */
  readonly maxEventBytes: number
  readonly rules: RuleSwitches
  /** The GET stream of the `sse` dialect is read: endpoint events mean something. */
  readonly endpoints: boolean
  /** Whether data could be where the backend wants its POSTs: the caller knows its origin. */
  readonly isEndpoint?: (data: string) => boolean
}

export interface DecodeListener {
  decoded(value: Decoded): void
  /** `line` is what was mended, for the log. */
  repaired(rule: RuleName, line: string): void
  /**
   * An event's data, all on one line, is larger than what is held, and this is how it begins. Answers where all of it is
   * to go, or undefined to have it decoded whole.
   */
  large?(head: Uint8Array): Sink | undefined
}

export interface Decoder {
  /** Both throw EVENT_TOO_LARGE once an event exceeds its limit; the decoder is of no use after that. */
  feed(chunk: Uint8Array): void
  /** The stream has ended. */
  end(): void
  /** The latest `retry:`, in ms. */
  readonly retry: number | undefined
  readonly lastEventId: string
  /** An endpoint in odd clothes, to be taken if no true one comes in time. */
  readonly candidate: string | undefined
}

const endsValue = /[}\]]$/
/** No endpoint is longer than this. */
const longestUrl = 8192

export function createDecoder(options: DecodeOptions, on: DecodeListener): Decoder {
  const { rules, maxEventBytes } = options
  /** Bytes since the last event. */
  let size = 0
  /** The event under way, as far as rules need to know it. */
  let name = ''
  let data: string[] = []
  /** Made when first asked for: most events are one line and whole. */
  let scan: JsonScan | undefined
  let scanned = 0
  /** What `isComplete` found for `scan` or `mixed`, until more data comes. */
  let verdict: boolean | undefined
  /** The data with the lines between that have no field name: read only where the data alone is no JSON. */
  let mixed: { readonly lines: string[]; readonly scan: JsonScan } | undefined
  /** A blank line came while `mixed` was an incomplete JSON text: what follows may complete it. */
  let held: string | undefined
  /** The event was complete and has been passed on, before the blank line that should end it. */
  let early = false
  /** An `event:` line came after that: a new event, if data follows. */
  let owed = false
  /** `event: endpoint` was followed by a blank line. */
  let danglingEndpoint = false
  let retry: number | undefined
  let lastEventId = ''
  /** The id of the event under way; it counts once the event has ended, also when it carries no data. */
  let id: string | undefined
  let candidate: string | undefined
  /** Where the rest of the line under way goes. */
  let sink: Sink | undefined
  /** Where further lines of the same event's data would go. */
  let open: Sink | undefined
  /** The line under way has been offered. */
  let offered = false

  const may = (rule: RuleName): boolean => isOn(rules, rule)
  const context: EventContext = {
    rules,
    endpoints: options.endpoints,
    isEndpoint: options.isEndpoint ?? (() => false),
    repaired: (rule, line) => on.repaired(rule, line),
    candidate: (found) => {
      candidate = found
    },
  }

  const scanData = (): JsonScan => {
    scan ??= createJsonScan()
    for (; scanned < data.length; scanned++) scan.push(data[scanned] ?? '')
    return scan
  }

  const deliver = (eventName: string, eventData: string): void => {
    for (const value of readEvent(eventName, eventData, context)) on.decoded(value)
  }

  const dispatched = (eventName: string, eventData: string): void => {
    if (danglingEndpoint && eventName === '') {
      danglingEndpoint = false
      const url = eventData.trim()
      if (may('blank-line-in-event') && context.isEndpoint(url) && !url.startsWith('{')) {
        on.repaired('blank-line-in-event', eventData)
        return deliver('endpoint', eventData)
      }
    }
    if (eventName !== '') danglingEndpoint = false
    if (mixed !== undefined && !isJson(eventData)) return dispatchMixed(eventName)
    mixed = undefined
    // A cheap look first: what ends like a JSON text has no more lines.
    if (endsValue.test(eventData) || !may('unprefixed-json') || !goesOn(scanData())) {
      return deliver(eventName, eventData)
    }
    mixed = { lines: [...data], scan: scanData() }
    held = eventName
  }

  const dispatchMixed = (eventName: string): void => {
    if (mixed === undefined) return
    if (goesOn(mixed.scan)) {
      held = eventName
      return
    }
    const whole = mixed.lines.join('\n')
    mixed = undefined
    held = undefined
    if (isJson(whole)) on.repaired('unprefixed-json', whole)
    deliver(eventName, whole)
  }

  /** Gives up waiting for the rest of a JSON text. */
  const giveUp = (): void => {
    if (held === undefined) return
    const eventName = held
    const whole = mixed?.lines.join('\n') ?? ''
    mixed = undefined
    held = undefined
    size = 0
    deliver(eventName, whole)
  }

  const dispatch = (): void => {
    lastEventId = id ?? lastEventId
    id = undefined
    if (data.length > 0) dispatched(name, data.length === 1 ? (data[0] ?? '') : data.join('\n'))
    name = ''
    data = []
    scan = undefined
    scanned = 0
    verdict = undefined
    if (held === undefined) size = 0
  }

  const blank = (): void => {
    if (held !== undefined) return
    if (name === 'endpoint' && data.length === 0 && !owed) danglingEndpoint = true
    early = false
    owed = false
    dispatch()
  }

  const field = (content: string): void => {
    giveUp()
    const value = valueOf(content)
    if (content.startsWith('data')) {
      const empty = value.trim() === ''
      if (early && empty) return
      if (!empty && mayEnd()) dispatchEarly()
      if (early) on.repaired('missing-blank-line', content)
      early = false
      owed = false
      data.push(value)
      mixed?.lines.push(value)
      mixed?.scan.push(value)
      if (!empty) verdict = undefined
    } else if (content.startsWith('event')) {
      if (mayEnd()) dispatchEarly()
      owed = early
      name = eventName(content, value)
    } else if (content.startsWith('id') && !content.includes('\0')) {
      if (id !== undefined && mayEnd()) dispatchEarly()
      id = value
    } else if (content.startsWith('retry') && /^\d+$/.test(value)) {
      if (Number.isSafeInteger(Number(value))) retry = Number(value)
    }
  }

  const eventName = (content: string, value: string): string => {
    const trimmed = value.trim()
    if (trimmed === value || !may('padded-event-name')) return value
    on.repaired('padded-event-name', content)
    return trimmed
  }

  /** Passes on a complete event whose blank line has not come, perhaps never will. */
  const dispatchEarly = (): void => {
    dispatch()
    early = true
  }

  /** Nothing that may follow could belong to the event: its JSON text is whole, or it has the one URL it can have. */
  const isComplete = (): boolean => {
    if (data.length === 0) return false
    if (name === 'endpoint') {
      const url = data.length === 1 ? (data[0] ?? '').trim() : ''
      if (url === '' || url.length > longestUrl) return false
      return options.endpoints && (url.startsWith('{') ? isJson(url) : context.isEndpoint(url))
    }
    if (name !== '' && name !== 'message') return false
    verdict ??=
      (scanData().state === 'closed' && isJson(data.join('\n'))) ||
      (mixed?.scan.state === 'closed' && isJson(mixed.lines.join('\n')))
    return verdict
  }

  /** A new event may begin on this line though no blank line ended the one before. */
  const mayEnd = (): boolean =>
    !early &&
    may('missing-blank-line') &&
    (isComplete() || (data.length > 0 && isHeartbeatName(name)))

  /** Offers a large line to whoever may take its data as it is. Only a plain one: nothing before it to be mended. */
  const offer = (): void => {
    offered = true
    const plain = data.length === 0 && held === undefined && mixed === undefined && !early
    if (!plain || (name !== '' && name !== 'message')) return
    const bytes = lines.giveUp()
    const start = dataStart(bytes)
    sink = start === undefined ? undefined : on.large?.(bytes.subarray(start))
    if (sink === undefined) lines.feed(bytes)
    else sink.write(bytes.subarray(start))
  }

  /** Passes on what belongs to the large line; answers what follows it. */
  const pour = (to: Sink, chunk: Uint8Array): Uint8Array => {
    const end = lineEnd(chunk)
    if (end === -1) {
      to.write(chunk)
      return new Uint8Array()
    }
    if (end > 0) to.write(chunk.subarray(0, end))
    sink = undefined
    open = to
    const lf = chunk[end] === 0x0d && chunk[end + 1] === 0x0a ? 1 : 0
    return chunk.subarray(end + 1 + lf)
  }

  /** A line behind a large one: more of its data, or the event is whole. */
  const follow = (to: Sink, content: string): boolean => {
    if (content.startsWith('data:')) {
      to.write(Buffer.from(`\n${valueOf(content)}`))
      return true
    }
    open = undefined
    to.end()
    return false
  }

  const line = (content: string, bytes: number): void => {
    offered = false
    if (open !== undefined && !content.startsWith(':') && follow(open, content)) return
    // Comments cost nothing, or a stream that is kept alive by them would meet the limit some day.
    if (content.startsWith(':')) return checkSize(bytes)
    size += bytes + 1
    checkSize(0)
    if (content === '') return blank()
    const meant = fieldLine.test(content) ? content : mend(content)
    if (meant === undefined) return stranger(content)
    if (!escaped(meant, bytes)) field(meant)
  }

  /** A line that is no field. By the standard it means nothing. */
  const stranger = (content: string): void => {
    if (held === undefined && content.trim() === '') {
      if (!early && isComplete() && may('indented-field')) dispatchEarly()
      if (!early || !may('indented-field')) return
      on.repaired('indented-field', content)
      return blank()
    }
    if (held === undefined && data.length === 0) {
      if (id === undefined) size = 0
      return
    }
    const begun = mixed?.scan ?? scanData()
    if (!may('unprefixed-json') || !goesOn(begun)) return
    mixed ??= { lines: [...data], scan: copyOf(data) }
    mixed.lines.push(content)
    mixed.scan.push(content)
    verdict = undefined
    if (held !== undefined && !goesOn(mixed.scan)) {
      dispatchMixed(held)
      size = 0
    }
  }

  /** Line breaks written out: the line is several, and has been read as such. */
  const escaped = (content: string, bytes: number): boolean => {
    if (!content.startsWith('event') || !content.includes('\\n')) return false
    if (!may('escaped-line-breaks')) return false
    const parts = content.split(/(?:\\r)?\\n/)
    if (!parts.slice(1).some((part) => fieldLine.test(part.trim()))) return false
    on.repaired('escaped-line-breaks', content)
    size -= bytes + 1
    for (const part of parts) line(part, part.length)
    return true
  }

  /** What the line rules make of a line, if it is a field in the end. */
  const mend = (content: string): string | undefined => {
    const fired: RuleName[] = []
    let mended = content
    for (const rule of lineRules) {
      if (!may(rule.name)) continue
      const next = rule.mend(mended)
      if (next === undefined) continue
      mended = next
      fired.push(rule.name)
    }
    if (fired.length === 0 || !fieldLine.test(mended)) return undefined
    for (const rule of fired) on.repaired(rule, content)
    return mended
  }

  const checkSize = (more: number): void => {
    if (size + more <= maxEventBytes) return
    throw new ProxyError(
      'EVENT_TOO_LARGE',
      `the backend sent an event of more than limits.event, ${maxEventBytes} bytes`,
    )
  }

  /**
   * Whole events that nothing is to be mended in, one after another: most streams have no others, and line by line they
   * cost twice as much. Whatever looks odd is left to the lines.
   */
  const skipClean = (text: string, from: number): number => {
    let at = from
    while (untouched()) {
      cleanEvent.lastIndex = at
      const match = cleanEvent.exec(text)
      const [whole = '', eventId, json = ''] = match ?? []
      // Characters may have up to three bytes.
      if (match === null || whole.length * 3 > maxEventBytes) break
      const message = readClean(json)
      if (message === undefined) break
      at += whole.length
      size = 0
      if (eventId !== undefined) lastEventId = eventId
      on.decoded({ kind: 'message', message })
    }
    return at
  }

  /** No event is under way. */
  const untouched = (): boolean =>
    name === '' &&
    data.length === 0 &&
    id === undefined &&
    held === undefined &&
    mixed === undefined &&
    open === undefined &&
    !early &&
    !danglingEndpoint

  const lines = createLines({ line, waits: () => checkSize(lines.waiting), skip: skipClean })

  return {
    feed(chunk) {
      const rest = sink === undefined ? chunk : pour(sink, chunk)
      lines.feed(rest)
      if (on.large !== undefined && lines.waiting > heldBytes && !offered) offer()
      // Where the backend pauses after a complete event, its blank line may never come, and a client waits.
      if (lines.waiting === 0 && may('unterminated-event') && mayEnd()) dispatchEarly()
    },
    end() {
      if (sink !== undefined) {
        throw new ProxyError('BACKEND_STREAM_ENDED', 'the backend broke a large event off')
      }
      lines.end()
      if (open !== undefined) follow(open, '')
      giveUp()
      if (!early && may('unterminated-event') && name !== 'endpoint' && isComplete())
        dispatchEarly()
      if (early) on.repaired('unterminated-event', '')
      else if (goesOn(scanData())) on.decoded({ kind: 'error', text: excerpt(data.join('\n')) })
      early = false
    },
    get retry() {
      return retry
    },
    get lastEventId() {
      return lastEventId
    },
    get candidate() {
      return candidate
    },
  }
}

/** More lines can make it whole: it is open, and not inside a string, where no line may break. */
const goesOn = (scan: JsonScan): boolean => scan.state === 'open' && !scan.inString

const copyOf = (data: readonly string[]): JsonScan => {
  const scan = createJsonScan()
  for (const each of data) scan.push(each)
  return scan
}

const excerpt = (text: string): string => `the stream ended inside an event: ${text.slice(0, 200)}`
