// What has been found out about the dialect of one route's backend: mostly one answer for all, but some gateways lead
// each key to a backend of its own, so callers whose finding differs are remembered apart.
import type { Detected } from '../backends/detect.ts'

/** The dialect, and whether the backend also speaks to modern clients as they do. */
export type Finding = Pick<Detected, 'dialect' | 'modern'>

export interface Detection {
  /** What was found for whoever has this key, if anything. */
  known(key: string): Finding | undefined
  /** Finds it out by `ask`, once for all who wait for the same key. Rejects with what `ask` or its time limit met. */
  find(key: string, ask: () => Promise<Finding>): Promise<Finding>
  /** The backend did not behave so towards this key: it is to be asked again. */
  doubt(key: string): void
}

/** Keys with a finding of their own, and keys in doubt; past it the oldest are forgotten. */
const most = 1000

const same = (one: Finding, other: Finding): boolean =>
  one.dialect === other.dialect && one.modern === other.modern

/** `key` below: one caller's credentials and the URL they are for. */
export function createDetection(): Detection {
  /** What was found first, and for whom: it holds for all who have not found otherwise. */
  let common: { readonly found: Finding; readonly key: string } | undefined
  const own = new Map<string, Finding>()
  const doubted = new Set<string>()
  /** Under way. One caller's refused credentials are not another's. */
  const finding = new Map<string, Promise<Finding>>()

  const learn = (key: string, found: Finding): void => {
    doubted.delete(key)
    if (common === undefined || common.key === key) common = { found, key }
    else if (same(common.found, found)) own.delete(key)
    else if ([...own].some(([other, theirs]) => other !== key && same(theirs, found))) {
      // A second one finds the same: the backend has changed, or most differ from the first.
      own.set(common.key, common.found)
      common = { found, key }
      own.delete(key)
    } else own.set(key, found)
    while (own.size > most) own.delete(own.keys().next().value ?? '')
  }

  return {
    known: (key) => (doubted.has(key) ? undefined : (own.get(key) ?? common?.found)),
    find(key, ask) {
      const running = finding.get(key)
      if (running !== undefined) return running
      const found = ask()
        .then((each) => {
          learn(key, each)
          return each
        })
        .finally(() => finding.delete(key))
      finding.set(key, found)
      return found
    },
    doubt(key) {
      doubted.add(key)
      if (doubted.size > most) doubted.delete(doubted.values().next().value ?? '')
    },
  }
}
