// The messages of a POST: read whole, or, where a large request can go on as it comes, taken from its head.
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import type { Request } from '../protocol/jsonrpc.ts'
import { isUtf8 } from '../protocol/charset.ts'
import { heldBytes } from '../protocol/passing.ts'
import { decodeBody, parseBody, receiveBody } from './body.ts'
import type { BodyLimits } from './body.ts'
import type { Body, Relay, Visit } from './exchange.ts'
import { passRequest } from './large-body.ts'

/** ms that a client may go on sending after its answer. */
const lingerTime = 2000

type Sender = Pick<Visit, 'response' | 'caller' | 'sessionId'> & {
  readonly request: IncomingMessage
}

export interface ReceiveOptions {
  readonly limits: BodyLimits
  readonly clock: Clock
  /** What the messages say must be known before they go on. */
  readonly whole?: boolean
}

/** Rejects as `receiveBody` and `parseBody` do. */
export async function receiveMessages(
  sender: Sender,
  relay: Relay,
  { limits, clock, whole = false }: ReceiveOptions,
): Promise<Body> {
  const { request, response } = sender
  const offer = (head: readonly Buffer[]): Request | undefined =>
    passRequest(request, head, limits, clock)
  const passes = !whole && mayPass(sender, relay)
  const read = await receiveBody(request, limits, clock, passes ? offer : undefined)
  if (Buffer.isBuffer(read)) return parseBody(decodeBody(read, request.headers['content-type']))
  const stream = read.bytes?.stream
  response.once('close', () =>
    stream?.destroy(
      request.complete ? undefined : new ProxyError('BODY_INVALID', 'the client went away'),
    ),
  )
  // An answer may come before the body's end: the rest is read for a while, so that the client comes to read the answer.
  response.once('finish', () => {
    stream?.destroy()
    if (request.complete) return
    const callOff = clock.after(lingerTime, () => request.destroy())
    request.once('close', callOff)
    request.once('end', callOff)
  })
  return { batch: false, messages: [read] }
}

/** Whether a request could pass without being held, should it turn out to be large. */
function mayPass({ request: { headers }, caller, sessionId }: Sender, relay: Relay): boolean {
  const length = headers['content-length']
  if (sessionId === undefined || (length !== undefined && Number(length) <= heldBytes)) return false
  if (!isUtf8(headers['content-type'])) return false
  try {
    return relay.find(caller, sessionId).takesBytes
  } catch {
    // Whoever reads the message tells the client what is wrong with its session.
    return false
  }
}
