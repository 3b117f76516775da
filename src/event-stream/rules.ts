// Every repair by name: what it recognises, what it makes of it, who was seen doing it. Rules on lines and on the text
// of an event carry their function here; those on endpoints, values and envelopes are applied in repair.ts and
// protocol/envelope.ts under the names given here. A repair is kept only if its outcome proves itself.

interface RuleFacts {
  /** On unless a route switches it off. */
  readonly on: boolean
  /** What it mends, and which servers were seen writing it. */
  readonly doc: string
}

/** A rule on one line that the standard would ignore. */
export interface LineRule {
  readonly name: RuleName
  /** The line as it was meant, or undefined where the rule has nothing to say. */
  mend(line: string): string | undefined
}

/** A rule on the data of an event that is no JSON: what it may have been meant to be, one text per message. */
export interface TextRule {
  readonly name: RuleName
  mend(text: string): readonly string[] | undefined
}

const facts = {
  // Lines
  'nul-padding': {
    on: true,
    doc: 'U+0000 before a field name or around a JSON text is dropped; fixed-size buffers are sent whole.',
  },
  'byte-order-mark': {
    on: true,
    doc: 'U+FEFF before a field name or before JSON is dropped; files are concatenated into streams.',
  },
  'indented-field': {
    on: true,
    doc: 'White space before a field name is dropped; a multi-line string literal in the source of the server.',
  },
  'field-case': { on: true, doc: '`Event:` and `DATA:` are read as `event:` and `data:`.' },
  'space-before-colon': { on: true, doc: '`data : x` is read as `data: x`.' },
  'padded-event-name': { on: true, doc: 'White space around an event name is dropped.' },
  'unprefixed-json': {
    on: true,
    doc: 'Lines of a pretty-printed JSON text without `data:` belong to it; servers that indent their JSON.',
  },
  'missing-blank-line': {
    on: true,
    doc: 'A new event begins where the one before is complete, though no blank line parts them.',
  },
  'blank-line-in-event': {
    on: true,
    doc: 'A blank line between `event: endpoint` and its data, as line ends of LF CR make it, is ignored.',
  },
  'escaped-line-breaks': {
    on: true,
    doc: 'Line breaks written as backslash and n, outside of JSON, are line breaks; a string escaped twice.',
  },
  'unterminated-event': {
    on: true,
    doc: 'A complete message at the end of the stream counts without its blank line.',
  },
  // Data
  'double-framing': {
    on: true,
    doc: 'An event whose data is an event again is unwrapped; a formatted string given to a formatter.',
  },
  'message-per-line': {
    on: true,
    doc: 'Data lines that are each a whole message are one message each.',
  },
  'json-in-string': { on: true, doc: 'A message sent as a JSON string is unwrapped.' },
  'array-of-messages': { on: true, doc: 'An array of messages is taken apart.' },
  'event-name': {
    on: true,
    doc: 'A message under another event name (`response`, `Message`, `mcp-response`) is a message.',
  },
  'data-heartbeat': {
    on: true,
    doc: '`ping`, `[DONE]`, `{"type":"heartbeat"}` and the like as message data are dropped.',
  },
  // Endpoints
  'quoted-endpoint': {
    on: true,
    doc: 'Quotes around the endpoint are dropped; a JSON serialiser.',
  },
  'json-endpoint': { on: true, doc: 'An endpoint as `{"uri": ...}` is unwrapped.' },
  'padded-endpoint': { on: true, doc: 'White space around the endpoint is dropped.' },
  'odd-endpoint': {
    on: true,
    doc: 'Where no endpoint event comes in time, a nameless, message or misspelt event with the path of one counts.',
  },
  // Envelopes
  'jsonrpc-version': { on: true, doc: 'A missing or odd `jsonrpc` member is set to "2.0".' },
  'id-spelling': { on: true, doc: '`ID` and `Id` are read as `id` in a response.' },
  'result-and-error': {
    on: true,
    doc: 'Of `result` and `error` in one response the one that is not null counts.',
  },
  'extra-members': {
    on: true,
    doc: 'Unknown top-level members of a response are dropped; strict clients refuse them.',
  },
  'echoed-method': { on: true, doc: 'A `method` in a response is dropped.' },
  'error-shape': {
    on: true,
    doc: 'An error that is a text, or has no code or message, is given the shape of one.',
  },
  'framework-envelope': {
    on: true,
    doc: "A web framework's error (`detail`, `errors`, `code` and `message`) becomes a JSON-RPC error; `raw` is unwrapped.",
  },
} as const satisfies Record<string, RuleFacts>

