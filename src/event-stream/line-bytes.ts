// JSON text in bytes, made fit for one `data:` line on its way: `oneLine` of event.ts for what is too large to be held.
// Line breaks (legal in JSON only between tokens) become spaces; U+2028, U+2029 and U+0085, at which some clients split
// lines, become escapes. Escapes of lone surrogates stay as they came.

export interface LineBytes {
  /** What can go out now. */
  push(chunk: Uint8Array): Uint8Array
  /** What was kept back. */
  end(): Uint8Array
}

const escapes: Readonly<Record<string, string>> = {
  '\n': ' ',
  '\r': ' ',
  '\u00c2\u0085': '\\u0085',
  '\u00e2\u0080\u00a8': '\\u2028',
  '\u00e2\u0080\u00a9': '\\u2029',
}

/** In latin-1: each character is one byte of UTF-8. */
const unfit = /[\n\r]|\u00c2\u0085|\u00e2\u0080[\u00a8\u00a9]/g
const suspects = [0x0a, 0x0d, 0xc2, 0xe2]
/** The end of a chunk that may be the beginning of an unfit character. */
const begun = /(?:\u00c2|\u00e2\u0080?)$/

export function createLineBytes(): LineBytes {
  let kept = ''
  return {
    push(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      if (kept === '' && !suspects.some((byte) => bytes.includes(byte))) return chunk
      const text = kept + bytes.toString('latin1')
      kept = begun.exec(text)?.[0] ?? ''
      const whole = text.slice(0, text.length - kept.length)
      return Buffer.from(
        whole.replace(unfit, (found) => escapes[found] ?? found),
        'latin1',
      )
    },
    end: () => Buffer.from(kept, 'latin1'),
  }
}
