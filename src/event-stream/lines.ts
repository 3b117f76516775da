// From bytes to lines, whatever ends them. A CR ends its line at once: waiting for an LF that may follow would keep
// every event of a CR-only stream back by one. Nothing here knows of fields.

export interface Lines {
  feed(chunk: Uint8Array): void
  /** Passes on a last line that nothing ended. */
  end(): void
  /** Bytes of the line whose end has not come yet. */
  readonly waiting: number
  /** Gives those bytes away: what is fed next begins a line. */
  giveUp(): Uint8Array
}

export interface LinesListener {
  /** Each line without its end, and its bytes. */
  line(content: string, bytes: number): void
  /** `waiting` has grown. */
  waits(): void
  /** Where a line may begin an event: takes what it can from `start` on, whole lines, and answers where the rest begins. */
  skip(text: string, start: number): number
}

export function createLines({ line, waits, skip }: LinesListener): Lines {
  let text = newDecoder()
  let first = true
  let rest: string[] = []
  let waiting = 0
  /** The last chunk may have ended inside a character. */
  let carries = false
  /** The end of what was fed: a character may have begun there. */
  let last: Uint8Array = new Uint8Array()
  /** The last character was CR: a following LF belongs to it. */
  let afterCr = false

  /** `ascii`: every character is one byte. */
  const take = (piece: string, ascii: boolean): void => {
    let start = 0
    if (afterCr && piece !== '') {
      afterCr = false
      if (piece.startsWith('\n')) start = 1
    }
    if (rest.length === 0) start = skip(piece, start)
    let lf = piece.indexOf('\n', start)
    let cr = piece.indexOf('\r', start)
    while (lf !== -1 || cr !== -1) {
      const end = cr !== -1 && (lf === -1 || cr < lf) ? cr : lf
      const part = piece.slice(start, end)
      const bytes = waiting + (ascii ? part.length : utf8Length(part))
      const content = rest.length === 0 ? part : rest.join('') + part
      rest = []
      waiting = 0
      start = end + 1
      if (end === cr) {
        if (start === piece.length) afterCr = true
        else if (piece[start] === '\n') start++
      }
      line(content, bytes)
      if (content === '' && !afterCr) start = skip(piece, start)
      if (lf !== -1 && lf < start) lf = piece.indexOf('\n', start)
      if (cr !== -1 && cr < start) cr = piece.indexOf('\r', start)
    }
    if (start < piece.length) {
      const part = piece.slice(start)
      rest.push(part)
      waiting += ascii ? part.length : utf8Length(part)
      waits()
    }
  }

  return {
    feed(chunk) {
      if (chunk.length >= longestCharacter) last = chunk
      else last = Buffer.concat([last.subarray(-longestCharacter), chunk])
      let piece = text.decode(chunk, { stream: true })
      const ascii = !carries && piece.length === chunk.length
      if (chunk.length > 0) carries = (chunk[chunk.length - 1] ?? 0) > 0x7f
      if (first && piece !== '') {
        first = false
        // One byte order mark at the very start is legal (WHATWG HTML, section 9.2.5).
        if (piece.startsWith('\uFEFF')) piece = piece.slice(1)
      }
      take(piece, ascii)
    },
    end() {
      take(text.decode(), false)
      const content = rest.join('')
      const bytes = waiting
      rest = []
      waiting = 0
      if (bytes > 0) line(content, bytes)
    },
    get waiting() {
      return waiting
    },
    giveUp() {
      const bytes = Buffer.concat([Buffer.from(rest.join('')), unfinished(last)])
      last = new Uint8Array()
      text = newDecoder()
      rest = []
      waiting = 0
      carries = false
      return bytes
    },
  }
}

/** Bytes. */
const longestCharacter = 4

const newDecoder = (): InstanceType<typeof TextDecoder> =>
  new TextDecoder('utf-8', { ignoreBOM: true })

/** The bytes at the end that begin a character and do not finish it. */
function unfinished(chunk: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(3, chunk.length); back++) {
    const byte = chunk[chunk.length - back] ?? 0
    if (byte < 0x80) break
    if (byte < 0xc0) continue
    const needs = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    return back < needs ? chunk.subarray(chunk.length - back) : new Uint8Array()
  }
  return new Uint8Array()
}

const utf8Length = (text: string): number => {
  let bytes = text.length
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    // Each half of a surrogate pair counts two of the four bytes.
    if (code > 0x7f) bytes += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1
  }
  return bytes
}
