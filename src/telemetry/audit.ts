// The audit trail: a line of the log for each decision about who may do what. A line is made of the fields below and of
// nothing else, so that no token, code, session id or key gets into it with them.
import { hash } from 'node:crypto'
import type { ErrorCode } from '../errors.ts'
import { safeUrl } from './log.ts'
import type { Log } from './log.ts'

export interface AuditConfig {
  /** `digest`: callers can be told apart, and found again by whoever knows their names. `clear`: their names. */
  readonly principal: 'digest' | 'clear'
}

export interface AuditEntry {
  /** Undefined: nobody has been established. */
  readonly principal: string | undefined
  /** The OAuth client. */
  readonly client: string | undefined
  readonly route: string
  /** The JSON-RPC method, or the HTTP method of what has none. */
  readonly method: string | undefined
  /** Of a `tools/call`. */
  readonly tool?: string | undefined
  readonly decision: 'allowed' | 'refused'
  /** Why it was refused. */
  readonly code?: ErrorCode | undefined
  /** ms that the decision took. */
  readonly duration: number
}

export type Audit = (entry: AuditEntry) => void

const longest = 128
/** What looks like a credential: a JWT, and the value of an Authorization header. */
const credential = /\beyJ[\w-]{8,}(?:\.[\w-]*)*|\b(?:bearer|basic)\s+\S+/gi

/** Lines of level `info`, with the message "audit". */
export function createAudit(log: Log, { principal: form }: AuditConfig): Audit {
  const show = form === 'clear' ? shown : digestOf
  return ({ principal, client, route, method, tool, decision, code, duration }) =>
    log.info(
      {
        ...(principal !== undefined && { principal: show(principal) }),
        ...(client !== undefined && { client: shown(clientOf(client)) }),
        route,
        ...(method !== undefined && { method: shown(method) }),
        ...(tool !== undefined && { tool: shown(tool) }),
        decision,
        ...(code !== undefined && { code }),
        ms: Math.round(duration),
      },
      'audit',
    )
}

/** Short enough to be read, long enough to tell a million callers apart. */
const digestOf = (principal: string): string => hash('sha256', principal, 'base64url').slice(0, 12)

/** A client id may be a URL (Client ID Metadata Documents), and its query anything. */
const clientOf = (client: string): string => (/^https?:/i.test(client) ? safeUrl(client) : client)

/** Methods and tools are whatever a client sends: no escapes for a terminal, no end of text, nothing like a credential. */
const shown = (text: string): string => {
  const plain = text.slice(0, longest * 8).replace(credential, '[redacted]')
  const printable = plain.replace(/[^ -~]/g, '?')
  return printable.length > longest ? `${printable.slice(0, longest)}...` : printable
}
