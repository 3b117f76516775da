// Reading the body of a POST: bounded in bytes and time, decoded, and taken apart into messages.
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { charsetOf, isUtf8 } from '../protocol/charset.ts'
import { members } from '../protocol/json-text.ts'
import { readBody } from '../protocol/jsonrpc.ts'
import type { Request } from '../protocol/jsonrpc.ts'
import { heldBytes } from '../protocol/passing.ts'
import type { Body } from './exchange.ts'

export interface BodyLimits {
  /** Bytes. */
  readonly body: number
  /** ms until the last byte must be there. */
  readonly bodyTime: number
}

export const tooLarge = (limits: BodyLimits): ProxyError =>
  new ProxyError('BODY_TOO_LARGE', `the body is larger than limits.body, ${limits.body} bytes`)

export const tooSlow = (limits: BodyLimits): ProxyError =>
  new ProxyError(
    'BODY_TIMEOUT',
    `the body was not complete after limits.bodyTime, ${limits.bodyTime} ms`,
  )

/**
 * Reads the body whole, or as far as `offer` lets it: that is called once, when more has come than is held of a message
 * that can pass, and takes over the reading where it answers with a request. Rejects with BODY_TOO_LARGE,
 * BODY_TIMEOUT or, when the client goes before the end, BODY_INVALID.
 */
export function receiveBody(
  request: IncomingMessage,
  limits: BodyLimits,
  clock: Clock,
  offer?: (head: readonly Buffer[]) => Request | undefined,
): Promise<Buffer | Request> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > limits.body) {
      reject(tooLarge(limits))
      return
    }
    let offered = offer === undefined
    const chunks: Buffer[] = []
    let size = 0
    const callOff = clock.after(limits.bodyTime, () => stop(tooSlow(limits)))
    const leave = (): void => {
      callOff()
      request.off('data', take).off('end', ended).off('close', closed)
    }
    const stop = (error: ProxyError): void => {
      leave()
      reject(error)
    }
    const take = (chunk: Buffer): void => {
      size += chunk.length
      if (size > limits.body) return stop(tooLarge(limits))
      chunks.push(chunk)
      if (size <= heldBytes || offered) return
      offered = true
      const passing = offer?.(chunks)
      if (passing === undefined) return
      leave()
      resolve(passing)
    }
    const ended = (): void => {
      leave()
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks))
    }
    const closed = (): void => {
      if (!request.complete) stop(new ProxyError('BODY_INVALID', 'the client went away'))
    }
    request.on('data', take)
    request.on('end', ended)
    request.on('close', closed)
  })
}

/** The text of a body. JSON is UTF-8 (RFC 8259, section 8.1); another charset that is declared and known is honoured. */
export function decodeBody(bytes: Buffer, contentType: string | undefined): string {
  // A decoder for each small body costs more than its decoding; only a byte order mark needs one.
  if (isUtf8(contentType) && bytes[0] !== 0xef) return bytes.toString()
  let decoder: InstanceType<typeof TextDecoder>
  try {
    decoder = new TextDecoder(charsetOf(contentType))
  } catch {
    decoder = new TextDecoder()
  }
  return decoder.decode(bytes)
}

/** Messages of one batch: each is an exchange of its own. */
const mostMessages = 1000

/** Readers disagree on which of two members counts, and some take `ID` for `id`: another's id could be smuggled in. */
function hasDoubleKeys(text: string): boolean {
  const seen = new Set<string>()
  for (const { key } of members(text)) {
    const folded = key.toLowerCase()
    if (seen.has(folded)) return true
    seen.add(folded)
  }
  return false
}

/** Takes a body apart. Throws BODY_INVALID for what is no JSON, MESSAGE_INVALID for what is no JSON-RPC. */
export function parseBody(text: string): Body {
  if (!/\S/.test(text)) {
    throw new ProxyError('BODY_INVALID', 'the body is empty; a POST carries a JSON-RPC message')
  }
  const read = readBody(text)
  if (read.ok) {
    const { messages } = read.value
    if (messages.length > mostMessages) {
      const problem = `a batch holds at most ${mostMessages} messages, this one ${messages.length}`
      throw new ProxyError('MESSAGE_INVALID', problem)
    }
    if (messages.some((message) => hasDoubleKeys(message.text))) {
      throw new ProxyError('MESSAGE_INVALID', 'a message has the same member twice')
    }
    return read.value
  }
  const code = read.reason.startsWith('not JSON') ? 'BODY_INVALID' : 'MESSAGE_INVALID'
  throw new ProxyError(code, `the body is no JSON-RPC message: ${read.reason}`)
}
