// All contestants, and which of them take part in what unless the command line names others.
import { targets } from '../targets.ts'
import type { Workload } from '../workloads/table.ts'
import { causeways } from './causeway.ts'
import { chains } from './chains.ts'
import type { Contestant } from './contestant.ts'
import { haproxy, nginx } from './native.ts'
import {
  direct,
  httpProxyAgent,
  httpProxyBare,
  lean,
  pipe,
  sdkBridge,
  splice,
} from './node-servers.ts'

export const contestants: readonly Contestant[] = [
  direct,
  splice,
  pipe,
  lean,
  nginx,
  haproxy,
  httpProxyBare,
  httpProxyAgent,
  sdkBridge,
  ...chains,
  ...causeways,
]

export interface Choice {
  readonly quick: boolean
  readonly chains: boolean
  /** Names from the command line; empty for the usual ones. */
  readonly named: readonly string[]
}

export function contestantsFor(workload: Workload, choice: Choice): readonly Contestant[] {
  if (choice.named.length > 0) return contestants.filter(({ name }) => choice.named.includes(name))
  const compared = (targets[workload.name] ?? []).flatMap(({ peers }) => Object.keys(peers ?? {}))
  const idle = workload.load.kind === 'idle'
  const { client, backend } = workload.crossing
  return contestants.filter((contestant) => {
    const { name } = contestant
    if (chains.includes(contestant)) return choice.chains
    // The flag is about memory, and so is its target. Nothing is gained by measuring idle streams of no contestant.
    if (name === 'causeway-small') return idle
    if (idle && contestant === direct) return false
    // The agent makes the difference that there is to see, and W1, W4, W5 and W7 show it.
    if (contestant === httpProxyBare && (idle || ['latency', 'large'].includes(workload.id))) {
      return false
    }
    // Where it cannot convert, it says what another workload says already.
    if (choice.quick && contestant === direct && client !== backend) return false
    return !choice.quick || always.includes(contestant) || compared.includes(name)
  })
}

/** Those that `--quick` takes besides the peers that there is a target for. */
const always: readonly Contestant[] = [
  direct,
  pipe,
  ...causeways.filter(({ name }) => name !== 'causeway-redis'),
]
