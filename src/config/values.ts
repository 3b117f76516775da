// The kinds of value that configuration keys take: how each is written, checked and turned into what the program
// uses. No key is named here.
import { z } from 'zod'
import {
  controlCharacter,
  literalText,
  parsePathPattern,
  parseTemplate,
  type PathPattern,
  type Template,
} from './template.ts'
import { durationPattern, longestDuration, sizePattern, toBytes, toMilliseconds } from './units.ts'

const quote = (text: unknown): string => JSON.stringify(text)

const zeroMessage = 'must be more than 0'

/** A literal 0 is unambiguous; any other bare number lacks its unit. */
const measureError = (example: string) => ({
  error: ({ input }: { readonly input?: unknown }): string => {
    if (input === 0) return zeroMessage
    return typeof input === 'number'
      ? `${input} has no unit; write ${example}`
      : `not like ${example}: ${quote(input)}`
  },
})
const durationError = measureError('500ms, 15s, 10m or 1h')
const sizeError = measureError('64KiB, 16MiB or 1MB')

const durationText = z.string(durationError).regex(durationPattern, durationError)

/** Milliseconds, written like `500ms`, `15s`, `10m`, `1h`. */
export const duration = () => durationText.transform(readDuration(1)).meta({ kind: 'duration' })

/** The same where 0 has a meaning, usually "never". */
export const durationOrZero = () =>
  z
    .union([z.literal(0), durationText], durationError)
    .transform(readDuration(0))
    .meta({ kind: 'duration or 0' })

const readDuration =
  (least: 0 | 1) =>
  (text: string | 0, context: z.RefinementCtx): number => {
    const ms = toMilliseconds(text)
    if (ms < least) context.addIssue(zeroMessage)
    if (ms > longestDuration) context.addIssue('must be less than 24 days (576h)')
    return ms
  }

/** Bytes, written like `64KiB`, `16MiB`, `1MB`. */
export const size = () =>
  z
    .string(sizeError)
    .regex(sizePattern, sizeError)
    .transform((text, context) => {
      const bytes = toBytes(text)
      if (bytes < 1) context.addIssue(zeroMessage)
      if (!Number.isSafeInteger(bytes)) context.addIssue('is too large')
      return bytes
    })
    .meta({ kind: 'size' })

/** What keeps `text` from being an absolute http or https URL without credentials and fragment. */
function urlFault(text: string): string | undefined {
  if (/[\s\\]/.test(text)) return `a URL must not hold white space or "\\": ${quote(text)}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    return `not an absolute URL: ${quote(text)}`
  }
  // Nothing is quoted here: the text may hold a password.
  if (url.username !== '' || url.password !== '') {
    return 'a URL must not carry a user name or password; set an authorization header instead'
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `not an http or https URL: ${quote(text)}`
  }
  if (text.includes('#')) return `a URL must not carry a fragment ("#"): ${quote(text)}`
  return undefined
}

/** An absolute http(s) URL that others are built on: no query, slashes at the end trimmed. */
export const baseUrl = () =>
  z
    .string()
    .transform((text, context) => {
      const fault =
        urlFault(text) ??
        (text.includes('?') ? `this URL must not carry a query ("?"): ${quote(text)}` : undefined)
      if (fault !== undefined) {
        context.addIssue(fault)
        return z.NEVER
      }
      return text.replace(/\/+$/, '')
    })
    .meta({ kind: 'URL' })

/** An origin as browsers send it: scheme, host and a port that is not the default one, in lower case. */
function toOrigin(text: string): string | undefined {
  // The schemes of browser extensions and editors have no origin for URL parsers, but browsers send them all the same.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s@\\]+\/?$/i.test(text) || !URL.canParse(text))
    return undefined
  const { origin } = new URL(text)
  return origin === 'null' ? text.toLowerCase().replace(/\/$/, '') : origin
}

export const origin = (wildcard: boolean) =>
  z
    .string()
    .transform((text, context) => {
      const found = wildcard && text === '*' ? text : toOrigin(text)
      if (found === undefined) {
        context.addIssue(`not an origin like https://example.com: ${quote(text)}`)
        return z.NEVER
      }
      return found
    })
    .meta({ kind: 'origin' })

export const hostName = () =>
  z
    .string()
    .transform((text, context) => {
      if (!/^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])$/i.test(text)) {
        context.addIssue(`not a host name without scheme and port: ${quote(text)}`)
      }
      return text.toLowerCase()
    })
    .meta({ kind: 'host name' })

/** A route's path, see `parsePathPattern`. */
export const pathPattern = () =>
  z
    .string()
    .transform((text, context): PathPattern => {
      const parsed = parsePathPattern(text)
      if (parsed.ok) return parsed.pattern
      context.addIssue(`${parsed.reason}: ${quote(text)}`)
      return z.NEVER
    })
    .meta({ kind: 'path' })

/** Fills each parameter with a letter, to see what the rest of a URL template is. */
const sample = (template: Template): string =>
  template.parts.map((part) => (typeof part === 'string' ? part : 'x')).join('')

