// The nearest known name to a misspelt one.

const plain = (name: string): string => name.toLowerCase().replace(/[-_]/g, '')

/** Edits between two names, a swap of neighbours counting once (optimal string alignment), one row at a time. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? (before[j - 2] ?? 0) + 1
          : Infinity
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    before = row
    row = next
  }
  return row[b.length] ?? 0
}

/** The known name that `name` most likely stands for, if any is near: case, "-" and "_" count for nothing. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.max(1, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const steps = distance(plain(name), plain(candidate))
    if (steps < least) {
      least = steps
      best = candidate
    }
  }
  return best
}

/** The second half of a refusal: `; did you mean "backend"?`, or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const best = nearest(name, known)
  return best === undefined ? '' : `; did you mean "${best}"?`
}
