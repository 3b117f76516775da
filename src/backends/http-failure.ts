// Telling apart why an HTTP request to a backend got no answer: was it sent, is it worth another try, what to call it.
import { ProxyError } from '../errors.ts'

export interface HttpFailure {
  readonly error: ProxyError
  /** False when not a byte of the request can have reached the backend's handler. */
  readonly sent: boolean
  /** Another try may fare better: the backend may be waking up. */
  readonly passing: boolean
}

const certificateCodes =
  /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|CERT_|CRL_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|ERR_TLS_CERT_)/
const tlsCodes = /^(?:ERR_SSL_|ERR_TLS_|EPROTO)/

const codeOf = (reason: unknown): string =>
  reason instanceof Error && 'code' in reason && typeof reason.code === 'string' ? reason.code : ''

/** `connecting` tells that `reason` came from opening the connection, so that nothing was sent on it. */
export function httpFailure(
  route: string,
  origin: string,
  reason: unknown,
  connecting: boolean,
): HttpFailure {
  const code = codeOf(reason)
  const options = { cause: reason }
  const backend = `the backend of route "${route}" at ${origin}`
  if (code === 'UND_ERR_INVALID_ARG') {
    return { error: ProxyError.from(reason), sent: false, passing: false }
  }
  if (!connecting) {
    const error = new ProxyError(
      'BACKEND_UNREACHABLE',
      `${backend} broke the connection off`,
      options,
    )
    return { error, sent: true, passing: true }
  }
  if (certificateCodes.test(code)) {
    const text = `${backend} has a certificate that cannot be trusted (${code})`
    return {
      error: new ProxyError('BACKEND_UNREACHABLE', text, options),
      sent: false,
      passing: false,
    }
  }
  if (tlsCodes.test(code)) {
    const text = `${backend} does not speak TLS as expected (${code})`
    return {
      error: new ProxyError('BACKEND_UNREACHABLE', text, options),
      sent: false,
      passing: false,
    }
  }
  const text = `${backend} cannot be reached${code === '' ? '' : ` (${code})`}`
  return { error: new ProxyError('BACKEND_UNREACHABLE', text, options), sent: false, passing: true }
}
