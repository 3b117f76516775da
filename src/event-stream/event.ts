// Server-Sent Events as we write them: always clean, always one `data:` line (WHATWG HTML, section 9.2).

/** A lone half of a surrogate pair as a JSON escape; a whole pair is matched first and kept. */
const surrogateEscape =
  /\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\\\|\\u[dD][89a-fA-F][\da-fA-F]{2}/g
const separators = /[\u0085\u2028\u2029]/g
const loneSurrogate = /\p{Surrogate}/gu
const lineBreaks = /[\r\n]+/g

/** What most messages have nothing of: one look instead of five. */
const suspect = /[\n\r\u0085\u2028\u2029\ud800-\udfff]|\\u[dD]/

/**
 * Makes JSON text fit for one `data:` line, same value: line breaks (legal in JSON only between tokens) go, U+2028,
 * U+2029 and U+0085 are escaped because some clients split lines there, lone surrogates become U+FFFD because UTF-8
 * cannot carry them and Python clients refuse their escapes.
 */
export function oneLine(json: string): string {
  if (!suspect.test(json)) return json
  if (json.includes('\n') || json.includes('\r')) json = json.replace(lineBreaks, ' ')
  if (/[\u0085\u2028\u2029\ud800-\udfff]/.test(json)) {
    json = json
      .replace(separators, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .replace(loneSurrogate, '\ufffd')
  }
  if (json.includes('\\ud') || json.includes('\\uD')) {
    json = json.replace(surrogateEscape, (m) => (m.length === 6 ? '\\ufffd' : m))
  }
  return json
}

/** All of a message event that comes before its data. `id` is ours, so it holds no line break. */
export const messageHead = (id?: string): string =>
  id === undefined ? 'event: message\ndata: ' : `event: message\nid: ${id}\ndata: `

/** A message event. */
export const encodeMessage = (json: string, id?: string): string =>
  `${messageHead(id)}${oneLine(json)}\n\n`

/** The one named event that a 2024-11-05 stream opens with; `url` is a URL, so it holds no line break. */
export const encodeEndpoint = (url: string): string => `event: endpoint\ndata: ${url}\n\n`

/** An event that says nothing but its id and when to come back, in ms (2025-11-25, Transports, "Sending Messages to the Server", item 6). */
export const encodePriming = (id: string, retry: number): string =>
  `id: ${id}\nretry: ${retry}\ndata: \n\n`

export const encodeRetry = (ms: number): string => `retry: ${ms}\n\n`

/** A comment keeps intermediaries from closing an idle stream; no client sees it. */
export const keepAlive = ': keep-alive\n\n'
