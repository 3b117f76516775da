// A request whose body is too large to be held: it is on its way before its end has come, and its bytes go through as
// they are. Its last bytes follow only when the whole has proved to be one request, so that a backend never has more
// than half of anything else.
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { createEnvelopeScan } from '../protocol/envelope-scan.ts'
import type { EnvelopeScan } from '../protocol/envelope-scan.ts'
import type { Json, JsonObject, Request } from '../protocol/jsonrpc.ts'
import { tooLarge, tooSlow } from './body.ts'
import type { BodyLimits } from './body.ts'

/**
 * Takes over the reading of `request`, of whose body `head` has been read. Undefined, and nothing taken over, where the
 * head does not show that it is a request. What the rest gets wrong ends the stream with BODY_INVALID,
 * MESSAGE_INVALID, BODY_TOO_LARGE or BODY_TIMEOUT; `bodyTime` counts from now, and anew whenever the backend has kept
 * the client waiting.
 */
export function passRequest(
  request: IncomingMessage,
  head: readonly Buffer[],
  limits: BodyLimits,
  clock: Clock,
): Request | undefined {
  const scan = createEnvelopeScan()
  for (const chunk of head) scan.push(chunk)
  const method = stringIn(scan, 'method')
  if (scan.state !== 'open' || method === undefined) return undefined
  if (method === 'initialize' || method.startsWith('notifications/')) return undefined

  let callOff: (() => void) | undefined
  const watch = (): void => {
    callOff?.()
    callOff = clock.after(limits.bodyTime, () => stream.destroy(tooSlow(limits)))
  }
  /** While the backend takes no more, time is not the client's. */
  const pause = (): void => {
    callOff?.()
    callOff = undefined
    request.pause()
  }
  const stream = new Readable({
    read() {
      if (callOff === undefined) watch()
      request.resume()
    },
  })
  let size = 0
  let last: Buffer | undefined
  const forward = (chunk: Buffer): void => {
    size += chunk.length
    if (last !== undefined && !stream.push(last)) pause()
    last = chunk
  }
  const take = (chunk: Buffer): void => {
    scan.push(chunk)
    forward(chunk)
    if (size > limits.body) stream.destroy(tooLarge(limits))
  }
  const ended = (): void => {
    callOff?.()
    callOff = unneeded
    const wrong = problem(scan, method)
    if (wrong !== undefined) {
      stream.destroy(wrong)
      return
    }
    stream.push(last)
    stream.push(null)
  }
  const gone = (): void => {
    if (!request.complete) stream.destroy(new ProxyError('BODY_INVALID', 'the client went away'))
  }
  watch()
  request.on('data', take)
  request.once('end', ended)
  request.once('close', gone)
  // Whoever reads the stream hears of errors from its reader; here nobody may be left to hear.
  stream.on('error', () => undefined)
  stream.once('close', () => {
    callOff?.()
    callOff = unneeded
    request.off('data', take)
    request.off('end', ended)
    // What nobody wants is read all the same, or the connection could not go on.
    request.resume()
  })
  for (const chunk of head) forward(chunk)

  const declared = request.headers['content-length']
  return {
    kind: 'request',
    method,
    bytes: { stream, length: declared === undefined ? undefined : Number(declared) },
    get idText() {
      return isId(idIn(scan)) ? (scan.members.get('id') ?? 'null') : 'null'
    },
    get text() {
      return JSON.stringify(this.value)
    },
    get value(): JsonObject {
      return { jsonrpc: '2.0', id: idIn(scan) ?? null, method }
    },
  }
}

const unneeded = (): void => {}

/** What is wrong with a body that has come to its end. */
function problem(scan: EnvelopeScan, method: string): ProxyError | undefined {
  if (scan.state !== 'closed') return new ProxyError('BODY_INVALID', 'the body is not JSON')
  const wrong = (what: string): ProxyError => new ProxyError('MESSAGE_INVALID', what)
  if (scan.repeats) return wrong('a message has the same member twice')
  const id = idIn(scan)
  if (!isId(id)) {
    return wrong('the id of a request must be a string or a number')
  }
  if (stringIn(scan, 'method') !== method) return wrong('the method of a request must be a string')
  if (scan.members.has('result') || scan.members.has('error')) {
    return wrong('a request has neither a result nor an error')
  }
  if (stringIn(scan, 'jsonrpc') !== '2.0')
    return wrong('a message this large needs "jsonrpc":"2.0"')
  return undefined
}

const valueIn = (scan: EnvelopeScan, key: string): Json | undefined => {
  try {
    return JSON.parse(scan.members.get(key) ?? '') as Json
  } catch {
    return undefined
  }
}

const isId = (id: Json | undefined): boolean => typeof id === 'string' || typeof id === 'number'

const idIn = (scan: EnvelopeScan): Json | undefined => valueIn(scan, 'id')

const stringIn = (scan: EnvelopeScan, key: string): string | undefined => {
  const value = valueIn(scan, key)
  return typeof value === 'string' ? value : undefined
}
