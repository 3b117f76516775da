// The command line.
import { parseArgs } from 'node:util'

export interface Options {
  readonly quick: boolean
  readonly growth: boolean
  readonly profile: boolean
  readonly chains: boolean
  /** Ids of workloads; empty for all. */
  readonly only: readonly string[]
  /** Names of contestants; empty for the usual ones. */
  readonly contestants: readonly string[]
  /** Undefined: three, and one for idle streams, whose memory hardly moves while opening them takes long. */
  readonly repetitions: number | undefined
  /** Of one measured window. */
  readonly seconds: number
}

export const usage = `npm run bench -- [options]

  --quick                 under two minutes: fewer contestants, short windows, little warm-up
  --only W1,W2            these workloads: W1 to W7, W5m (malformed), latency, large
  --contestants a,b       these contestants, such as causeway,pipe
  --repetitions N         3 by default, and 1 for idle streams
  --seconds S             length of one measured window
  --chains                chains of npm tools too, which npx fetches
  --growth                cost by number of sessions and size of events, instead of the workloads
  --profile               CPU profiles of Causeway in bench/results, which makes it slower
`

/** The options, or what is wrong with the command line. */
export function readOptions(
  args: readonly string[],
  known: { readonly workloads: readonly string[]; readonly contestants: readonly string[] },
): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        growth: { type: 'boolean', default: false },
        profile: { type: 'boolean', default: false },
        chains: { type: 'boolean', default: false },
        only: { type: 'string', default: '' },
        contestants: { type: 'string', default: '' },
        repetitions: { type: 'string' },
        seconds: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) return usage
    const { quick, growth, profile, chains } = values
    return {
      quick,
      growth,
      profile,
      chains,
      only: listed(values.only, known.workloads),
      contestants: listed(values.contestants, known.contestants),
      repetitions:
        values.repetitions === undefined
          ? undefined
          : Math.ceil(positive('--repetitions', values.repetitions)),
      seconds: positive('--seconds', values.seconds ?? (quick ? '0.25' : '1')),
    }
  } catch (error) {
    return `${(error as Error).message}\n\n${usage}`
  }
}

function listed(text: string, known: readonly string[]): string[] {
  const names = text.split(',').filter((name) => name !== '')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown === undefined) return names
  throw new Error(`"${unknown}" is none of ${[...new Set(known)].join(', ')}`)
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (value > 0) return value
  throw new Error(`${name} takes a number above 0, not "${text}"`)
}
