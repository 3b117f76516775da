// What lines and events look like on the wire (WHATWG HTML, section 9.2.5).

export const fieldLine = /^(?:event|data|id|retry)(?::|$)/

/** An event as all good servers write it, with its id and its data. */
export const cleanEvent =
  /(?:event: message\r?\n)?(?:id: ([^\r\n\0]*)\r?\n)?data: (\{[^\r\n]*\})\r?\n\r?\n/y

/** Where the first line of a chunk ends, or -1. */
export function lineEnd(chunk: Uint8Array): number {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  const lf = bytes.indexOf(0x0a)
  const cr = bytes.indexOf(0x0d)
  return lf === -1 || (cr !== -1 && cr < lf) ? cr : lf
}

/** Where the value of a `data:` line begins; undefined for another line. */
export function dataStart(line: Uint8Array): number | undefined {
  const head = Buffer.from(line.subarray(0, 6)).toString('latin1')
  if (!head.startsWith('data:')) return undefined
  return head.endsWith(' ') ? 6 : 5
}

/** The value of a field line: one space after the colon is not part of it. */
export const valueOf = (content: string): string => {
  const colon = content.indexOf(':')
  if (colon === -1) return ''
  return content.slice(content[colon + 1] === ' ' ? colon + 2 : colon + 1)
}
