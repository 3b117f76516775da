// The trait table: what each dialect and each revision can do. The bridge asks traits, never a dialect's name.

export interface DialectTraits {
  /** A conversation opens with `initialize`, and messages outside it are refused. */
  readonly handshake: boolean
  /** All answers of a backend session come back on one stream, so that only ids tell them apart. */
  readonly oneStream: boolean
  /** The server can ask its client something while an exchange runs. */
  readonly serverRequests: boolean
  /** How a request is called off: by a message, or by closing the HTTP request that carries it. */
  readonly cancel: 'message' | 'close'
}

export const dialects = {
  sse: { handshake: true, oneStream: true, serverRequests: true, cancel: 'message' },
  streamable: { handshake: true, oneStream: false, serverRequests: true, cancel: 'message' },
  rpc: { handshake: false, oneStream: false, serverRequests: false, cancel: 'close' },
} as const satisfies Record<string, DialectTraits>

export type Dialect = keyof typeof dialects

/** Revisions that open with `initialize`, oldest first. */
export const revisions = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'] as const
export type Revision = (typeof revisions)[number]
export const newestRevision: Revision = '2025-11-25'

export const isRevision = (value: unknown): value is Revision =>
  revisions.includes(value as Revision)

/** Revisions are dates, so their order is the order of their text. */
export const isAtLeast = (revision: string, least: Revision): boolean => revision >= least
