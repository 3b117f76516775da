// The log: JSON lines for machines, readable lines on a terminal. What must stay secret is removed here, once; nobody
// else decides what a log line may hold.
import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import { prettyFactory } from 'pino-pretty'
import { ProxyError } from '../errors.ts'

export type Log = Logger

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
export type LogFormat = 'auto' | 'json' | 'pretty'

export interface LogOptions {
  readonly level: LogLevel
  /** `auto`: pretty where the output is a terminal, JSON elsewhere. */
  readonly format: LogFormat
  /** Where the lines go; standard output by default. */
  readonly stream?: DestinationStream & { readonly isTTY?: boolean }
}

/** Headers and fields that are or carry credentials, in lower case. */
const secrets = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'mcp-session-id',
  'token',
  'accessToken',
  'access_token',
  'refreshToken',
  'refresh_token',
  'password',
])

/** Fields without the secrets among them, one level down, and among the `headers` of either. */
function redact(fields: object, depth = 0): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const name in fields) {
    const value: unknown = fields[name as keyof typeof fields]
    if (secrets.has(name)) clean[name] = '[redacted]'
    else if (typeof value !== 'object' || value === null || value instanceof Error) {
      clean[name] = value
    } else if (depth === 0 || name === 'headers') clean[name] = redact(value, depth + 1)
    else clean[name] = value
  }
  return clean
}

/** Makes a log. Levels stand in the lines as words, times as ISO 8601; errors go under `err`. */
export function createLog({ level, format, stream }: LogOptions): Log {
  const terminal = stream === undefined ? process.stdout.isTTY : stream.isTTY === true
  const readable = format === 'pretty' || (format === 'auto' && terminal)
  const plain = stream ?? openOutput()
  const beautify = prettyFactory({ colorize: terminal, translateTime: 'SYS:HH:MM:ss.l' })
  const destination = readable ? { write: (line: string) => plain.write(beautify(line)) } : plain
  return pino(
    {
      level,
      base: null,
      timestamp: createTimestamp(),
      // Not pino's `redact`: it looks up each path in each line, which was a tenth of all the time of a small request.
      formatters: { level: (label) => ({ level: label }), log: (fields) => redact(fields) },
      serializers: { err: describe },
    },
    destination,
  )
}

/** ISO 8601 as pino wants it. Many lines are written in one millisecond, and each would be worked out anew. */
function createTimestamp(): () => string {
  let latest = 0
  let text = ''
  return () => {
    const now = Date.now()
    if (now !== latest) {
      latest = now
      text = `,"time":"${new Date(now).toISOString()}"`
    }
    return text
  }
}

/**
 * Standard output, all lines of a turn of the event loop in one write: a write for each was another tenth. It is written
 * synchronously, and to the end at exit: what a crash was about must be out before the process is.
 */
function openOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true })
  let waiting = ''
  const flush = (): void => {
    const lines = waiting
    waiting = ''
    if (lines !== '') output.write(lines)
  }
  process.once('exit', flush)
  return {
    write(line) {
      if (waiting === '') setImmediate(flush)
      waiting += line
    },
  }
}

/** A failure that has a name needs no stack: what and where stand in its message, and why in its cause. */
function describe(error: unknown): object {
  if (!(error instanceof ProxyError) || error.code === 'INTERNAL') {
    return pino.stdSerializers.err(error as Error)
  }
  const { code, message, cause } = error
  return { code, message, ...(cause instanceof Error && { cause: cause.message }) }
}

/** As much of a session id as a log may show: enough to tell sessions apart, too little to take one over. */
export const shortId = (id: string): string => id.slice(0, 8)

/** A URL or request target without what may hold secrets: its query, its fragment, its user and password. */
export function safeUrl(url: URL | string): string {
  const text = String(url)
  const end = text.search(/[?#]/)
  const bare = end === -1 ? text : text.slice(0, end)
  return bare.replace(
    /^([a-z][a-z\d+.-]*:)?\/\/[^/@]*@/i,
    (_, scheme?: string) => `${scheme ?? ''}//`,
  )
}
