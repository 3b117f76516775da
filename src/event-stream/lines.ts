// From bytes to lines, whatever ends them. A CR ends its line at once: waiting for an LF that may follow would keep
// every event of a CR-only stream back by one. Nothing here knows of fields.

export interface Lines {
  feed(chunk: Uint8Array): void
  /** Passes on a last line that nothing ended. */
  end(): void
  /** Bytes of the line whose end has not come yet. */
  readonly waiting: number
}

/** `line` gets each line without its end, and its bytes. `waits` hears that `waiting` has grown. */
export function createLines(
  line: (content: string, bytes: number) => void,
  waits: () => void,
): Lines {
  const text = new TextDecoder('utf-8', { ignoreBOM: true })
  let first = true
  let rest: string[] = []
  let waiting = 0
  /** The last chunk may have ended inside a character. */
  let carries = false
  /** The last character was CR: a following LF belongs to it. */
  let afterCr = false

  /** `ascii`: every character is one byte. */
  const take = (piece: string, ascii: boolean): void => {
    let start = 0
    if (afterCr && piece !== '') {
      afterCr = false
      if (piece.startsWith('\n')) start = 1
    }
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
  }
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