function urlTemplateFault(template: Template): string | undefined {
  const text = sample(template)
  const fault = urlFault(text)
  // Faults quote what was written, not the sample.
  if (fault !== undefined) return fault.replace(quote(text), quote(template.text))
  const [first] = template.parts
  // A parameter in the host would let every client choose whom the proxy speaks to.
  const fixed = typeof first === 'string' && /^[^:]+:\/\/[^/?]+[/?]/.test(first)
  if (template.parameters.length > 0 && !fixed) {
    return 'parameters may stand in the path and the query only, not in the scheme, host or port'
  }
  return dotFault(text)
}

const dotFault = (text: string): string | undefined =>
  /\/(?:\.|%2e){1,2}(?:[/?]|$)/i.test(text)
    ? 'a path must not hold "." or ".." as a segment'
    : undefined

function pathTemplateFault(template: Template): string | undefined {
  const { text } = template
  if (!text.startsWith('/')) return urlTemplateFault(template)
  if (text.startsWith('//')) return `neither a path nor an absolute URL: ${quote(text)}`
  if (/[\s\\#]/.test(text)) return `a path must not hold white space, "\\" or "#": ${quote(text)}`
  return dotFault(sample(template))
}

const template = (kind: string, faultOf: (template: Template) => string | undefined) =>
  z
    .string()
    .transform((text, context): Template => {
      const parsed = parseTemplate(text)
      const fault = parsed.ok ? faultOf(parsed.template) : `${parsed.reason}: ${quote(text)}`
      if (parsed.ok && fault === undefined) return parsed.template
      context.addIssue(fault ?? '')
      return z.NEVER
    })
    .meta({ kind })

/** An absolute http(s) URL with parameters in path and query. */
export const urlTemplate = () => template('URL template', urlTemplateFault)

/** A path on the backend, or an absolute URL, with parameters. */
export const pathOrUrlTemplate = () => template('path or URL template', pathTemplateFault)

/** Written out, or the file that holds it: the loader reads that before values are checked. */
const textOrFile = z.union(
  [
    z.string(),
    z.strictObject({
      file: z
        .string()
        .describe('The file that holds the value; a line break at its end is cut off.'),
    }),
  ],
  { error: 'expected a text in quotes or { file: path }' },
)

/**
 * A header's value: a template, or the file that holds it word for word. No message may quote it.
 */
export const headerValue = textOrFile
  .transform((value, context): Template => {
    const text = typeof value === 'string' ? value : literalText(value.file)
    const parsed = parseTemplate(text)
    const literals = parsed.ok ? parsed.template.parts.filter((p) => typeof p === 'string') : []
    const fault = parsed.ok
      ? literals.map(literalFault).find((found) => found !== undefined)
      : parsed.reason
    if (parsed.ok && fault === undefined) return parsed.template
    context.addIssue(fault ?? '')
    return z.NEVER
  })
  .meta({ kind: 'template or `{ file: path }`' })

/** A password, or a text too long for a line. No message may quote it. */
export const secretText = textOrFile
  .transform((value) => (typeof value === 'string' ? value : value.file))
  .meta({ kind: 'text or `{ file: path }`' })

/** A Redis server: `redis://` or, over TLS, `rediss://`. It may hold a password, so no message may quote it. */
export const redisUrl = () =>
  z
    .string()
    .superRefine((text, context) => {
      const url = URL.canParse(text) ? new URL(text) : undefined
      if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === '') {
        context.addIssue('not a URL like redis://host:6379/0 or rediss://host:6379')
      } else if (!/^\/?\d*$/.test(url.pathname)) {
        context.addIssue('the path of a Redis URL is the number of its database')
      }
    })
    .meta({ kind: 'Redis URL' })

function literalFault(text: string): string | undefined {
  if (controlCharacter.test(text)) return 'a header value must not hold line breaks or controls'
  // oxlint-disable-next-line no-control-regex -- the whole of latin-1 is meant
  return /[^\0-\xff]/.test(text)
    ? 'a header value must not hold characters beyond latin-1'
    : undefined
}

/** Hop-by-hop headers (RFC 9110, section 7.6.1; RFC 9112) and those that Causeway's own requests need right. */
const reservedHeaders = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export const headerName = z.string().superRefine((name, context) => {
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) context.addIssue(`not a header name: ${quote(name)}`)
  if (reservedHeaders.has(name.toLowerCase()) || /^x[-_]causeway[-_]/i.test(name)) {
    context.addIssue(`the header "${name}" belongs to the connection; a route cannot set it`)
  }
})

/** Header names (RFC 9110, section 5.1), lower-cased, and their values. */
export const headerMap = () =>
  z.record(headerName, headerValue).transform((headers, context) => {
    const byName: Record<string, Template> = {}
    for (const [written, value] of Object.entries(headers)) {
      const name = written.toLowerCase()
      if (Object.hasOwn(byName, name)) {
        context.addIssue({
          code: 'custom',
          path: [written],
          message: `the header "${name}" is set twice`,
        })
      }
      byName[name] = value
    }
    return byName
  })
