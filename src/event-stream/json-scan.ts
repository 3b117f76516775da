// Where a JSON text stands, told piece by piece in time linear in its length. It counts brackets and strings and knows
// nothing of values: a text that is closed may still be no JSON.

export interface JsonScan {
  push(text: string): void
  /** Nothing but white space so far; a value that goes on; a value and white space; anything else. */
  readonly state: 'empty' | 'open' | 'closed' | 'none'
  /** The text ends inside a string, where no line may break. */
  readonly inString: boolean
}

const bracket = /["{}[\]]/g
const stringEnd = /["\\]/g

export function createJsonScan(): JsonScan {
  let state: JsonScan['state'] = 'empty'
  let depth = 0
  let inString = false

  /** Answers the index after the string, or -1 where it goes on. */
  const skipString = (text: string, from: number): number => {
    stringEnd.lastIndex = from
    for (let hit = stringEnd.exec(text); hit !== null; hit = stringEnd.exec(text)) {
      if (hit[0] === '"') return hit.index + 1
      stringEnd.lastIndex = hit.index + 2
    }
    return -1
  }

  return {
    push(text) {
      let at = 0
      if (state === 'none') return
      if (state !== 'open') {
        at = text.search(/\S/)
        if (at === -1) return
        const opens = state === 'empty' && (text[at] === '{' || text[at] === '[')
        state = opens ? 'open' : 'none'
        if (!opens) return
      }
      if (inString) {
        at = skipString(text, at)
        if (at === -1) return
        inString = false
      }
      bracket.lastIndex = at
      for (let hit = bracket.exec(text); hit !== null; hit = bracket.exec(text)) {
        if (hit[0] === '"') {
          const end = skipString(text, hit.index + 1)
          if (end === -1) {
            inString = true
            return
          }
          bracket.lastIndex = end
        } else if (hit[0] === '{' || hit[0] === '[') depth++
        else if (--depth === 0) {
          state = /\S/.test(text.slice(hit.index + 1)) ? 'none' : 'closed'
          return
        }
      }
    },
    get state() {
      return state
    },
    get inString() {
      return inString
    },
  }
}
