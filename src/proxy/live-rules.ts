// What a conversation at work goes by: pauses, and what it makes of a message or a failure. Nothing here does anything.
import type { Undelivered } from '../backends/backend.ts'
import type { OpenExchange } from '../bridge/conversation.ts'
import { mayBeAsked } from '../bridge/parking.ts'
import { ProxyError } from '../errors.ts'
import { isInitialize } from '../protocol/jsonrpc.ts'
import type { Message } from '../protocol/jsonrpc.ts'

/** ms that questions to a modern client are waited for which may come together. */
export const gatherTime = 30

/** Longest pause between two attempts to bring a backend session back, and the first one. */
const longestBackOff = 30_000
const firstBackOff = 500

/** ms before another try after so many losses. */
export const backOff = (losses: number): number =>
  losses === 0 ? 0 : Math.min(longestBackOff, firstBackOff * 2 ** (losses - 1))

/** What a backend answers that does not speak the dialect it was taken for. */
const contradictions = new Set<string>([
  'BACKEND_REFUSED',
  'BACKEND_NO_ENDPOINT',
  'BACKEND_ANSWER_INVALID',
])

export const contradicts = (message: Message, error: ProxyError): boolean =>
  isInitialize(message) && contradictions.has(error.code)

/** A message was taken on a stream that has been given up: its answer will not be heard. */
export const strandedOn = (route: string): Undelivered => ({
  error: new ProxyError('BACKEND_STREAM_ENDED', `the stream of route "${route}" has ended`),
  mayHaveRun: true,
})

/** Whether a request lasts as long as its client wants. */
export const isLasting = (message: Message): boolean =>
  message.kind === 'request' && message.method === 'subscriptions/listen'

/** Whether what comes while a modern client's request runs must be known to be for it. */
export const wantsToBeAlone = ({
  declared,
  request,
}: Pick<OpenExchange, 'declared' | 'request'>): boolean =>
  declared !== undefined && (mayBeAsked(request.method) || declared.logLevel !== undefined)
