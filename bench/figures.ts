// The figures of one row: medians over its repetitions, and what two rows are to one another.
import type { Row } from './group.ts'
import { median } from './measure.ts'
import type { Sample } from './workloads/workload.ts'

export interface Figures {
  /** ms of CPU for 1,000 units, or bytes for one idle stream: what the ratios are of. */
  readonly cost: number
  readonly least: number
  readonly most: number
  readonly perSecond: number
  readonly p50: number | undefined
  readonly p99: number | undefined
}

const costOf = ({ rss, cpu, units }: Sample): number => rss ?? (cpu / units) * 1000

/** Undefined where there is nothing measured. */
export function figuresOf(row: Row | undefined): Figures | undefined {
  if (row === undefined || row.problem !== undefined || row.samples.length === 0) return undefined
  const { samples } = row
  const costs = samples.map(costOf)
  const optional = (pick: (sample: Sample) => number | undefined): number | undefined => {
    const values = samples.map(pick).filter((value) => value !== undefined)
    return values.length === 0 ? undefined : median(values)
  }
  return {
    cost: median(costs),
    least: Math.min(...costs),
    most: Math.max(...costs),
    perSecond: median(samples.map(({ units, seconds }) => units / seconds)),
    p50: optional(({ p50 }) => p50),
    p99: optional(({ p99 }) => p99),
  }
}

export const figuresFor = (rows: readonly Row[], contestant: string): Figures | undefined =>
  figuresOf(rows.find((row) => row.contestant === contestant))

/**
 * How many times the cost of the other: the median over the repetitions, each taken by itself, because what else the
 * machine does changes more between repetitions than within one.
 */
export function ratio(rows: readonly Row[], one: string, other: string): number | undefined {
  const [above, below] = [one, other].map((name) => rows.find((row) => row.contestant === name))
  if (figuresOf(above) === undefined || figuresOf(below) === undefined) return undefined
  const pairs = above?.samples.flatMap((sample, index) => {
    const opposite = below?.samples[index]
    return opposite === undefined ? [] : [costOf(sample) / costOf(opposite)]
  })
  return pairs === undefined ? undefined : median(pairs)
}
