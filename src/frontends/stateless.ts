// The `stateless` dialect towards clients (2026-07-28, Streamable HTTP): every request is a POST of its own, says who asks,
// and is answered in JSON or as an event stream. There are no sessions and no other streams.
import { ProxyError } from '../errors.ts'
import { modernRevision } from '../protocol/dialects.ts'
import type { Request, Response } from '../protocol/jsonrpc.ts'
import { isObject } from '../protocol/jsonrpc.ts'
import { faultIn, metaOf, mismatch, revisionKey } from '../protocol/metadata.ts'
import { accepts } from './classify.ts'
import type { Asked, Caller, Relay, Visit } from './exchange.ts'
import { answerPost } from './post-answer.ts'
import { sendAccepted } from './reply.ts'
import type { Tools } from './reply.ts'

export async function serveStateless(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  const { request, response, body } = visit
  const [message] = body?.messages ?? []
  if (body === undefined || message === undefined) {
    throw new ProxyError('BODY_INVALID', 'the body is empty')
  }
  if (body.batch || message.kind === 'response') {
    const text = `revision ${modernRevision} takes one request or notification in a POST`
    throw new ProxyError('MESSAGE_INVALID', text)
  }
  const caller = withParameters(visit.caller, request)
  if (message.kind === 'notification') {
    // Some clients say so besides closing the stream; nobody else's request can be meant.
    if (message.method !== 'notifications/cancelled') relay.singlePost(caller, message)
    sendAccepted(response)
    return
  }
  check(message, request, () => relay.revisions(caller))
  const { accept } = request.headers
  const events = accepts(accept, 'text/event-stream')
  const answer = answerPost(response, tools, {
    route: caller.route,
    requests: [message],
    batch: false,
    json: accepts(accept, 'application/json') || !events,
    events,
    // A client that asks what the server is would take an error in a 200 answer for that of an earlier revision.
    quiet: message.method !== 'server/discover',
    statusOf,
  })
  const [reply] = answer.replies
  if (reply === undefined) return
  // Closing the stream is how these clients cancel (2026-07-28, Cancellation).
  response.on('close', () => {
    if (!response.writableEnded) relay.abandonSingle(reply)
  })
  relay.single(caller, message, reply)
}

/** In the order in which the official SDK checks. Throws what the client has got wrong. */
function check(message: Request, { headers }: Asked, served: () => readonly string[]): void {
  const fault = faultIn(message)
  if (fault !== undefined) throw new ProxyError('PARAMS_INVALID', fault)
  const revision = metaOf(message)[revisionKey] as string
  const wrong = mismatch(headers, message)
  if (headers['mcp-protocol-version'] === revision && revision !== modernRevision) {
    throw unsupported(revision, served())
  }
  if (wrong !== undefined) throw new ProxyError('HEADER_MISMATCH', `header mismatch: ${wrong}`)
}

const unsupported = (requested: string, supported: readonly string[]): ProxyError =>
  new ProxyError('VERSION_UNSUPPORTED', 'unsupported protocol version', {
    data: { supported: supported.filter((each) => each !== requested), requested },
  })

/** Statuses of errors (2026-07-28, Streamable HTTP, "Protocol Version Header" and "Server Validation"; Basic, "_meta"). */
const statuses: Readonly<Record<number, number>> = {
  [-32601]: 404,
  [-32020]: 400,
  [-32021]: 400,
  [-32022]: 400,
}

function statusOf({ value }: Response): number {
  const error = value['error']
  const code = isObject(error) ? error['code'] : undefined
  return (typeof code === 'number' ? statuses[code] : undefined) ?? 200
}

/** `Mcp-Param-*` repeats arguments of a tool; whoever does not know it passes it on (2026-07-28, Streamable HTTP, "Server Behavior for Custom Headers"). */
function withParameters(caller: Caller, request: Asked): Caller {
  const own: Record<string, string> = {}
  for (const name in request.headers) {
    const value = request.headers[name]
    if (name.startsWith('mcp-param-') && typeof value === 'string') own[name] = value
  }
  if (Object.keys(own).length === 0) return caller
  // What the route sets is never the client's.
  const headers = { ...own, ...caller.headers }
  return {
    ...caller,
    headers,
    get principal() {
      return caller.principal
    },
  }
}
