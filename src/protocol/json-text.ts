// Finding and replacing one value inside JSON text without re-serialising the rest: large numbers, key order, white
// space and escapes of what nobody changed stay as they came. The text must be valid JSON (JSON.parse has passed).

export interface Span {
  readonly start: number
  readonly end: number
}

const quote = 0x22
const backslash = 0x5c
const openBrace = 0x7b
const comma = 0x2c
const isSpace = (code: number): boolean =>
  code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

const skipSpace = (text: string, at: number): number => {
  while (isSpace(text.charCodeAt(at))) at++
  return at
}

/** `at` is the opening quote; answers the index after the closing one. */
const skipString = (text: string, at: number): number => {
  for (;;) {
    const end = text.indexOf('"', at + 1)
    if (end === -1) return text.length
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === backslash) slashes++
    if (slashes % 2 === 0) return end + 1
    at = end
  }
}

const nesting = /["{}[\]]/g

/** Answers the index after the value that starts at `at`. */
const skipValue = (text: string, at: number): number => {
  const first = text.charCodeAt(at)
  if (first === quote) return skipString(text, at)
  if (first !== 0x7b && first !== 0x5b) {
    while (at < text.length && !/[\s,}\]]/.test(text.charAt(at))) at++
    return at
  }
  let depth = 0
  nesting.lastIndex = at
  for (let hit = nesting.exec(text); hit !== null; hit = nesting.exec(text)) {
    if (hit[0] === '"') nesting.lastIndex = skipString(text, hit.index)
    else if (hit[0] === '{' || hit[0] === '[') depth++
    else if (--depth === 0) return hit.index + 1
  }
  return text.length
}

/** What the string from `start` to `end`, quotes included, says. */
function keyOf(text: string, start: number, end: number): string {
  const written = text.slice(start + 1, end - 1)
  return written.includes('\\') ? (JSON.parse(text.slice(start, end)) as string) : written
}

/** The members of the object that starts at or after `at`, in order; nothing for another kind of value. */
export function* members(text: string, at = 0): Generator<{ key: string; value: Span }> {
  at = skipSpace(text, at)
  if (text[at] !== '{') return
  at = skipSpace(text, at + 1)
  while (text.charCodeAt(at) === quote) {
    const keyEnd = skipString(text, at)
    const key = keyOf(text, at, keyEnd)
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1)
    const end = skipValue(text, start)
    yield { key, value: { start, end } }
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
}

/** The elements of the array that starts at or after `at`. */
export function* elements(text: string, at = 0): Generator<Span> {
  at = skipSpace(text, at)
  if (text[at] !== '[') return
  at = skipSpace(text, at + 1)
  while (at < text.length && text[at] !== ']') {
    const end = skipValue(text, at)
    yield { start: at, end }
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
}

/** Where the value at `path` stands. Of a key written twice the last one counts, as for JSON.parse. */
export function findValue(text: string, path: readonly string[]): Span | undefined {
  let span: Span = { start: 0, end: text.length }
  for (const step of path) {
    const found = findMember(text, span.start, step)
    if (found === undefined) return undefined
    span = found
  }
  return span
}

/** As `members`, but for one key, and without a generator. */
function findMember(text: string, at: number, key: string): Span | undefined {
  at = skipSpace(text, at)
  if (text.charCodeAt(at) !== openBrace) return undefined
  at = skipSpace(text, at + 1)
  let found: Span | undefined
  while (text.charCodeAt(at) === quote) {
    const keyEnd = skipString(text, at)
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1)
    const end = skipValue(text, start)
    if (keyOf(text, at, keyEnd) === key) found = { start, end }
    at = skipSpace(text, end)
    if (text.charCodeAt(at) === comma) at = skipSpace(text, at + 1)
  }
  return found
}

/** The text with the value at `path` replaced; unchanged where there is none. */
export function replaceValue(text: string, path: readonly string[], replacement: string): string {
  const span = findValue(text, path)
  return span === undefined ? text : text.slice(0, span.start) + replacement + text.slice(span.end)
}
