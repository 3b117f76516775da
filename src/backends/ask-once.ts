// One request of our own to a backend, outside everything else.
import type { Message, Request, Response } from '../protocol/jsonrpc.ts'
import { readAnswer } from './answer.ts'
import type { Headers, Target } from './backend.ts'
import type { BackendOptions } from './options.ts'

/** ms for the whole answer. */
const answerTime = 10_000

/** Resolves to the response, or to undefined where none came in time. Never rejects. */
export async function askOnce(
  { route, url }: Target,
  headers: Headers,
  message: Request,
  options: BackendOptions,
  time = answerTime,
): Promise<Response | undefined> {
  const giveUp = new AbortController()
  const { signal } = giveUp
  let end = (): void => giveUp.abort()
  const stop = options.clock.after(time, () => end())
  try {
    const call = { route, url, headers, body: message.text, signal, repeatable: true }
    const outcome = await options.http.post({ ...call, patience: 0 })
    if (!outcome.ok || signal.aborted) return undefined
    const { answer } = outcome
    end = () => answer.body.destroy()
    let response: Response | undefined
    const take = (each: Message): void => {
      if (each.kind !== 'response') return
      response ??= each
      answer.body.destroy()
    }
    // What a backend says to this is nobody's defect.
    const repaired = (): void => {}
    const got = await readAnswer(answer, { ...options, route, repaired }, { message: take })
    if (got.form === 'json') got.messages.forEach(take)
    return response
  } finally {
    stop()
  }
}
