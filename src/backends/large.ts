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
   * What this backend has sent so far carried its ids as they were given, so it may be believed where the id comes
   * behind the result. Some backends put it there and some change it; but none has been seen to do so at times.
   */
  readonly faithful: boolean
  /** As `BackendListener.pass`, for `request`. */
  readonly open: () => Sink | undefined
}

/** `head` is how the text of a message begins. Answers where it may go on, or undefined where it must be read whole. */
export function passLarge(
  request: Request,
  head: readonly Uint8Array[],
  { route, faithful, open }: PassOptions,
): Sink | undefined {
  const scan = createEnvelopeScan()
  for (const each of head) scan.push(each)
  const { members } = scan
  if (scan.state !== 'open' || !members.has('result')) return undefined
  if (members.has('error') || members.has('method')) return undefined
  const version = members.get('jsonrpc')
  if (!faithful && !(names(members, request) && version === '"2.0"')) return undefined
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

const names = (members: ReadonlyMap<string, string>, request: Request): boolean => {
  const id = members.get('id')
  if (id === undefined || id === '') return false
  return id === request.idText || same(id, request.idText)
}

const same = (one: string, other: string): boolean => {
  try {
    return JSON.parse(one) === JSON.parse(other)
  } catch {
    return false
  }
}
