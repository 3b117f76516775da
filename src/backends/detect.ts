// Finding out which dialect a backend speaks, for `dialect: auto`: first a POST of `initialize`, then a GET for an event
// stream. Both only ask; what they leave open is at most the stream, for the session that asked.
import { ProxyError } from '../errors.ts'
import type { RuleName } from '../event-stream/rules.ts'
import { modernRevision, newestRevision } from '../protocol/dialects.ts'
import type { Dialect } from '../protocol/dialects.ts'
import { isObject, request } from '../protocol/jsonrpc.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import { mirrored, withDeclared } from '../protocol/metadata.ts'
import { implementation, ourselves } from '../version.ts'
import { readAnswer } from './answer.ts'
import { askOnce } from './ask-once.ts'
import type { Headers, Target } from './backend.ts'
import type { BackendOptions } from './options.ts'
import { isSuccess, refused, unauthorized } from './refusal.ts'
import type { SpareStream } from './sse.ts'
import { openSseStream } from './sse-stream.ts'
import type { SseStream } from './sse-stream.ts'

export type DetectedDialect = Dialect

export interface Detected {
  readonly dialect: DetectedDialect
  /** It also speaks to modern clients as they do. */
  readonly modern: boolean
  /** What spoke for it, for the log. */
  readonly evidence: string
  /** The stream that spoke for it, open and paused: it is the caller's to use or close. */
  readonly spare?: SpareStream
}

/**
 * Probes the backend once; half of `time`, in ms, is for the answer to the POST. Rejects with BACKEND_UNAUTHORIZED, BACKEND_UNREACHABLE, or BACKEND_REFUSED that says what
 * both attempts gave.
 */
export async function detect(
  target: Target,
  headers: Headers,
  options: BackendOptions,
  time = headTime,
): Promise<Detected> {
  const posted = await tryPost(target, headers, options, Math.min(headTime, time / 2))
  const modern = posted.mayBeModern && (await speaksModern(target, headers, options))
  if (modern && (posted.refused || !posted.speaks)) {
    return { dialect: 'stateless', modern, evidence: 'an answer to server/discover' }
  }
  if (posted.speaks) {
    const dialect = posted.session ? 'streamable' : 'rpc'
    return { dialect, modern, evidence: posted.gave }
  }
  const opened = await tryStream(target, headers, options)
  if (opened.stream !== undefined) {
    const spare = { target, headers, stream: opened.stream }
    return { dialect: 'sse', modern: false, evidence: opened.gave, spare }
  }
  throw new ProxyError(
    'BACKEND_REFUSED',
    `the backend of route "${target.route}" speaks no dialect known here: POST initialize gave ${posted.gave}; GET gave ${opened.gave}`,
  )
}

/** ms for the head of the answer to the POST. Free hosting holds a request for up to a minute while it starts a backend. */
const headTime = 60_000

interface Finding {
  readonly speaks: boolean
  /** What was opened is a session of Streamable HTTP, or claims to be one. */
  readonly session?: boolean
  /** `initialize` was refused in JSON-RPC, or opened nothing that another question could disturb. */
  readonly mayBeModern: boolean
  readonly refused?: boolean
  readonly gave: string
}

/** A response to `initialize`, or an error that names the request: whoever sends that reads JSON-RPC from POSTs. */
const isAnswer = (message: Message): boolean =>
  message.kind === 'response' && (!message.failed || message.idText !== undefined)

/** A result of `initialize` under a revision that has Streamable HTTP: a server without sessions may speak it too. */
const settlesLater = (message: Message): boolean => {
  const result = message.kind === 'response' ? message.value['result'] : undefined
  const revision = isObject(result) ? result['protocolVersion'] : undefined
  return typeof revision === 'string' && revision > '2024-11-05'
}

