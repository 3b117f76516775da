// A backend's HTTP answer as the dialects see it: plain headers and a body free of content codings.
import type { Transform } from 'node:stream'
import { constants, createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Clock } from '../clock.ts'
import type { AnswerBody } from './http-body.ts'
import type { RawAnswer } from './http-dispatch.ts'

export interface HttpAnswer {
  readonly status: number
  /** Lower-case names; what came several times is joined by commas. */
  readonly headers: Readonly<Record<string, string>>
  /** Decoded bytes. Whoever gets an answer reads this, destroys it or calls `discard`. */
  readonly body: AnswerBody
  /** Where the answer came from: after redirects another URL than was asked. */
  readonly url: URL
  /** Lets go of the rest of the body: a short rest is read so that the connection serves again, a long one is cut. */
  discard(): void
}

/** ms that the unwanted rest of a body may still take. */
const lingerTime = 1000

// A backend that compresses a stream must flush; whatever is whole so far is passed on at each flush.
const flushing = { flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH }
const flushingBrotli = {
  flush: constants.BROTLI_OPERATION_FLUSH,
  finishFlush: constants.BROTLI_OPERATION_FLUSH,
}

const decoderFor = (coding: string): Transform | undefined => {
  switch (coding.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip(flushing)
    case 'deflate':
      return createInflate(flushing)
    case 'br':
      return createBrotliDecompress(flushingBrotli)
    default:
      return undefined
  }
}

const decoded = (raw: AnswerBody, codings: string | undefined): AnswerBody => {
  if (codings === undefined) return raw
  let body = raw
  for (const coding of codings.split(',').toReversed()) {
    const decoder = decoderFor(coding)
    if (decoder === undefined) continue
    body = through(body, decoder)
    // An error of a body that nobody reads any longer must not end the process.
    body.on('error', () => undefined)
  }
  return body
}

const through = (source: AnswerBody, decoder: Transform): AnswerBody => {
  source.on('data', (chunk) => {
    if (!decoder.write(chunk)) source.pause()
  })
  decoder.on('drain', () => source.resume())
  source.on('end', () => decoder.end())
  source.on('error', (error) => decoder.destroy(error))
  decoder.on('close', () => source.destroy())
  return decoder
}

/** Wraps what undici answered. */
export function httpAnswer(from: RawAnswer, url: URL, clock: Clock): HttpAnswer {
  const headers: Record<string, string> = {}
  for (const name in from.headers) {
    const value = from.headers[name]
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  const body = decoded(from.body, headers['content-encoding'])
  const discard = (): void => {
    if (body.destroyed || body.readableEnded || body.takeWhole?.() !== undefined) return
    if (from.status === 204 || headers['content-length'] === '0') return void body.resume()
    const stop = clock.after(lingerTime, () => body.destroy())
    let left = 65_536
    body.once('close', stop)
    body.on('data', (chunk: Uint8Array) => {
      left -= chunk.length
      if (left < 0) body.destroy()
    })
    body.resume()
  }
  return { status: from.status, headers, body, url, discard }
}
