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

interface Member {
  readonly key: string
  /** Where the key begins. */
  readonly start: number
  readonly value: Span
}

/** Where the first member of the object that starts at or after `at` would begin; -1 for another kind of value. */
function firstMember(text: string, at: number): number {
  at = skipSpace(text, at)
  return text.charCodeAt(at) === openBrace ? skipSpace(text, at + 1) : -1
}

/** The member that begins at `at`; undefined at the end of the object. */
function memberAt(text: string, at: number): Member | undefined {
  if (text.charCodeAt(at) !== quote) return undefined
  const keyEnd = skipString(text, at)
  const start = skipSpace(text, skipSpace(text, keyEnd) + 1)
  return { key: keyOf(text, at, keyEnd), start: at, value: { start, end: skipValue(text, start) } }
}

/** Where the member behind this one would begin. */
function nextMember(text: string, { value }: Member): number {
  const at = skipSpace(text, value.end)
  return text.charCodeAt(at) === comma ? skipSpace(text, at + 1) : at
}

/** The members of the object that starts at or after `at`, in order; nothing for another kind of value. */
export function* members(text: string, at = 0): Generator<Member> {
  let member = memberAt(text, firstMember(text, at))
  for (; member !== undefined; member = memberAt(text, nextMember(text, member))) yield member
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
  let found: Span | undefined
  let member = memberAt(text, firstMember(text, at))
  for (; member !== undefined; member = memberAt(text, nextMember(text, member))) {
    if (member.key === key) found = member.value
  }
  return found
}

/** The text with the value at `path` replaced; unchanged where there is none. */
export function replaceValue(text: string, path: readonly string[], replacement: string): string {
  const span = findValue(text, path)
  return span === undefined ? text : text.slice(0, span.start) + replacement + text.slice(span.end)
}

export interface ObjectEdit {
  /** Members to leave out. */
  readonly drop?: readonly string[]
  /** Members to put first, with their values as JSON text; they replace those of the same name. */
  readonly add?: Readonly<Record<string, string>>
}

/** The text with members of the object at `path` changed; unchanged where there is none. All other values stay as they are. */
export function editObject(text: string, path: readonly string[], edit: ObjectEdit): string {
  const { drop = [], add = {} } = edit
  const span = findValue(text, path)
  if (span === undefined || text.charCodeAt(skipSpace(text, span.start)) !== openBrace) return text
  const kept: string[] = []
  let dropped = false
  for (const { key, start, value } of members(text, span.start)) {
    if (drop.includes(key) || Object.hasOwn(add, key)) dropped = true
    else kept.push(text.slice(start, value.end))
  }
  const added = Object.entries(add).map(([key, value]) => `${JSON.stringify(key)}:${value}`)
  if (!dropped && added.length === 0) return text
  return `${text.slice(0, span.start)}{${[...added, ...kept].join(',')}}${text.slice(span.end)}`
}
