// What all parts of a running proxy are given.
import type { Clock } from '../clock.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface Services {
  readonly log: Log
  readonly metrics: Metrics
  readonly clock: Clock
}