async function tryPost(
  target: Target,
  headers: Headers,
  options: BackendOptions,
  time: number,
): Promise<Finding> {
  const { route, url } = target
  const initialize = request('1', 'initialize', {
    protocolVersion: newestRevision,
    capabilities: {},
    clientInfo: implementation,
  })
  const giveUp = new AbortController()
  const { signal } = giveUp
  const stopWaiting = options.clock.after(time, () => giveUp.abort())
  const call = { route, url, headers, body: initialize.text, signal, repeatable: true }
  const outcome = await options.http.post(call)
  stopWaiting()
  if (signal.aborted) {
    // A server of the `sse` dialect may leave a POST to its stream's URL unanswered.
    return { speaks: false, mayBeModern: false, gave: `nothing in ${time} ms` }
  }
  if (!outcome.ok) throw outcome.error
  const { answer } = outcome
  const denied = unauthorized(target, answer, headers, options.rephrase)
  if (denied !== undefined) {
    answer.discard()
    throw denied.error
  }
  if ([502, 503, 504].includes(answer.status)) {
    answer.discard()
    throw refused(route, answer.status, 'it is down, or still starting')
  }
  let answered = false
  let refusedIt = false
  let framed = false
  const id = answer.headers['mcp-session-id']
  let session = id !== undefined && id !== ''
  const received = (message: Message): void => {
    if (message.kind === 'response' && message.failed) refusedIt = true
    if (!isAnswer(message)) return
    answered = true
    session ||= settlesLater(message)
    answer.discard()
  }
  // A backend of the `sse` dialect may answer the POST with its event stream, which has no end.
  const stop = options.clock.after(options.endpointTime, () => answer.body.destroy())
  // What a server of the other dialect says to this is no defect.
  const repaired = (rule: RuleName): void => {
    // A web framework's own words are no refusal in JSON-RPC.
    framed ||= rule === 'framework-envelope'
  }
  const got = await readAnswer(answer, { ...options, route, repaired }, { message: received })
  stop()
  if (got.form === 'json') got.messages.forEach(received)
  const form = got.form === 'broken' ? 'a body without an end' : got.form
  const speaks = answered && isSuccess(answer.status)
  if (id !== undefined) {
    // The session was opened only to ask.
    void options.http.remove({ route, url, headers: { ...headers, 'mcp-session-id': id } })
  }
  return {
    // An error in answer to `initialize` from whoever answers modern requests is theirs.
    speaks,
    session,
    refused: refusedIt && !framed,
    mayBeModern: id === undefined && ((refusedIt && !framed) || session),
    gave: `status ${answer.status} with ${speaks ? 'a JSON-RPC response' : form}`,
  }
}

/**
 * Whether the backend answers as one of 2026-07-28. It is asked only where `initialize` has not opened a session: there
 * are servers whose sessions do not survive the question.
 */
async function speaksModern(
  target: Target,
  headers: Headers,
  options: BackendOptions,
): Promise<boolean> {
  const message = withDeclared(request('1', 'server/discover'), modernRevision, ourselves)
  const all = { ...headers, ...mirrored(message, modernRevision) }
  const response = await askOnce(target, all, message, options, modernTime)
  const result = response?.value['result']
  const offered = isObject(result) ? result['supportedVersions'] : undefined
  return Array.isArray(offered) && offered.includes(modernRevision)
}

/** ms for the answer to `server/discover`. */
const modernTime = 5000

async function tryStream(
  target: Target,
  headers: Headers,
  options: BackendOptions,
): Promise<{ readonly stream?: SseStream; readonly gave: string }> {
  let endpoint = ''
  const stream = openSseStream(target, headers, options, {
    endpoint: (url) => (endpoint = url.pathname),
    message() {},
    stray() {},
    trouble() {},
    ended() {},
  })
  const failed = await stream.opened
  if (failed === undefined) {
    stream.pause()
    return { stream, gave: `an event stream with the endpoint ${endpoint}` }
  }
  if (failed.error.code === 'BACKEND_UNAUTHORIZED') throw failed.error
  return { gave: failed.error.message }
}
