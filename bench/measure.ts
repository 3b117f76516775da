// What a process and all its children have cost so far, from /proc, and the arithmetic of samples.
import { readdirSync, readFileSync } from 'node:fs'

/** The kernel counts in hundredths of a second, whatever its own clock is. */
const msPerTick = 10

interface ProcessStat {
  readonly pid: number
  readonly parent: number
  /** ms, user and system, with the children that have ended. */
  readonly cpu: number
}

function statOf(pid: number): ProcessStat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    // It has ended since it was listed.
    return undefined
  }
  // The name in brackets may hold anything, spaces too.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0)
  return { pid, parent: Number(fields[1]), cpu: ticks * msPerTick }
}

/** These processes and their children, theirs too. */
function treeOf(roots: readonly number[]): ProcessStat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== undefined)
  const tree = all.filter(({ pid }) => roots.includes(pid))
  for (const { pid } of tree) tree.push(...all.filter(({ parent }) => parent === pid))
  return tree
}

/** ms of CPU, user and system, of these processes and their children. */
export const cpuOf = (roots: readonly number[]): number =>
  treeOf(roots).reduce((sum, { cpu }) => sum + cpu, 0)

/** Resident bytes of these processes and their children. */
export function rssOf(roots: readonly number[]): number {
  return treeOf(roots).reduce((sum, { pid }) => {
    const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return sum + Number(kib ?? 0) * 1024
  }, 0)
}

/** The value below which this share of them lies; 0 for none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2
}
