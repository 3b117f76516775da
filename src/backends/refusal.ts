// What a backend means by an HTTP status that is no success. Nothing here reads a body.
import { ProxyError } from '../errors.ts'
import type { Headers, Target, Undelivered } from './backend.ts'
import type { HttpAnswer } from './http-answer.ts'

export const isSuccess = (status: number): boolean => status >= 200 && status < 300

/** What a refusal is to be to a client, if it is not passed on as it is. */
export type Rephrase = (
  target: Target,
  answer: { readonly status: number; readonly challenge: string | undefined },
  sentToken: boolean,
) => { readonly status: number; readonly challenge: string } | undefined

/** 401 or 403, passed on with the backend's own challenge, or as `rephrase` puts it. */
export function unauthorized(
  target: Target,
  answer: HttpAnswer,
  sent: Headers,
  rephrase?: Rephrase,
): Undelivered | undefined {
  const { route } = target
  const { status: told, headers } = answer
  const own = headers['www-authenticate']
  const meant = rephrase?.(target, { status: told, challenge: own }, 'authorization' in sent)
  const status = meant?.status ?? told
  if (status !== 401 && status !== 403) return undefined
  const challenge = meant?.challenge ?? own
  const error = new ProxyError(
    'BACKEND_UNAUTHORIZED',
    `the backend of route "${route}" refuses these credentials with ${told}`,
    { status, ...(challenge !== undefined && { headers: { 'www-authenticate': challenge } }) },
  )
  return { error, mayHaveRun: false }
}

/** Statuses that come from the layers before any handler of messages. */
const unheard = new Set([404, 405, 406, 411, 413, 415, 421, 429, 501])

export const mayHaveRun = (status: number): boolean => !unheard.has(status)

const aboutSession = /session/i
const unknown =
  /not found|could not find|unknown|invalid|no valid|not valid|expired|missing|no (?:active|such)|does(?: not|n't) exist|terminated|closed/i

/**
 * Whether a refusal says that the backend session is unknown there. Servers say so with 404, 400 or 410 and in many
 * words (the status is 404 in 2025-11-25, Transports, "Session Management").
 */
export const saysSessionUnknown = (status: number, text: string): boolean =>
  status === 410 ||
  ((status === 404 || status === 400) && aboutSession.test(text) && unknown.test(text))

export function sessionLost(route: string, status: number): Undelivered {
  const text = `the backend of route "${route}" no longer knows the session (status ${status})`
  return { error: new ProxyError('BACKEND_SESSION_LOST', text), mayHaveRun: false }
}

/** `detail` is what the error may show of the body, such as the title of an HTML page. */
export function refused(route: string, status: number, detail = ''): ProxyError {
  const tail = detail === '' ? '' : `: ${detail}`
  return new ProxyError(
    'BACKEND_REFUSED',
    `the backend of route "${route}" answered with status ${status}${tail}`,
  )
}
