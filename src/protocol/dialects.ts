// The trait table: what each dialect and each revision can do. The bridge asks traits, never a dialect's name.

export interface DialectTraits {
  /** A conversation opens with `initialize`, and messages outside it are refused. */
  readonly handshake: boolean
  /** All answers of a backend session come back on one stream, so that only ids tell them apart. */
  readonly oneStream: boolean
  /** The server can ask its client something while an exchange runs. */
  readonly serverRequests: boolean
  /** Each request says by itself who asks and what that client can do; there is no session (2026-07-28). */
  readonly modern: boolean
  /** How a request is called off: by a message, or by closing the HTTP request that carries it. */
  readonly cancel: 'message' | 'close'
}

export const dialects = {
  sse: {
    handshake: true,
    oneStream: true,
    serverRequests: true,
    modern: false,
    cancel: 'message',
  },
  streamable: {
    handshake: true,
    oneStream: false,
    serverRequests: true,
    modern: false,
    cancel: 'message',
  },
  stateless: {
    handshake: false,
    oneStream: false,
    serverRequests: false,
    modern: true,
    cancel: 'close',
  },
  rpc: {
    handshake: false,
    oneStream: false,
    serverRequests: false,
    modern: false,
    cancel: 'close',
  },
} as const satisfies Record<string, DialectTraits>

export type Dialect = keyof typeof dialects

/** Revisions that open with `initialize`, oldest first. */
export const revisions = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'] as const
export type Revision = (typeof revisions)[number]
export const newestRevision: Revision = '2025-11-25'

export const isRevision = (value: unknown): value is Revision =>
  revisions.includes(value as Revision)

/** The revision of the `stateless` dialect, and the first without `initialize`. */
export const modernRevision = '2026-07-28'

/** Every revision that clients are served by, newest first. */
export const servedRevisions: readonly string[] = [modernRevision, ...revisions.toReversed()]

/** Whether a text names a revision without `initialize`, known or not: revisions are dates. */
export const isModern = (revision: unknown): boolean =>
  typeof revision === 'string' && /^\d{4}-\d{2}-\d{2}/.test(revision) && revision >= modernRevision

/** Revisions are dates, so their order is the order of their text. */
export const isAtLeast = (revision: string, least: Revision): boolean => revision >= least
