// Durations and sizes as people write them. Pure text and numbers; which key takes which is the schema's business.

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const
const sizeUnits = {
  B: 1,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
} as const

export const durationPattern = /^(?:0|(\d+)(ms|s|m|h))$/
export const sizePattern = /^(?:0|(\d+)(B|KB|MB|GB|KiB|MiB|GiB))$/

/** Timers of Node hold 31 bits of milliseconds; a longer one would fire at once. */
export const longestDuration = 2 ** 31 - 1

function measure(
  text: string | 0,
  pattern: RegExp,
  units: Readonly<Record<string, number>>,
): number {
  const [, amount = '0', unit = ''] = pattern.exec(String(text)) ?? []
  return Number(amount) * (units[unit] ?? 0)
}

/** Milliseconds of a text that matches `durationPattern`, or of 0. */
export const toMilliseconds = (text: string | 0): number =>
  measure(text, durationPattern, durationUnits)

/** Bytes of a text that matches `sizePattern`. */
export const toBytes = (text: string): number => measure(text, sizePattern, sizeUnits)
