// A measured window: workers that go on until it is over, with the CPU of what is measured and the time around them.
import { cpuOf, quantile } from '../measure.ts'
import type { Sample } from './workload.ts'

/** One unit of work; resolves to the number of units that it was. */
export type Work = (worker: number) => Promise<number>

/** Asked before each piece of work: the units and the seconds so far, of all workers together. */
export type GoOn = (units: number, seconds: number) => boolean

export interface Window {
  readonly pids: readonly number[]
  readonly workers: number
  readonly goOn: GoOn
  readonly work: Work
  /** Awaited before the end is taken, for what goes on after the last answer. */
  readonly settle?: () => Promise<void>
}

/** Runs the workers. They finish what they have begun, and that counts too. */
export async function measured({ pids, workers, goOn, work, settle }: Window): Promise<Sample> {
  const latencies: number[] = []
  let units = 0
  const cpu = cpuOf(pids)
  const begun = performance.now()
  const worker = async (index: number): Promise<void> => {
    let now = performance.now()
    while (goOn(units, (now - begun) / 1000)) {
      const done = await work(index)
      units += done
      const then = now
      now = performance.now()
      latencies.push(now - then)
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, index) => worker(index)))
  const seconds = (performance.now() - begun) / 1000
  await settle?.()
  return {
    units,
    seconds,
    cpu: cpuOf(pids) - cpu,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  }
}

/** For a window of so many seconds. */
export const untilTime =
  (seconds: number): GoOn =>
  (_units, sofar) =>
    sofar < seconds

export const untilUnits =
  (wanted: number): GoOn =>
  (units) =>
    units < wanted
