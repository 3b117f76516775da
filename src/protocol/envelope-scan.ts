// Looks at the envelope of a JSON-RPC message while its bytes pass by: which members it has, and whether the object has
// closed. It counts brackets and strings and knows nothing of values, so a text that has closed may still be no JSON.

export interface EnvelopeScan {
  push(chunk: Uint8Array): void
  /** The object goes on; it has closed, and white space may have followed; the text is no single object. */
  readonly state: 'open' | 'closed' | 'none'
  /** Members begun so far. A short string, number or literal has its text, as soon as it is over; others have ''. */
  readonly members: ReadonlyMap<string, string>
  /** A member has come twice, or twice but for letter case: readers disagree on which of them counts. */
  readonly repeats: boolean
}

const quote = 0x22
const backslash = 0x5c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const comma = 0x2c
const colon = 0x3a

/** No message has more members; one that has is not looked at further. */
const mostMembers = 64

/** Keys and values longer than this, in bytes, are not kept. */
const longest = 256

const isSpace = (byte: number): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

export function createEnvelopeScan(): EnvelopeScan {
  const members = new Map<string, string>()
  const seen = new Set<string>()
  let repeats = false
  let state: EnvelopeScan['state'] = 'open'
  let depth = 0
  let inString = false
  /** The last chunk ended inside a string, behind an odd number of backslashes. */
  let escaped = false
  /** Between a colon and the comma that ends the value; else a key is under way. */
  let inValue = false
  let key: string | undefined
  /** What the key or the value under way consists of so far; undefined once it is too long or has depth. */
  let kept: string | undefined = ''

  const isNone = (): boolean => state === 'none'

  const keep = (bytes: Buffer, start: number, end: number): void => {
    if (depth !== 1 || kept === undefined || start === end) return
    if (kept.length + end - start > longest) kept = undefined
    else kept += bytes.toString('latin1', start, end)
  }

  const keyEnded = (): void => {
    key = kept === undefined ? undefined : textOf(kept)
    if (key !== undefined) {
      members.set(key, '')
      const folded = key.toLowerCase()
      repeats ||= seen.has(folded)
      seen.add(folded)
      if (seen.size > mostMembers) state = 'none'
    }
    kept = ''
    inValue = true
  }

  const valueEnded = (): void => {
    if (key !== undefined && kept !== undefined) {
      members.set(key, Buffer.from(kept, 'latin1').toString().trim())
    }
    key = undefined
    kept = ''
    inValue = false
  }

  /** Answers the index after the string's closing quote, or -1 where it goes on. */
  const skipString = (bytes: Buffer, from: number): number => {
    let at = from
    if (escaped) {
      escaped = false
      at++
    }
    for (;;) {
      const end = bytes.indexOf(quote, at)
      const stop = end === -1 ? bytes.length : end
      let slashes = 0
      while (stop - 1 - slashes >= at && bytes[stop - 1 - slashes] === backslash) slashes++
      if (end === -1) {
        escaped = slashes % 2 === 1
        return -1
      }
      if (slashes % 2 === 0) return end + 1
      at = end + 1
    }
  }

  /** One byte outside strings. */
  const structure = (byte: number): void => {
    if (depth === 0) {
      if (isSpace(byte)) return
      if (state === 'open' && byte === openBrace) depth = 1
      else state = 'none'
    } else if (byte === openBrace || byte === openBracket) {
      if (depth === 1) kept = undefined
      depth++
    } else if (byte === closeBrace || byte === closeBracket) {
      if (depth === 1) valueEnded()
      depth--
      if (depth === 0) state = 'closed'
    } else if (depth !== 1) return
    else if (byte === colon && !inValue) keyEnded()
    else if (byte === comma && inValue) valueEnded()
    else if (inValue && kept !== undefined && !isSpace(byte)) {
      if (kept.length < longest) kept += String.fromCharCode(byte)
      else kept = undefined
    }
  }

  return {
    push(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      let at = 0
      while (at < bytes.length && !isNone()) {
        if (!inString) {
          const byte = bytes[at] ?? 0
          if (byte !== quote || depth === 0) {
            structure(byte)
            at++
            continue
          }
          inString = true
          keep(bytes, at, ++at)
        }
        const end = skipString(bytes, at)
        keep(bytes, at, end === -1 ? bytes.length : end)
        if (end === -1) return
        inString = false
        at = end
      }
    },
    get state() {
      return state
    },
    members,
    get repeats() {
      return repeats
    },
  }
}

/** What a key says; undefined where it is none. */
function textOf(latin1: string): string | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(latin1, 'latin1').toString())
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
