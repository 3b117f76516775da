// A conversation as data: one backend session, the client sessions it serves, and everything under way between them.
// Nothing here does anything; bridge.ts advances a conversation in place.
import type { ProxyError } from '../errors.ts'
import type { DialectTraits } from '../protocol/dialects.ts'
import type { JsonObject, Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import type { Declared } from '../protocol/metadata.ts'
import { Table } from '../table.ts'
import type { Listener, Standing } from './changes.ts'

/** A client session, or the one stand-in (`single`) for all requests that come without a session. */
export interface Member {
  readonly id: string
  readonly single: boolean
  /** What the client declared in `initialize`, or all clients do that this stand-in is for. */
  capabilities: JsonObject
  /** The same as JSON text, and who it said it was. */
  capabilitiesText: string
  clientInfoText: string | undefined
  /** What `initialize` settled on, once it has. */
  revision: string | undefined
  /** Open standing streams. */
  streams: number
  /** Messages from the backend that found no stream open, oldest first, at most `heldLimit`. */
  held: (Request | Notification)[]
}

/** What an exchange of our own making is for. */
export type Purpose =
  | 'initialize'
  /** What a client had set, in a new backend session. */
  | 'restore'
  | 'probe'
  /** The log level of a request that waits for it. */
  | 'level'
  /** A subscription for a modern client that listens. */
  | 'subscribe'
  /** Changes in a modern backend, for a session client. */
  | 'listen'

/** A request on its way, keyed by its exchange number. */
export interface OpenExchange {
  readonly member: string
  /** As the client sent it. */
  request: Request
  /** What a modern client said of itself with it; undefined for any other client. */
  declared: Declared | undefined
  /** The backend is modern and the client is not. */
  readonly translated: boolean
  /** As the backend gets it. */
  wire: Request
  /** The progress token that its client chose, as JSON text. */
  token: string | undefined
  /** How a progress notification began, up to and with the token: as the backend wrote it, and as the client gets it. */
  progressHead?: { readonly theirs: string; readonly ours: string }
  /** The client can take messages besides the response. */
  carries: boolean
  readonly purpose: Purpose | undefined
  /** False while it waits for the backend session to be ready. */
  sent: boolean
  /** The backend has taken it. */
  accepted: boolean
  /** How often it has been sent again after a loss. */
  repeats: number
  /** Its response is on its way to the client in bytes. */
  passing?: boolean
  /** How often a modern client has been sent away with questions. */
  parks?: number
  /** The log level that it wants has been asked for, for its sake. */
  levelled?: boolean
  /** The exchange that waits for this one of ours. */
  readonly before?: number
  /** Questions of a modern client are being gathered. */
  gathering?: boolean
  /** What a modern backend wants to know before it answers. */
  input?: InputRound
}

/** One round of questions that a modern backend put instead of an answer (2026-07-28, Multi Round-Trip Requests). */
export interface InputRound {
  /** The rounds so far, this one included. */
  readonly count: number
  /** The questions that are still open, by their keys. */
  readonly open: Set<string>
  /** What the client answered, as JSON text. */
  readonly answers: Map<string, string>
  /** To be given back, as JSON text. */
  readonly state: string | undefined
}

/** A server's request that a client has been asked to answer, keyed by the id the client sees. */
export interface Question {
  readonly member: string
  readonly request: Request
  /** Where it went: an exchange, or undefined for the standing stream. */
  readonly exchange: number | undefined
  /** The exchange of a modern backend, and the key, that the answer is for. */
  readonly input?: { readonly exchange: number; readonly key: string }
}

export interface Conversation {
  readonly traits: DialectTraits
  /** Ids and progress tokens are replaced by exchange numbers on the way to the backend. */
  readonly remaps: boolean
  /**
   * The next exchange number. One counter for all conversations of the process, from a random start: some servers send
   * every answer to every open stream, so ids must not meet.
   */
  readonly ids: { next: number }
  /**
   * `fresh`: nobody has initialized. `open`: messages flow (always so where the backend needs no handshake). `lost`:
   * the backend session ended; the next message brings it back. `restoring`: we are initializing it, or about to.
   */
  phase: 'fresh' | 'open' | 'lost' | 'restoring'
  /** `reopen` has been said, and `reopened` is yet to come. */
  reopening: boolean
  /** The client's `initialize`, to use when the session must be restored. */
  initialize: Request | undefined
  /** What the backend answered to the latest `initialize`. */
  greeting: Response | undefined
  /** Losses since messages last flowed; grows the back-off. */
  losses: number
  readonly members: Map<string, Member>
  readonly exchanges: Table<number, OpenExchange>
  readonly questions: Map<number, Question>
  /** Exchanges whose modern client has been sent away with questions, and what became of them meanwhile. */
  readonly away: Map<number, { readonly member: string; outcome: Outcome | undefined }>
  /** Modern clients that listen, by the number of their exchange. */
  readonly listeners: Map<number, Listener>
  readonly standing: Standing
  /** Notifications sent whose answer may still come: some servers answer those too. Methods, oldest first. */
  unanswered: { readonly method: string; readonly before: number }[]
  /** Learnt: this backend answers notifications. */
  answersNotifications: boolean
  /** What to restore in a new backend session. */
  logLevel: Request | undefined
  /** The level that the backend session has, for the sake of a modern client. */
  level: string | undefined
  readonly subscriptions: Map<string, Request>
  /** Notifications that wait for the session to be restored. */
  posts: { readonly member: string; readonly message: Notification }[]
  /** Counts what has been learnt of `initialize`, the log level, subscriptions and tools: see `restoreOf`. */
  learnt: number
  /** Tools that say they may be called twice (`readOnlyHint`, `idempotentHint`). */
  readonly repeatableTools: Set<string>
  /** Tools of which modern clients repeat arguments in headers; conversations of one principal have it in common. */
  readonly repeating: Map<string, JsonObject>
  /** An `initialize` that the backend does not know, answered from what it serves. */
  readonly answering: Answering[]
}

export interface Answering {
  /** The client's `initialize`. */
  readonly exchange: OpenExchange
  readonly number: number
  /** What the backend said to it: the client's answer if the backend turns out to serve nothing. */
  readonly refusal: Response | ProxyError
  /** List requests under way and the capability that each would prove. */
  readonly probes: Map<number, string>
  readonly found: string[]
}

/** What must be known of a conversation to go on with it in another process; texts are requests as JSON, all of it is JSON. */
export interface Restore {
  /** The revision that `initialize` settled on. */
  readonly revision: string | undefined
  readonly initialize: string | undefined
  readonly logLevel: string | undefined
  readonly subscriptions: readonly string[]
  /** Tools that may be called twice. */
  readonly repeatableTools: readonly string[]
}

/** What can happen to a conversation. */
export type Input =
  /** `restore`: the member comes from another process, whose backend session is lost. */
  | {
      readonly type: 'join'
      readonly member: string
      readonly single?: boolean
      /** What the clients declare that a stand-in is for. */
      readonly declared?: Declared
      readonly restore?: Restore
    }
  /** `error`: what becomes of its requests under way. */
  | { readonly type: 'leave'; readonly member: string; readonly error?: ProxyError }
  | { readonly type: 'stream'; readonly member: string; readonly open: boolean }
  | {
      readonly type: 'request'
      readonly member: string
      readonly message: Request
      readonly exchange: number
      readonly carries: boolean
      /** Headers of the request; those that repeat arguments of a tool count. */
      readonly headers?: Readonly<Record<string, string>>
    }
  /** Questions that belong to an exchange have had time to arrive together. */
  | { readonly type: 'gathered'; readonly exchange: number }
  /** The client that was sent away has come back, with what answers it has. */
  | {
      readonly type: 'resume'
      readonly exchange: number
      readonly message: Request
      readonly carries: boolean
    }
  /** The pause after `relisten` has passed. */
  | { readonly type: 'relisten' }
  /** The process leaves: whoever only listens is told. */
  | { readonly type: 'farewell' }
  | { readonly type: 'post'; readonly member: string; readonly message: Notification | Response }
  /** The client of an exchange has gone; `cancels` where that means calling it off. */
  | {
      readonly type: 'abandoned'
      readonly exchange: number
      readonly cancels: boolean
      /** What is sent to it from now on is lost. */
      readonly mute?: boolean
    }
  | { readonly type: 'expired'; readonly exchange: number; readonly error: ProxyError }
  /** `exchange`: the one in whose own HTTP answer the message travelled. */
  | { readonly type: 'backend'; readonly message: Message; readonly exchange?: number }
  /** The backend sent an object that is no JSON-RPC. */
  | { readonly type: 'stray'; readonly text: string }
  /** The response to an exchange goes to its client in bytes, as it comes; it has gone there whole. */
  | { readonly type: 'passing'; readonly exchange: number }
  | { readonly type: 'passed'; readonly exchange: number }
  /** The backend has taken the request of an exchange. */
  | { readonly type: 'delivered'; readonly exchange: number }
  | {
      readonly type: 'undelivered'
      readonly exchange: number | undefined
      readonly error: ProxyError
      readonly mayHaveRun: boolean
      /** It was sent on a backend session that has been given up since. */
      readonly stale?: boolean
    }
  | { readonly type: 'gone'; readonly error: ProxyError }
  /** The back-off after `reopen` has passed. */
  | { readonly type: 'reopened' }

/** How an exchange ended. */
export type Outcome =
  | { readonly type: 'finish'; readonly exchange: number; readonly response: Response }
  | { readonly type: 'fail'; readonly exchange: number; readonly error: ProxyError }

/** What is to be done about it, in this order. */
export type Output =
  | {
      readonly type: 'send'
      readonly member: string
      readonly message: Message
      readonly exchange?: number
      readonly repeatable: boolean
      /** Its text is ours: what a modern client has to know of the backend for it is our affair. */
      readonly translated?: boolean
    }
  | { readonly type: 'abort'; readonly message: Request }
  /** To the exchange's own stream, or to the member's standing stream. */
  | {
      readonly type: 'deliver'
      readonly member: string
      readonly exchange: number | undefined
      readonly message: Request | Notification
    }
  | Outcome
  /** Feed `gathered` when questions that come together have had time to arrive. */
  | { readonly type: 'gather'; readonly exchange: number }
  /** The client is to come back with the answers; `questions` is a JSON object as text. */
  | {
      readonly type: 'park'
      readonly exchange: number
      readonly round: number
      readonly questions: string
    }
  /** Feed `relisten` after the back-off for this many losses. */
  | { readonly type: 'relisten'; readonly losses: number }
  /** `initialize` settled on a revision. */
  | { readonly type: 'negotiated'; readonly member: string; readonly revision: string }
  /** Drop the backend session; feed `reopened` after the back-off for this many losses (0: at once). */
  | { readonly type: 'reopen'; readonly losses: number }
  | { readonly type: 'dropped'; readonly reason: DropReason; readonly detail: string }

export type DropReason =
  | 'answer-without-request'
  | 'answer-to-notification'
  | 'nobody-to-ask'
  | 'no-stream'
  | 'no-session'
  | 'unknown-token'
  | 'unknown-question'
  | 'not-asked-for'
  | 'tool-not-callable'
  | 'stray'

/** The largest exchange number: some servers keep ids in 32 bits. */
const lastNumber = 2 ** 31 - 1

/** Takes the next exchange number; after the largest one they begin anew. */
export function takeNumber(ids: { next: number }): number {
  const number = ids.next
  ids.next = number >= lastNumber ? 1 : number + 1
  return number
}

export const heldLimit = 256
/** Characters of held messages per member, and of notifications that wait for a session. */
export const heldSize = 1 << 20
/** Subscriptions and notifications that one conversation remembers. */
export const rememberedLimit = 256

/** `pooled`: it serves callers whose ids may be the same. `repeating`: what other conversations of theirs know too. */
export function createConversation(
  traits: DialectTraits,
  ids: { next: number },
  pooled = false,
  repeating: Conversation['repeating'] = new Map(),
): Conversation {
  return {
    traits,
    remaps: traits.oneStream || (pooled && traits.handshake),
    ids,
    phase: traits.handshake ? 'fresh' : 'open',
    reopening: false,
    initialize: undefined,
    greeting: undefined,
    losses: 0,
    members: new Map(),
    exchanges: new Table(Number),
    questions: new Map(),
    away: new Map(),
    listeners: new Map(),
    standing: {
      current: undefined,
      next: undefined,
      waiting: new Map(),
      refused: false,
      vain: undefined,
      losses: 0,
    },
    unanswered: [],
    answersNotifications: false,
    logLevel: undefined,
    level: undefined,
    subscriptions: new Map(),
    posts: [],
    learnt: 0,
    repeatableTools: new Set(),
    repeating,
    answering: [],
  }
}

/** The numbers of all that clients wait for. */
export const waitingIn = (conversation: Conversation): readonly number[] => [
  ...conversation.exchanges.keys(),
  ...conversation.answering.map(({ number }) => number),
  ...conversation.listeners.keys(),
  ...conversation.standing.waiting.keys(),
]

/** Nothing runs, and nobody is to come back. */
export const isIdle = ({ exchanges, answering, away, listeners }: Conversation): boolean =>
  exchanges.size + answering.length + away.size + listeners.size === 0

/**
 * Moves everything of `from` into `into`: their backend streams turned out to be one (a shared-stream backend). Exchange
 * numbers never meet, since one counter serves both.
 */
export function merge(into: Conversation, from: Conversation): void {
  for (const [id, member] of from.members) {
    const known = into.members.get(id)
    if (known === undefined) into.members.set(id, member)
    else known.held.push(...member.held)
  }
  for (const [number, exchange] of from.exchanges) into.exchanges.set(number, exchange)
  for (const [number, question] of from.questions) into.questions.set(number, question)
  for (const [number, away] of from.away) into.away.set(number, away)
  for (const [number, listener] of from.listeners) into.listeners.set(number, listener)
  for (const [uri, subscription] of from.subscriptions) into.subscriptions.set(uri, subscription)
  for (const tool of from.repeatableTools) into.repeatableTools.add(tool)
  into.unanswered.push(...from.unanswered)
  into.posts.push(...from.posts)
  into.answersNotifications ||= from.answersNotifications
  into.initialize ??= from.initialize
  into.greeting ??= from.greeting
  into.logLevel ??= from.logLevel
  into.answering.push(...from.answering)
  if (into.phase === 'fresh') into.phase = from.phase
}
