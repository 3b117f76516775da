// The payloads of the bench, as the backend makes them and the load generator expects them. All of it is ASCII.

export type EventKind = 'message' | 'progress'

/** Arguments of the tool `firehose`. */
export interface FirehoseArguments {
  /** Unique to session and call; it stands in every event. */
  readonly key: string
  readonly events: number
  /** Padding of each event. */
  readonly bytes: number
  readonly kind: EventKind
  /** Indents the `data:` lines, as a widely used template for servers does. */
  readonly malformed: boolean
}

/** Arguments of the tool `large`: a text of about this many bytes, with the key at both ends. */
export interface LargeArguments {
  readonly key: string
  readonly bytes: number
}

/** Added to an event's number, so that all numbers are of one width. */
export const firstNumber = 1_000_000

/** What stands before and after the number in an event's JSON text: all but the number is the same for a whole call. */
export function eventAround(
  { kind, key, bytes }: FirehoseArguments,
  token: unknown,
): { readonly before: string; readonly after: string } {
  const padding = 'x'.repeat(bytes)
  if (kind === 'message') {
    return {
      before: `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"${key}","data":"`,
      after: ` ${padding}"}}`,
    }
  }
  return {
    before: `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${JSON.stringify(token)},"progress":`,
    after: `,"message":"${key} ${padding}"}}`,
  }
}

const line = `${'The quick brown fox jumps over the lazy dog. '.repeat(2).trim()}\n`

/** Lines of prose, so that the JSON text holds an escape here and there, as real results do. */
export function prose(bytes: number): string {
  return line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes)
}
