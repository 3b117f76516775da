// The `streamable` dialect towards clients (2025-03-26 to 2025-11-25, Transports, "Streamable HTTP"): sessions, POSTs
// answered in JSON or as an event stream, standing GET streams, DELETE.
import { ProxyError } from '../errors.ts'
import { isInitialize } from '../protocol/jsonrpc.ts'
import type { Request } from '../protocol/jsonrpc.ts'
import { isRevision } from '../protocol/dialects.ts'
import { accepts } from './classify.ts'
import { openEventStream } from './event-stream.ts'
import type { Body, ClientSession, Relay, Reply, Visit } from './exchange.ts'
import { answerPost } from './post-answer.ts'
import type { PostAnswer } from './post-answer.ts'
import { sendAccepted } from './reply.ts'
import { parseEventId } from './resumable.ts'
import type { ResumableStream } from './resumable.ts'
import type { Tools } from './reply.ts'

export async function serveStreamable(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  checkRevision(visit)
  switch (visit.request.method) {
    case 'POST':
      return post(visit, relay, tools)
    case 'GET':
      return openStream(visit, relay, tools)
    default:
      return end(visit, relay)
  }
}

/**
 * 400 for a revision that is invalid or unsupported (2025-11-25, Transports, "Protocol Version Header"). Within a session
 * an unknown but well-formed one passes: some clients send a constant, and the session knows what was negotiated.
 */
function checkRevision({ request, sessionId }: Visit): void {
  const revision = request.headers['mcp-protocol-version']
  if (revision === undefined || isRevision(revision)) return
  if (sessionId !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(String(revision))) return
  throw new ProxyError('REVISION_UNSUPPORTED', 'the MCP-Protocol-Version header is not a revision')
}

function find({ caller, sessionId }: Visit, relay: Relay): ClientSession {
  if (sessionId === undefined) {
    throw new ProxyError('SESSION_REQUIRED', 'this request needs an Mcp-Session-Id header')
  }
  const session = relay.find(caller, sessionId)
  if (session.dialect !== 'streamable') throw new ProxyError('SESSION_UNKNOWN', 'no such session')
  return session
}

async function post(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  const { body, caller } = visit
  if (body === undefined) throw new ProxyError('BODY_INVALID', 'the body is empty')
  const opening = body.messages.some(isInitialize)
  if (body.batch && opening) {
    throw new ProxyError('MESSAGE_INVALID', 'initialize must not be part of a batch')
  }
  const known = findOrOpen(visit, relay, opening)
  const fresh = known === undefined
  const session = known ?? (await relay.begin(caller, 'streamable'))
  checkBatch(body, session)
  const requests = body.messages.filter((message) => message.kind === 'request')
  if (visit.response.destroyed) {
    if (fresh) await session.end()
    return
  }
  const whole = requests.length === 0 ? undefined : answer(visit, session, requests, tools)
  if (whole === undefined) sendAccepted(visit.response)
  else if (fresh) whole.headers['mcp-session-id'] = session.id
  let next = 0
  // In the order of the body: an `initialized` before a request must not come after it.
  for (const message of body.messages) {
    if (message.kind !== 'request') {
      session.post(caller, message)
      continue
    }
    const plain = whole?.replies[next++]
    if (whole === undefined || plain === undefined) continue
    const reply = fresh ? endingOnFailure(plain, session, whole) : plain
    // Gone is not cancelled (2025-11-25, Transports, "Sending Messages to the Server", item 6): the session goes on.
    visit.response.on('close', () => {
      if (!visit.response.writableEnded) session.abandon(reply)
    })
    session.request(caller, message, reply)
  }
}

/** The session that the client names; undefined where a new one is to be opened. */
function findOrOpen(visit: Visit, relay: Relay, opening: boolean): ClientSession | undefined {
  if (visit.sessionId === undefined) return undefined
  try {
    return find(visit, relay)
  } catch (error) {
    // Some clients keep sending a lost session's id while they initialize anew.
    if (opening && error instanceof ProxyError && error.code === 'SESSION_UNKNOWN') return undefined
    throw error
  }
}

/** Batches came with 2025-03-26 and went with 2025-06-18. */
function checkBatch(body: Body, session: ClientSession): void {
  if (!body.batch || session.revision === undefined || session.revision === '2025-03-26') return
  throw new ProxyError('MESSAGE_INVALID', `revision ${session.revision} has no batches`)
}

function answer(
  visit: Visit,
  session: ClientSession,
  requests: readonly Request[],
  tools: Tools,
): PostAnswer {
  const { response, caller, request } = visit
  const { accept } = request.headers
  return answerPost(response, tools, {
    route: caller.route,
    requests,
    batch: visit.body?.batch ?? false,
    json: accepts(accept, 'application/json') || !accepts(accept, 'text/event-stream'),
    events: accepts(accept, 'text/event-stream'),
    quiet: true,
    resumable: () => ({ stream: session.openStream(false), priming: primes(session) }),
  })
}

/** A session whose `initialize` failed is none: its id is taken back if it has not gone out. */
function endingOnFailure(reply: Reply, session: ClientSession, whole: PostAnswer): Reply {
  const giveUp = () => {
    delete whole.headers['mcp-session-id']
    void session.end()
  }
  return {
    carries: reply.carries,
    get resumable() {
      return reply.resumable
    },
    send: (message) => reply.send(message),
    onceDrained: (task) => reply.onceDrained(task),
    // Whether `initialize` has failed is to be known first.
    pass: () => undefined,
    finish(response) {
      if (response.failed) giveUp()
      reply.finish(response)
    },
    fail(error) {
      giveUp()
      reply.fail(error)
    },
  }
}

async function openStream(visit: Visit, relay: Relay, tools: Tools): Promise<void> {
  const { response, caller, request } = visit
  const session = find(visit, relay)
  const connect = () =>
    openEventStream(response, {}, tools.keeper, tools.limits, (reason) =>
      tools.onCut(caller.route, reason),
    )
  const last = request.headers['last-event-id']
  if (typeof last === 'string' && last !== '') {
    const { stream, after } = streamAfter(session, last)
    await stream.resume(connect, after)
    if (response.destroyed) return
    if (stream.standing && !stream.over) response.on('close', session.attach(stream))
    return
  }
  if (response.destroyed) return
  const stream = session.openStream(true)
  stream.begin(connect(), primes(session))
  response.on('close', session.attach(stream))
}

/** The stream that the client was reading, and the last event it got. */
function streamAfter(
  session: ClientSession,
  last: string,
): { stream: ResumableStream; after: number } {
  const id = parseEventId(last)
  const stream = id === undefined ? undefined : session.findStream(id.stream)
  if (id === undefined || stream === undefined) {
    throw new ProxyError('EVENTS_GONE', 'no stream of this session has that Last-Event-ID')
  }
  return { stream, after: id.sequence }
}

/** Older clients choke on an event without data (the priming event came with 2025-11-25). */
const primes = (session: ClientSession): boolean =>
  session.revision !== undefined && session.revision >= '2025-11-25'

async function end(visit: Visit, relay: Relay): Promise<void> {
  const session = find(visit, relay)
  await session.end()
  visit.response.writeHead(204)
  visit.response.end()
}
