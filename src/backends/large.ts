// The response to a request, too large to be held: whether it may pass in bytes, and the check that it was what it
// seemed to be.
import { ProxyError } from '../errors.ts'
import { createEnvelopeScan } from '../protocol/envelope-scan.ts'
import type { Request } from '../protocol/jsonrpc.ts'
import type { Sink } from '../protocol/passing.ts'

export interface PassOptions {
  /** The route's name. */
  readonly route: string
  /**
   * What is known of the backend: that it has answered before and nothing had to be mended, that something had to, or
   * nothing yet. No backend has been seen to err at times only, so what comes behind the head is believed of a good one.
   */
  readonly record: 'good' | 'bad' | 'none'
  /** As `BackendListener.pass`, for `request`. */
  readonly open: () => Sink | undefined
}

/** `head` is how the text of a message begins. Answers where it may go on, or undefined where it must be read whole. */
export function passLarge(
  request: Request,
  head: readonly Uint8Array[],
  { route, record, open }: PassOptions,
): Sink | undefined {
  const scan = createEnvelopeScan()
  for (const each of head) scan.push(each)
  const { members } = scan
  if (record === 'bad' || scan.state !== 'open' || !members.has('result')) return undefined
  const shown = members.has('id') && members.get('jsonrpc') === '"2.0"'
  if (record === 'none' && !shown) return undefined
  if ([...members.keys()].some((key) => !known.has(key))) return undefined
  if (members.has('id') && !names(members, request)) return undefined
  const sink = open()
  if (sink === undefined) return undefined
  const checked = createEnvelopeScan()
  /** The last byte waits for the verdict: a client must not have the whole of a wrong answer. */
  let last: Uint8Array | undefined
  return {
    ...sink,
    write(chunk) {
      if (chunk.length === 0) return true
      checked.push(chunk)
      if (last !== undefined) sink.write(last)
      last = chunk.subarray(chunk.length - 1)
      return sink.write(chunk.subarray(0, -1))
    },
    end() {
      if (checked.state === 'closed' && names(checked.members, request)) {
        if (last !== undefined) sink.write(last)
        return sink.end()
      }
      const what = checked.state === 'closed' ? 'under another id' : 'that is no JSON object'
      const text = `the backend of route "${route}" sent a large answer ${what}`
      throw new ProxyError('BACKEND_ANSWER_INVALID', text)
    },
  }
}

const known = new Set(['jsonrpc', 'id', 'result'])

/** An id is the client's as it wrote it: `7.0` is not `7`, and large numbers that read alike differ. */
const names = (members: ReadonlyMap<string, string>, request: Request): boolean =>
  members.get('id') === request.idText
