// How costs grow: of a request with the number of open sessions, of an event with its size.
import type { Contestant } from './contestants/contestant.ts'
import { figuresOf } from './figures.ts'
import { runGroup } from './group.ts'
import type { GroupOptions, Row } from './group.ts'
import { short } from './report.ts'
import {
  bytesLoad,
  crossings,
  crossingText,
  growthBytes,
  growthSessions,
  sessionsLoad,
} from './workloads/table.ts'
import type { Workload } from './workloads/table.ts'

export interface Growth {
  readonly title: string
  /** The heads of the columns. */
  readonly steps: readonly string[]
  /** One for each crossing; the rows of each step. */
  readonly lines: readonly {
    readonly crossing: string
    readonly rows: readonly (readonly Row[])[]
  }[]
}

type Step = Pick<Workload, 'load' | 'unit'> & { readonly label: string }

export async function measureGrowth(
  contestants: readonly Contestant[],
  options: GroupOptions,
  say: (what: string) => void,
): Promise<Growth[]> {
  const sessions = growthSessions.map((count): Step => ({
    load: sessionsLoad(count),
    unit: 'requests',
    label: `${count} sessions`,
  }))
  const sizes = growthBytes.map((bytes): Step => ({
    load: bytesLoad(bytes),
    unit: 'events',
    label: `${bytes / 1000} KB`,
  }))
  const grow = async (title: string, steps: readonly Step[]): Promise<Growth> => {
    const lines = []
    for (const crossing of crossings) {
      const name = crossingText(crossing)
      const rows = []
      for (const { label, load, unit } of steps) {
        say(`${title}, ${name}, ${label}`)
        const workload = { id: 'growth', name: label, title, crossing, load, unit }
        rows.push(await runGroup(workload, contestants, options))
      }
      lines.push({ crossing: name, rows })
    }
    return { title, steps: steps.map(({ label }) => label), lines }
  }
  return [
    await grow('CPU ms per 1,000 requests by open sessions, 10 calls at a time', sessions),
    await grow('CPU ms per 1,000 events by the size of an event', sizes),
  ]
}

export function renderGrowth(growths: readonly Growth[]): string {
  return growths
    .map(({ title, steps, lines }) => {
      const cells = lines.flatMap(({ crossing, rows }) =>
        (rows[0] ?? []).map(({ contestant, instead }, index) => [
          crossing,
          instead === undefined ? contestant : `${contestant} (${instead})`,
          ...rows.map(
            (step) => short(figuresOf(step[index])?.cost) || (step[index]?.problem ?? ''),
          ),
        ]),
      )
      const head = ['crossing', 'contestant', ...steps]
      const all = [head, head.map(() => '---'), ...cells]
      return `## ${title}\n\n${all.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`
    })
    .join('\n')
}
