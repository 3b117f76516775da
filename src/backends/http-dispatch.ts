// One HTTP request by undici's `dispatch`, the layer below its `request`: no async resource, no stream object, half the
// cost (measured before the first line was written; see docs/performance.md).
import type { Dispatcher } from 'undici'
import { HttpBody } from './http-body.ts'

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: HttpBody
}

const givenUp = (signal: AbortSignal): Error =>
  signal.reason instanceof Error ? signal.reason : new Error('given up')

/** Resolves with the head of the answer; `signal` gives up the request, and the body after that. */
export function dispatch(
  dispatcher: Dispatcher,
  options: Dispatcher.DispatchOptions,
  signal?: AbortSignal,
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(givenUp(signal))
      return
    }
    let request: Dispatcher.DispatchController | undefined
    let body: HttpBody | undefined
    const abort = (): void => {
      const reason = givenUp(signal as AbortSignal)
      // A request that waits for its connection is told when that stands.
      if (body !== undefined) body.destroy(reason)
      else request?.abort(reason)
      reject(reason)
    }
    const over = (): void => signal?.removeEventListener('abort', abort)
    signal?.addEventListener('abort', abort)
    dispatcher.dispatch(options, {
      onRequestStart(controller) {
        request = controller
        if (signal?.aborted === true) controller.abort(givenUp(signal))
      },
      onResponseStart(controller, status, headers) {
        if (status < 200) return
        body = new HttpBody(controller)
        resolve({ status, headers, body })
      },
      onResponseData(_controller, chunk) {
        body?.push(chunk)
      },
      onResponseEnd() {
        over()
        body?.end()
      },
      onResponseError(_controller, error) {
        over()
        if (body === undefined) reject(error)
        else body.fail(error)
      },
    })
  })
}
