// What the body of an answer is, judged by its first bytes. Backends send event streams as text/plain, JSON as
// text/html and event streams as application/json, so the content type decides only where the bytes do not.

export type Form = 'stream' | 'json' | 'html' | 'text' | 'empty'

const headSize = 512
const field = /^(?:event|data|id|retry)\s*:|^:/i
const leading = /^(?:\u00ef\u00bb\u00bf|[\s\0])+/

/** `head` is latin-1 text of the bytes so far; `whole` says that no more will come. Undefined: too early to tell. */
export function sniff(head: string, contentType: string, whole: boolean): Form | undefined {
  const text = head.replace(leading, '')
  if (field.test(text)) return 'stream'
  const first = text.charAt(0)
  if (first === '{' || first === '[') return 'json'
  if (first === '<') return 'html'
  const lineSeen = text !== '' && /[\r\n]/.test(text)
  if (!whole && head.length < headSize && !lineSeen) return undefined
  if (text === '' && whole) return 'empty'
  if (/event-stream/i.test(contentType)) return 'stream'
  return /json/i.test(contentType) ? 'json' : 'text'
}

/** The same for a body that has come whole. */
export function sniffWhole(chunks: readonly Uint8Array[], contentType: string): Form {
  const first = chunks[0]?.[0]
  if (first === 0x7b || first === 0x5b) return 'json'
  const sniffer = createSniffer(contentType)
  for (const chunk of chunks) sniffer.take(chunk)
  return sniffer.end()
}

export interface Sniffer {
  /** Takes a chunk. Undefined while it is too early to tell; then `held` has every chunk so far. */
  take(chunk: Uint8Array): Form | undefined
  /** The body is over. */
  end(): Form
  readonly held: readonly Uint8Array[]
}

export function createSniffer(contentType: string): Sniffer {
  const held: Uint8Array[] = []
  let head = ''
  return {
    held,
    take(chunk) {
      held.push(chunk)
      head += Buffer.from(chunk.subarray(0, headSize - head.length)).toString('latin1')
      return sniff(head, contentType, false)
    },
    end: () => sniff(head, contentType, true) ?? 'text',
  }
}
