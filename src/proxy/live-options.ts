// What a conversation at work is given: services of the whole process, options of its own, and a port to each of its
// client sessions.
import type { BackendDialect, Headers, Target } from '../backends/backend.ts'
import type { Conversation, Restore } from '../bridge/conversation.ts'
import type { Clock } from '../clock.ts'
import type { Outlet } from '../frontends/exchange.ts'
import type { DialectTraits } from '../protocol/dialects.ts'
import type { Message } from '../protocol/jsonrpc.ts'
import type { Declared } from '../protocol/metadata.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Live } from './live.ts'
import type { Parks } from './parks.ts'
import type { PendingExchanges } from './pending.ts'

/** What a conversation needs to know of one of its client sessions. */
export interface MemberPort {
  /** The newest is the last one. */
  readonly outlets: readonly Outlet[]
  /** Headers of the client's latest request. */
  headers: Headers
  negotiated(revision: string): void
  /** What another process would need has changed. */
  learnt?(restore: Restore): void
  exchangeStarted(): void
  exchangeEnded(): void
}

/** How a member joins. */
export interface Joining {
  readonly single?: boolean
  /** What the clients declare that a single member is for. */
  readonly declared?: Declared | undefined
  readonly restore?: Restore | undefined
}

export interface LiveServices {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly pending: PendingExchanges
  readonly parks: Parks
  /** One counter of exchange numbers for the whole process. */
  readonly ids: { next: number }
  /** The exchange that each message sent belongs to. */
  readonly carriers: WeakMap<Message, number>
  /** ms that a backend may take to answer what we ask of our own accord. */
  readonly ownTime: number
}

export interface LiveOptions {
  readonly target: Target
  readonly traits: DialectTraits
  readonly dialect: BackendDialect
  /** It serves callers without sessions. */
  readonly pooled: boolean
  /** Its clients can be asked something: the backend's stream must stand before their requests go out. */
  readonly asked: boolean
  /** What all conversations of its clients know of the backend's tools: see `Conversation`. */
  readonly repeating?: Conversation['repeating'] | undefined
  /** Headers for what we send of our own accord. */
  readonly headers: Headers
  /** The backend said where it wants its POSTs. */
  readonly onEndpoint: (live: Live, url: string) => void
  /** The backend refused `initialize` in a way that speaks against its dialect. */
  readonly onContradiction: () => void
  /** A backend stream has ended: what it announced no longer holds. */
  readonly onDisconnected: () => void
  readonly onClosed: () => void
}