export type RuleName = keyof typeof facts
/** Rules switched on or off against their defaults. */
export type RuleSwitches = Readonly<Partial<Record<RuleName, boolean>>>

/** All rules, for the configuration, the reference and the metrics. */
export const ruleTable: readonly (RuleFacts & { readonly name: RuleName })[] = (
  Object.keys(facts) as RuleName[]
).map((name) => ({ name, ...facts[name] }))

export const isOn = (rules: RuleSwitches, name: RuleName): boolean => rules[name] ?? facts[name].on

const replaced = (line: string, pattern: RegExp, by: string): string | undefined => {
  const mended = line.replace(pattern, by)
  return mended === line ? undefined : mended
}

/** Trims both ends in one pass each: patterns for this take quadratic time on long runs. */
function trimWhere(text: string, goes: (character: string) => boolean): string {
  let start = 0
  let end = text.length
  while (start < end && goes(text.charAt(start))) start++
  while (end > start && goes(text.charAt(end - 1))) end--
  return text.slice(start, end)
}

/** In the order in which they are tried; each works on what the one before made of the line. */
export const lineRules: readonly LineRule[] = [
  // oxlint-disable-next-line no-control-regex -- a control is what it looks for
  { name: 'nul-padding', mend: (line) => replaced(line, /^\0+/, '') },
  { name: 'byte-order-mark', mend: (line) => replaced(line, /^\uFEFF+/, '') },
  { name: 'indented-field', mend: (line) => replaced(line, /^[ \t]+(?=[A-Za-z]+[ \t]*:)/, '') },
  {
    name: 'space-before-colon',
    mend: (line) => replaced(line, /^(event|data|id|retry)[ \t]+:/i, '$1:'),
  },
  {
    name: 'field-case',
    mend(line) {
      const match = /^(event|data|id|retry):/i.exec(line)
      const field = match?.[1]
      if (field === undefined || field === field.toLowerCase()) return undefined
      return field.toLowerCase() + line.slice(field.length)
    },
  },
]

/** Cheapest first. */
export const textRules: readonly TextRule[] = [
  {
    name: 'nul-padding',
    mend(text) {
      // oxlint-disable-next-line no-control-regex -- a control is what it looks for
      if (!text.includes('\0')) return undefined
      return [trimWhere(text, (character) => character === '\0' || character.trim() === '')]
    },
  },
  {
    name: 'byte-order-mark',
    mend(text) {
      const mended = replaced(text, /^\s*\uFEFF/, '')
      return mended === undefined ? undefined : [mended]
    },
  },
  {
    name: 'escaped-line-breaks',
    mend(text) {
      let end = text.length
      while (text.endsWith('\\n', end) || text.endsWith('\\r', end)) end -= 2
      return end === text.length ? undefined : [text.slice(0, end)]
    },
  },
  {
    name: 'double-framing',
    mend(text) {
      const lines = text.split('\n').filter((line) => line.trim() !== '')
      if (!lines.some((line) => line.startsWith('data:'))) return undefined
      if (!lines.every((line) => /^(event|data|id|retry):/.test(line))) return undefined
      const data = lines.filter((line) => line.startsWith('data:'))
      return [
        data
          .map((line) => line.slice(5).trimStart())
          .join('\n')
          .trim(),
      ]
    },
  },
  {
    name: 'message-per-line',
    mend(text) {
      const lines = text
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
      return lines.length < 2 ? undefined : lines
    },
  },
]
