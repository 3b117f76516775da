// What every backend dialect is made with. One set per backend; nothing of a single request stands here.
import type { Clock } from '../clock.ts'
import type { RuleName, RuleSwitches } from '../event-stream/rules.ts'
import type { Headers } from './backend.ts'
import type { HttpClient } from './http-client.ts'
import type { Rephrase } from './refusal.ts'

export interface BackendOptions {
  readonly http: HttpClient
  readonly clock: Clock
  /** ms that an open `sse` stream may take to announce its endpoint. */
  readonly endpointTime: number
  /** Bytes of one event, and of one answer in JSON. */
  readonly maxEventBytes: number
  /** Repair rules switched on or off against their defaults. */
  readonly rules: RuleSwitches
  /** Origins besides the backend's own that an endpoint event may name, such as `https://post.example.com`. */
  readonly origins: readonly string[]
  /** Tells apart whose requests these headers belong to. */
  principalOf(headers: Headers): string
  /** How a client is told that the backend refuses its credentials. */
  readonly rephrase?: Rephrase
  /** A repair rule mended something; `line` is what it mended, for the log. */
  onRepair(route: string, rule: RuleName, line: string): void
}
