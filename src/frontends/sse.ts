// The `sse` dialect towards clients (2024-11-05, Transports, "HTTP with SSE"): a GET stream that opens with our
// `endpoint` event, POSTs answered 202, everything else on the stream.
import { ProxyError } from '../errors.ts'
import { encodeEndpoint } from '../event-stream/event.ts'
import { openEventStream } from './event-stream.ts'
import type { Relay, Visit } from './exchange.ts'
import { sendAccepted } from './reply.ts'
import type { Tools } from './reply.ts'

/** The query parameter of our `endpoint` event that names the session. */
export const sessionParameter = 'sessionId'

export async function serveSse(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  if (visit.request.method === 'GET') await openStream(visit, relay, tools)
  else post(visit, relay)
}

/** Nothing comes before the `endpoint` event: Python clients dead-lock on it. */
async function openStream(
  { response, caller, messagesPath }: Visit,
  relay: Relay,
  tools: Tools,
): Promise<void> {
  const session = await relay.begin(caller, 'sse')
  if (response.destroyed) {
    await session.end()
    return
  }
  const stream = openEventStream(response, {}, tools.keeper, tools.limits, (reason) =>
    tools.onCut(caller.route, reason),
  )
  stream.write(encodeEndpoint(`${messagesPath}?${sessionParameter}=${session.id}`))
  const detach = session.attach(stream)
  response.on('close', () => {
    detach()
    void session.end()
  })
}

function post({ response, caller, sessionId, body }: Visit, relay: Relay): void {
  if (sessionId === undefined || body === undefined) {
    throw new ProxyError('SESSION_REQUIRED', `POST to the URL of the endpoint event`)
  }
  const session = relay.find(caller, sessionId)
  if (session.dialect !== 'sse') throw new ProxyError('SESSION_UNKNOWN', 'no such session')
  sendAccepted(response)
  for (const message of body.messages) {
    if (message.kind === 'request') session.request(caller, message)
    else session.post(caller, message)
  }
}
