// The text of a configuration file as plain values, with the place of each. Variables and files are put in here;
// what the values mean is not asked.
import { dirname, resolve } from 'node:path'
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Pair,
  type YAMLMap,
} from 'yaml'
import { formatPath, type Path } from './shape.ts'

/** A fault and the path of what has it. `key`: the key itself is at fault, not its value. */
export interface Finding {
  readonly path: Path
  readonly message: string
  readonly key?: boolean
}

export interface Place {
  /** Both count from 1. */
  readonly line: number
  readonly column: number
}

export interface Source {
  /** The environment that `${NAME}` is looked up in. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
  /** The configuration file: relative paths start from its folder. */
  readonly file: string
  /** Whether the value at a path may be `{ file: path }`, and is literal once it has been put in. */
  readonly isSecret: (path: Path) => boolean
  /** Makes of a text with a variable put in what the key expects there: a number for a port. */
  readonly convert: (path: Path, text: string) => unknown
}

/** The file's value, or the faults of its syntax, which say nothing reliable about its contents. */
export type Reading =
  | {
      readonly ok: true
      readonly value: unknown
      readonly findings: readonly Finding[]
      readonly locate: (finding: Finding) => Place
    }
  | { readonly ok: false; readonly faults: readonly (Place & { readonly message: string })[] }

/** Deeper than any key lies; an alias may contain itself. */
const deepest = 16

export function readDocument(text: string, source: Source): Reading {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const errors = [...document.errors, ...document.warnings]
  if (errors.length > 0) {
    const faults = errors.map(({ pos, message }) => ({ ...place(pos[0]), message: plain(message) }))
    // The parser stumbles on over the rest of a line; only its first complaint says something.
    return { ok: false, faults: faults.filter((one, i) => one.line !== faults[i - 1]?.line) }
  }
  const walker = new Walker(document, source)
  const value = walker.value(document.contents, [])
  const locate = (finding: Finding): Place => place(walker.offset(finding))
  return { ok: true, value, findings: walker.findings, locate }
}

function plain(message: string): string {
  const sentence = message
    .replace(/\s+/g, ' ')
    .replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase())
  const hint = '; between "{" and "}", a value that holds "{" needs quotes'
  return sentence.includes('flow-map-start') ? sentence + hint : sentence
}

class Walker {
  readonly findings: Finding[] = []
  readonly #document: Document
  readonly #source: Source
  readonly #values = new Map<string, number>()
  readonly #keys = new Map<string, number>()

  constructor(document: Document, source: Source) {
    this.#document = document
    this.#source = source
  }

  value(node: unknown, path: Path): unknown {
    if (path.length > deepest) return this.#fault(path, 'nested too deeply')
    if (isAlias(node)) {
      const anchor = node.resolve(this.#document)
      if (anchor !== undefined) return this.value(anchor, path)
      this.#place(path, node.range)
      return this.#fault(path, `nothing is marked "&${node.source}" before this`)
    }
    if (isMap(node)) {
      this.#place(path, node.range)
      return this.#map(node, path)
    }
    if (isSeq(node)) {
      this.#place(path, node.range)
      return node.items.map((item, index) => this.value(item, [...path, index]))
    }
    if (!isScalar(node)) return undefined
    this.#place(path, node.range)
    // A key with nothing behind it counts as left out.
    if (node.value === null) return undefined
    return typeof node.value === 'string' ? this.#text(node.value, path) : node.value
  }

  /** Where a finding stands: at its key or value, else at the nearest place around it. */
  offset({ path, key }: Finding): number {
    const places = key === true ? [this.#keys, this.#values] : [this.#values, this.#keys]
    for (let length = path.length; length >= 0; length--) {
      const name = formatPath(path.slice(0, length))
      const found = places.map((map) => map.get(name)).find((offset) => offset !== undefined)
      if (found !== undefined) return found
    }
    return 0
  }

  // Values inside an alias are placed where the alias leads, which is where they can be mended.
  #place(path: Path, range: readonly number[] | null | undefined): void {
    this.#values.set(formatPath(path), range?.[0] ?? 0)
  }

  #map(map: YAMLMap, path: Path): unknown {
    const entries: [string, unknown][] = []
    for (const pair of map.items as Pair[]) {
      const { key, value } = pair
      if (!isScalar(key)) {
        this.#fault(path, 'a key must be a plain text; put a value that begins with "{" in quotes')
        continue
      }
      const name = String(key.value)
      const inner = [...path, name]
      this.#keys.set(formatPath(inner), key.range?.[0] ?? 0)
      entries.push([name, this.value(value, inner)])
    }
    const [only] = entries
    if (entries.length === 1 && only?.[0] === 'file' && this.#source.isSecret(path)) {
      return typeof only[1] === 'string' ? this.#file(only[1], path) : undefined
    }
    return Object.fromEntries(entries)
  }

  /** A secret stays `{ file }`, which now holds the contents: its braces mean nothing. */
  #file(name: string, path: Path): unknown {
    const { file, readFile } = this.#source
    try {
      return { file: readFile(resolve(dirname(file), name)).replace(/\r?\n$/, '') }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
      return this.#fault(path, `cannot read the file ${JSON.stringify(name)}${code}`)
    }
  }

  /** `$${` is `${` itself, `${NAME}` a variable, `${NAME:-text}` one with a default for unset or empty, as in a shell. */
  #text(text: string, path: Path): unknown {
    if (!text.includes('${')) return text
    const { env, isSecret, convert } = this.#source
    let broken = false
    const filled = text.replace(
      /\$\$\{|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}|\$\{/g,
      (token, name?: string, otherwise?: string) => {
        if (token === '$${') return '${'
        if (name === undefined) {
          this.#fault(
            path,
            'write a variable as ${NAME} or ${NAME:-default}, and "$${" for "${" itself',
          )
          broken = true
          return ''
        }
        const value = Object.hasOwn(env, name) ? env[name] : undefined
        if (value === undefined && otherwise === undefined) {
          this.#fault(path, `the environment variable ${name} is not set and has no default`)
          broken = true
          return ''
        }
        const found = otherwise === undefined ? (value ?? '') : value || otherwise
        return isSecret(path) ? found.replace(/[{}]/g, '$&$&') : found
      },
    )
    return broken ? undefined : convert(path, filled)
  }

  #fault(path: Path, message: string): undefined {
    this.findings.push({ path, message })
    return undefined
  }
}
