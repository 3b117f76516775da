// Handshakes that we make ourselves: to bring a lost backend session back as its clients knew it, or to serve clients
// that have no handshake of their own.
import type { ProxyError } from '../errors.ts'
import { isObject, notification, readBody } from '../protocol/jsonrpc.ts'
import type { Request, Response } from '../protocol/jsonrpc.ts'
import { objectAt } from '../protocol/metadata.ts'
import type { Conversation, Member, Output, Restore } from './conversation.ts'
import { initializeFor } from './discovery.ts'
import { beginAll } from './listening.ts'
import { post, send, sendOwn, sendWaiting } from './sending.ts'

/** Begins a handshake of our own; messages wait until it is done. */
export function initializeOurselves(conversation: Conversation): Output[] {
  conversation.phase = 'restoring'
  const like = conversation.initialize ?? initializeFor()
  return [sendOwn(conversation, 'initialize', like).output]
}

/** Our own handshake succeeded: announce it, restore what the client had set, let the waiting go. */
export function opened(conversation: Conversation, greeting: Response): Output[] {
  conversation.phase = 'open'
  conversation.greeting = greeting
  conversation.level = undefined
  conversation.losses = 0
  const member = conversation.members.keys().next().value ?? ''
  const initialized = notification('notifications/initialized')
  const outputs: Output[] = [post(conversation, member, initialized)]
  const settings = [conversation.logLevel, ...conversation.subscriptions.values()]
  for (const setting of settings) {
    if (setting !== undefined) outputs.push(sendOwn(conversation, 'restore', setting).output)
  }
  return [...outputs, ...beginAll(conversation), ...sendWaiting(conversation)]
}

/** A client's `initialize` is under way, so whatever it sends besides is its own affair. */
export const opens = (conversation: Conversation): boolean =>
  conversation.phase === 'fresh' &&
  conversation.exchanges
    .values()
    .some(({ request: { method }, sent }) => method === 'initialize' && sent)

/** A request needs a backend session that does not stand. */
export function wake(conversation: Conversation): Output[] {
  if (opens(conversation)) return []
  if (conversation.phase === 'lost') return reopenIfWanted(conversation)
  return conversation.phase === 'fresh' ? initializeOurselves(conversation) : []
}

/** Brings the backend session back when a request waits for it, or a client listens for what it may announce. */
export function reopenIfWanted(conversation: Conversation): Output[] {
  if (conversation.phase === 'restoring') return []
  const { exchanges, listeners, members } = conversation
  const waiting = exchanges.values().some((exchange) => !exchange.sent) || listeners.size > 0
  const listening = [...members.values()].some((member) => member.streams > 0)
  if (!waiting && !(listening && conversation.initialize !== undefined)) return []
  if (conversation.phase === 'lost') conversation.phase = 'restoring'
  conversation.reopening = true
  return [{ type: 'reopen', losses: Math.max(0, conversation.losses - 1) }]
}

/** The back-off has passed. A client's own `initialize`, still unanswered, opens the new session; else we do. */
export function reopened(conversation: Conversation): Output[] {
  conversation.reopening = false
  for (const [number, exchange] of conversation.exchanges) {
    if (exchange.sent || exchange.request.method !== 'initialize') continue
    exchange.sent = true
    return [send(exchange, number, true)]
  }
  return conversation.phase === 'open' ? [] : initializeOurselves(conversation)
}

/**
 * A client's own `initialize` was to bring the backend session back, and has come to nothing: we make one, where anybody
 * waits for it.
 */
export function restoreYet(conversation: Conversation): Output[] {
  const { exchanges, phase, reopening } = conversation
  if (phase !== 'restoring' || reopening) return []
  if (exchanges.values().some(({ wire, sent }) => wire.method === 'initialize' && sent)) return []
  conversation.phase = conversation.initialize === undefined ? 'fresh' : 'lost'
  return reopenIfWanted(conversation)
}

/** Our own handshake failed: everything that waited for it fails with it. */
export function restoringFailed(conversation: Conversation, error: ProxyError): Output[] {
  const outputs: Output[] = []
  conversation.phase = conversation.initialize === undefined ? 'fresh' : 'lost'
  conversation.posts = []
  for (const [number, exchange] of conversation.exchanges) {
    if (exchange.sent) continue
    conversation.exchanges.delete(number)
    outputs.push({ type: 'fail', exchange: number, error })
  }
  for (const [number, { acknowledged }] of conversation.listeners) {
    if (acknowledged) continue
    conversation.listeners.delete(number)
    outputs.push({ type: 'fail', exchange: number, error })
  }
  return [...outputs, ...reopenIfWanted(conversation)]
}

/** What another process needs to go on with a member's conversation. */
export function restoreOf(conversation: Conversation, member: string): Restore {
  const { initialize, logLevel, subscriptions, repeatableTools } = conversation
  return {
    revision: conversation.members.get(member)?.revision,
    initialize: initialize?.text,
    logLevel: logLevel?.text,
    subscriptions: [...subscriptions.values()].map(({ text }) => text),
    repeatableTools: [...repeatableTools],
  }
}

/** Goes on with the conversation of another process, as after a loss: the backend session is restored when it is wanted. */
export function takeOver(conversation: Conversation, member: Member, restore: Restore): void {
  const initialize = requestIn(restore.initialize)
  if (initialize !== undefined) {
    const params = initialize.value['params']
    const capabilities = isObject(params) ? params['capabilities'] : undefined
    member.capabilities = isObject(capabilities) ? capabilities : {}
    member.capabilitiesText = objectAt(initialize, ['params', 'capabilities']) ?? '{}'
    member.clientInfoText = objectAt(initialize, ['params', 'clientInfo'])
    conversation.initialize ??= initialize
    if (conversation.phase === 'fresh') conversation.phase = 'lost'
  }
  member.revision = restore.revision
  conversation.logLevel ??= requestIn(restore.logLevel)
  for (const text of restore.subscriptions) {
    const subscription = requestIn(text)
    const subscribed = subscription?.value['params']
    const uri = isObject(subscribed) ? subscribed['uri'] : undefined
    if (subscription !== undefined && typeof uri === 'string') {
      conversation.subscriptions.set(uri, subscription)
    }
  }
  for (const tool of restore.repeatableTools) conversation.repeatableTools.add(tool)
}

function requestIn(text: string | undefined): Request | undefined {
  if (text === undefined) return undefined
  const read = readBody(text)
  const message = read.ok ? read.value.messages[0] : undefined
  return message?.kind === 'request' ? message : undefined
}
