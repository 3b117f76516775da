// What has been found out about the dialect of one route's backend: mostly one answer for all, but some gateways lead
// each key to a backend of its own, so callers whose finding differs are remembered apart.
import type { DetectedDialect } from '../backends/detect.ts'

export interface Detection {
  /** The dialect for whoever has this key, if known. */
  known(key: string): DetectedDialect | undefined
  /** Finds it out by `ask`, once for all who wait for the same key. Rejects with what `ask` or its time limit met. */
  find(key: string, ask: () => Promise<DetectedDialect>): Promise<DetectedDialect>
  /** The backend did not behave so towards this key: it is to be asked again. */
  doubt(key: string): void
}

/** Keys with a finding of their own, and keys in doubt; past it the oldest are forgotten. */
const most = 1000

/** `key` below: one caller's credentials and the URL they are for. */
export function createDetection(): Detection {
  /** What was found first, and for whom: it holds for all who have not found otherwise. */
  let common: { readonly dialect: DetectedDialect; readonly key: string } | undefined
  const own = new Map<string, DetectedDialect>()
  const doubted = new Set<string>()
  /** Under way. One caller's refused credentials are not another's. */
  const finding = new Map<string, Promise<DetectedDialect>>()

  const learn = (key: string, dialect: DetectedDialect): void => {
    doubted.delete(key)
    if (common === undefined || common.key === key) common = { dialect, key }
    else if (common.dialect === dialect) own.delete(key)
    else if ([...own].some(([other, found]) => other !== key && found === dialect)) {
      // A second one finds the same: the backend has changed, or most differ from the first.
      own.set(common.key, common.dialect)
      common = { dialect, key }
      own.delete(key)
    } else own.set(key, dialect)
    while (own.size > most) own.delete(own.keys().next().value ?? '')
  }

  return {
    known: (key) => (doubted.has(key) ? undefined : (own.get(key) ?? common?.dialect)),
    find(key, ask) {
      const running = finding.get(key)
      if (running !== undefined) return running
      const found = ask()
        .then((dialect) => {
          learn(key, dialect)
          return dialect
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
