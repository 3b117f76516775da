// Changes in a server that somebody wants to hear of, as data: see listening.ts and standing-stream.ts.
import type { Notification, Request } from '../protocol/jsonrpc.ts'

/** A modern client that listens for changes in a session backend (2026-07-28, Subscriptions). */
export interface Listener {
  readonly member: string
  readonly request: Request
  readonly wanted: Filter
  /** What it will be told of; undefined before that is known. */
  honoured: Filter | undefined
  /** Subscriptions under way, by the number of their exchange; the last one is a ping. */
  readonly subscribing: Map<number, string | undefined>
  acknowledged: boolean
  /** Changes that came before the acknowledgement. */
  held: Notification[]
}

/** What to hear of (2026-07-28, Subscriptions, "Notification Filter"). */
export interface Filter {
  readonly toolsListChanged?: boolean
  readonly promptsListChanged?: boolean
  readonly resourcesListChanged?: boolean
  readonly resourceSubscriptions?: readonly string[]
}

/** The one stream on which a modern backend tells a session client of changes. */
export interface Standing {
  /** The exchange of the stream that has been acknowledged, and what it brings. */
  current: { readonly number: number; readonly filter: Filter } | undefined
  /** That of the one which is to take its place. */
  next: { readonly number: number; readonly filter: Filter } | undefined
  /** Requests to subscribe that wait for the acknowledgement. */
  readonly waiting: Map<number, { readonly request: Request; readonly uri: string }>
  /** The backend has no such streams. */
  refused: boolean
  /** What it agreed to nothing of. */
  vain: Filter | undefined
  losses: number
}
