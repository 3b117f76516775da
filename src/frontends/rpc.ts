// The `rpc` dialect towards clients: a POST of plain JSON-RPC, without handshake or session, answered in JSON.
import { ProxyError } from '../errors.ts'
import type { Relay, Visit } from './exchange.ts'
import { answerPost } from './post-answer.ts'
import { sendAccepted } from './reply.ts'
import type { Tools } from './reply.ts'

export async function serveRpc(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  const { response, caller, body } = visit
  if (body === undefined) throw new ProxyError('BODY_INVALID', 'the body is empty')
  const requests = body.messages.filter((message) => message.kind === 'request')
  for (const message of body.messages) {
    if (message.kind === 'notification') relay.singlePost(caller, message)
  }
  if (requests.length === 0) {
    sendAccepted(response)
    return
  }
  const answer = answerPost(response, tools, {
    route: caller.route,
    requests,
    batch: body.batch,
    json: true,
    events: false,
    quiet: false,
  })
  requests.forEach((message, index) => {
    const reply = answer.replies[index]
    if (reply === undefined) return
    response.on('close', () => {
      if (!response.writableEnded) relay.abandonSingle(reply)
    })
    relay.single(caller, message, reply)
  })
}
