// A backend's event stream, from bytes to what it says. Lines are mended here, before the standard parser, which would
// drop the malformed ones in silence; events are read in repair.ts. Nothing is unbounded.
import { createParser } from 'eventsource-parser'
import { ProxyError } from '../errors.ts'
import { readEvent } from './repair.ts'
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

/** Looking at data of many lines after each of them would take quadratic time. */
const mostTries = 8

const fieldLine = /^(?:event|data|id|retry)(?::|$)/

export function createDecoder(options: DecodeOptions, on: DecodeListener): Decoder {
  const { rules, maxEventBytes } = options
  const text = new TextDecoder('utf-8', { ignoreBOM: true })
  let first = true
  /** The beginning of a line whose end has not come yet. */
  let rest: string[] = []
  let restLength = 0
  /** The last character was CR: a following LF belongs to it. */
  let afterCr = false
  /** Characters since the last event, lines that are waiting included. */
  let size = 0
  /** The event under way, as far as rules need to know it. */
  let name = ''
  let data: string[] = []
  /** How often its data has been looked at for being whole. */
  let tries = 0
  /** Data that was dispatched though it was a JSON text cut short: what follows unprefixed may complete it. */
  let broken: string[] | undefined
  let brokenName = ''
  /** Brackets open in `broken`, so that it is parsed only when it may be complete. */
  let depth = 0
  /** `event: endpoint` was followed by a blank line. */
  let danglingEndpoint = false
  let retry: number | undefined
  let lastEventId = ''
  /** The id of the event under way; it counts once the event has ended, also when it carries no data. */
  let id: string | undefined
  let candidate: string | undefined

  const context: EventContext = {
    rules,
    endpoints: options.endpoints,
    isEndpoint: options.isEndpoint ?? (() => false),
    repaired: (rule, line) => on.repaired(rule, line),
    candidate: (found) => {
      candidate = found
    },
  }

  const parser = createParser({
    onEvent(event) {
      dispatched(event.event ?? '', event.data)
    },
    onRetry: (ms) => {
      retry = ms
    },
  })

  const deliver = (eventName: string, eventData: string): void => {
    for (const value of readEvent(eventName, eventData, context)) on.decoded(value)
  }

  const dispatched = (eventName: string, eventData: string): void => {
    if (danglingEndpoint && eventName === '') {
      danglingEndpoint = false
      const url = eventData.trim()
      if (isOn(rules, 'blank-line-in-event') && context.isEndpoint(url) && !url.startsWith('{')) {
        on.repaired('blank-line-in-event', eventData)
        return deliver('endpoint', eventData)
      }
    }
    if (eventName !== '') danglingEndpoint = false
    if (isOn(rules, 'unprefixed-json') && isCutShort(eventData)) hold(eventName, eventData)
    else deliver(eventName, eventData)
  }

  const hold = (eventName: string, eventData: string): void => {
    broken = [eventData]
    brokenName = eventName
    depth = depthOf(eventData)
  }

  /** Gives up waiting for the rest of a JSON text. */
  const giveUp = (): void => {
    if (broken === undefined) return
    const whole = broken.join('\n')
    broken = undefined
    deliver(brokenName, whole)
  }

  /** An unprefixed line while a JSON text is incomplete belongs to it. */
  const continueBroken = (content: string): void => {
    broken?.push(content)
    depth += depthOf(content)
    if (depth > 0) return
    const whole = broken?.join('\n') ?? ''
    broken = undefined
    size = 0
    if (isJson(whole)) on.repaired('unprefixed-json', content)
    deliver(brokenName, whole)
  }

  const blank = (): void => {
    if (name === 'endpoint' && data.length === 0) danglingEndpoint = true
    name = ''
    data = []
    tries = 0
    lastEventId = id ?? lastEventId
    id = undefined
    parser.feed('\n')
    if (broken === undefined) size = 0
  }

  const field = (content: string): void => {
    if (content.startsWith('data')) {
      const value = valueOf(content)
      if (data.length > 0 && startsAnew(value)) split(content)
      data.push(value)
    } else if (content.startsWith('event')) {
      if (data.length > 0 && isComplete()) split(content)
      name = eventName(content)
      parser.feed(`event: ${name}\n`)
      return
    } else if (content.startsWith('id') && !content.includes('\0')) id = valueOf(content)
    parser.feed(`${content}\n`)
  }

  const eventName = (content: string): string => {
    const value = valueOf(content)
    const trimmed = value.trim()
    if (trimmed === value || !isOn(rules, 'padded-event-name')) return value
    on.repaired('padded-event-name', content)
    return trimmed
  }

  /** Ends the event under way, since another one begins on this line. */
  const split = (content: string): void => {
    on.repaired('missing-blank-line', content)
    blank()
  }

  const mayEnd = (): boolean =>
    isOn(rules, 'missing-blank-line') && (name === '' || name === 'message' || name === 'endpoint')

  const isComplete = (): boolean => {
    if (!mayEnd() || tries >= mostTries) return false
    tries++
    const whole = data.join('\n')
    return isMessage(whole) || (name === 'endpoint' && context.isEndpoint(whole.trim()))
  }

  /** A data line that begins a message, where the lines before are a whole one. */
  const startsAnew = (value: string): boolean => {
    const begin = value.trimStart()[0]
    if (name === 'endpoint') return begin === '{' && isComplete()
    return (begin === '{' || begin === '[') && endsValue(data.at(-1) ?? '') && isComplete()
  }

  const line = (content: string): void => {
    // Comments cost nothing, or a stream that is kept alive by them would meet the limit some day.
    if (content.startsWith(':')) return
    size += content.length + 1
    if (content === '') {
      if (broken === undefined) blank()
      return
    }
    if (fieldLine.test(content)) {
      giveUp()
      if (!escaped(content)) field(content)
      return
    }
    const mended = mend(content)
    if (mended !== undefined) {
      giveUp()
      if (!escaped(mended)) field(mended)
      return
    }
    if (broken !== undefined) return continueBroken(content)
    if (data.length === 0) size = 0
    else if (isOn(rules, 'unprefixed-json') && startsJson(data[0] ?? '')) {
      hold(name, data.join('\n'))
      name = ''
      data = []
      parser.reset()
      continueBroken(content)
    }
  }

  /** Line breaks written out: the line is several, and has been read as such. */
  const escaped = (content: string): boolean => {
    if (!content.includes('\\n') || !isOn(rules, 'escaped-line-breaks')) return false
    const parts = content.split(/(?:\\r)?\\n/)
    if (!content.startsWith('event') || !parts.some((part) => fieldLine.test(part.trim()))) {
      return false
    }
    on.repaired('escaped-line-breaks', content)
    for (const part of parts) line(part)
    return true
  }

  /** What the line rules make of a line, if it is a field in the end. */
  const mend = (content: string): string | undefined => {
    const fired: RuleName[] = []
    let mended = content
    for (const rule of lineRules) {
      if (!isOn(rules, rule.name)) continue
      const next = rule.mend(mended)
      if (next === undefined) continue
      mended = next
      fired.push(rule.name)
    }
    if (fired.length === 0 || !fieldLine.test(mended)) return undefined
    for (const rule of fired) on.repaired(rule, content)
    return mended
  }

  const checkSize = (): void => {
    if (size + restLength <= maxEventBytes) return
    throw new ProxyError(
      'EVENT_TOO_LARGE',
      `the backend sent an event of more than limits.event, ${maxEventBytes} bytes`,
    )
  }

  const take = (piece: string): void => {
    let start = 0
    if (afterCr && piece !== '') {
      afterCr = false
      if (piece.startsWith('\n')) start = 1
    }
    for (;;) {
      const lf = piece.indexOf('\n', start)
      const cr = piece.indexOf('\r', start)
      const end = cr !== -1 && (lf === -1 || cr < lf) ? cr : lf
      if (end === -1) break
      rest.push(piece.slice(start, end))
      const content = rest.length === 1 ? (rest[0] ?? '') : rest.join('')
      rest = []
      restLength = 0
      line(content)
      checkSize()
      start = end + 1
      if (end === cr) {
        if (start === piece.length) afterCr = true
        else if (piece[start] === '\n') start++
      }
    }
    if (start < piece.length) {
      rest.push(piece.slice(start))
      restLength += piece.length - start
      checkSize()
    }
  }

  return {
    feed(chunk) {
      let piece = text.decode(chunk, { stream: true })
      if (first && piece !== '') {
        first = false
        // One byte order mark at the very start is legal (WHATWG HTML, section 9.2.5).
        if (piece.startsWith('\uFEFF')) piece = piece.slice(1)
      }
      take(piece)
    },
    end() {
      take(text.decode())
      if (restLength > 0) line(rest.join(''))
      rest = []
      restLength = 0
      giveUp()
      const whole = data.join('\n')
      if (data.length === 0 || !isOn(rules, 'unterminated-event') || !isMessage(whole)) return
      on.repaired('unterminated-event', whole)
      blank()
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

/** The value of a field line: one space after the colon is not part of it. */
const valueOf = (content: string): string => {
  const colon = content.indexOf(':')
  if (colon === -1) return ''
  return content.slice(content[colon + 1] === ' ' ? colon + 2 : colon + 1)
}

const startsJson = (data: string): boolean => /^\s*[{[]/.test(data)

const isJson = (data: string): boolean => {
  try {
    JSON.parse(data)
    return true
  } catch {
    return false
  }
}

/** JSON that stops too early. A cheap look first: most data is whole. */
const isCutShort = (data: string): boolean => startsJson(data) && !endsValue(data) && !isJson(data)

/** Brackets opened less brackets closed, outside of strings. One pass: a pattern could be made to take quadratic time. */
function depthOf(text: string): number {
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (quoted && character === '\\') at++
    else if (character === '"') quoted = !quoted
    else if (quoted) continue
    else if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') depth--
  }
  return depth
}

const endsValue = (text: string): boolean => /[}\]]/.test(text.trimEnd().at(-1) ?? '')

const isMessage = (data: string): boolean => {
  try {
    const value: unknown = JSON.parse(data)
    return (
      typeof value === 'object' &&
      value !== null &&
      ('method' in value || 'result' in value || 'error' in value)
    )
  } catch {
    return false
  }
}
