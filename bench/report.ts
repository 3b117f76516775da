// The results as Markdown: one table for each workload, and one of the targets.
import { contestants } from './contestants/table.ts'
import { figuresFor, figuresOf, ratio } from './figures.ts'
import type { Row } from './group.ts'
import { targets } from './targets.ts'
import type { Target } from './targets.ts'
import type { Machine } from './versions.ts'
import { crossingText } from './workloads/table.ts'
import type { Workload } from './workloads/table.ts'

export interface Result {
  readonly workload: Workload
  readonly rows: readonly Row[]
}

const table = (head: readonly string[], lines: readonly (readonly string[])[]): string =>
  [head, head.map((_, index) => (index === 0 ? '---' : '---:')), ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')

/** Three digits, whatever the size. */
export function short(value: number | undefined): string {
  if (value === undefined) return ''
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** Why the figures are what they are: the machine, the versions, the way of measuring. */
export function renderSetting(machine: Machine, command: string, names: readonly string[]): string {
  const versions = contestants
    .filter(({ name }) => names.includes(name))
    .map(({ name, version }) => `${name}: ${version}`)
  return `# Bench

\`${command}\`

- machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memory}, ${machine.kernel}, Node ${machine.node}, ${machine.files.toLocaleString('en')} open files, load ${machine.load} before the start
- pinning: ${machine.pinning}
- versions: ${versions.join('; ')}
- CPU: user and system of the contestant's process tree. For *direct*, in brackets, of the backend and the load generator: what the bench itself costs
- medians over the repetitions; a ratio is the median of the ratios within each repetition
`
}

export function renderWorkload({ workload, rows }: Result): string {
  const { name, title, crossing, unit } = workload
  const idle = unit === 'streams'
  const between = crossingText(crossing)
  const cost = idle ? 'KB of RSS per stream' : `CPU ms per 1,000 ${unit}`
  const timed = rows.some((row) => figuresOf(row)?.p50 !== undefined)
  const head = ['contestant', cost, 'least-most', 'x pipe']
  if (!idle) head.push(`${unit}/s`)
  if (timed) head.push('p50 ms', 'p99 ms')
  const lines = rows.map((row) => {
    const label = row.instead === undefined ? row.contestant : `${row.contestant} (${row.instead})`
    const figures = figuresOf(row)
    if (figures === undefined)
      return [label, (row.problem ?? '').replaceAll('|', '\\|'), ...head.slice(2).map(() => '')]
    const scale = idle ? 1000 : 1
    const [shown, least, most] = [figures.cost, figures.least, figures.most].map((value) =>
      short(value / scale),
    ) as [string, string, string]
    const bare = row.contestant === 'direct'
    const cells = [label, bare ? `(${shown})` : shown, `${least}-${most}`]
    cells.push(bare ? '' : short(ratio(rows, row.contestant, 'pipe')))
    if (!idle) cells.push(short(figures.perSecond))
    if (timed) cells.push(short(figures.p50), short(figures.p99))
    return cells
  })
  const warning = limitWarning(rows)
  return [
    name.endsWith(between) ? `## ${name}: ${title}\n` : `## ${name}: ${title}, ${between}\n`,
    table(head, lines),
    ...(warning === undefined ? [] : [`\n${warning}`]),
    '',
  ].join('\n')
}

/** The bench must not be what is measured: alone it has to be well ahead of every contestant. */
function limitWarning(rows: readonly Row[]): string | undefined {
  const direct = figuresFor(rows, 'direct')
  if (direct === undefined) return undefined
  const near = rows
    .filter(({ contestant, instead }) => contestant !== 'direct' && instead === undefined)
    .filter((row) => (figuresOf(row)?.perSecond ?? 0) > direct.perSecond * 0.7)
    .map(({ contestant }) => contestant)
  if (near.length === 0) return undefined
  return `Rates and latencies of ${near.join(', ')} are near those of *direct*, so they say what the bench can do; the CPU figures stand.`
}

export function renderTargets(results: readonly Result[]): string {
  const lines = results.flatMap(({ workload, rows }) =>
    (targets[workload.name] ?? [{ contestant: 'causeway' }]).flatMap((target) =>
      targetLines(workload, rows, target),
    ),
  )
  const head = ['workload', 'figure', 'measured', 'target', 'aim', 'verdict']
  return lines.length === 0 ? '' : `## Targets\n\n${table(head, lines)}\n`
}

function targetLines(workload: Workload, rows: readonly Row[], target: Target): string[][] {
  const { contestant, pipe, aim, peers = {}, added } = target
  const row = rows.find((one) => one.contestant === contestant)
  if (row === undefined) return []
  const { name } = workload
  if (row.problem !== undefined) return [[name, contestant, row.problem, '', '', '**not met**']]
  if (added !== undefined) {
    const [own, direct] = [contestant, 'direct'].map((one) => figuresFor(rows, one)?.p50)
    if (own === undefined || direct === undefined) return []
    const figure = `${contestant}: p50 added to direct, ms`
    return [line(name, figure, own - direct, added, aim)]
  }
  const lines: string[][] = []
  const toPipe = ratio(rows, contestant, 'pipe')
  if (toPipe !== undefined) lines.push(line(name, `${contestant} x pipe`, toPipe, pipe, aim))
  for (const [peer, most] of Object.entries(peers)) {
    const toPeer = ratio(rows, contestant, peer)
    if (toPeer !== undefined) lines.push(line(name, `${contestant} x ${peer}`, toPeer, most))
  }
  return lines
}

function line(
  name: string,
  figure: string,
  value: number,
  target: number | undefined,
  aim?: number,
): string[] {
  const verdict = target === undefined ? 'no target' : value <= target ? 'met' : '**not met**'
  const bound = (limit: number | undefined): string => (limit === undefined ? '' : `<= ${limit}`)
  return [name, figure, value.toFixed(3), bound(target), bound(aim), verdict]
}
