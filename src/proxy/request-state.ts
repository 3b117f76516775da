// What a modern client gives back when it comes with answers: encrypted and authenticated, because it goes through the
// client (2026-07-28, Multi Round-Trip Requests, "Server Requirements").
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

/** What is sealed into a `requestState`. When it is over only its replica knows: clocks differ. */
export interface ParkClaims {
  /** The replica that the request waits on. */
  readonly replica: string
  /** The exchange that waits there. */
  readonly exchange: number
  /** How often its client has been sent away, this time included. */
  readonly round: number
  /** Who sent the request. */
  readonly principal: string
  /** A digest of the route, its parameters, the method and the params. */
  readonly request: string
}

export interface RequestStates {
  seal(claims: ParkClaims): string
  /** Undefined for what was not sealed with the same key, or has been changed since. */
  open(state: string): ParkClaims | undefined
}

/** Bytes of a key. */
export const keyLength = 32
const cipher = 'aes-256-gcm'
const nonceLength = 12
const tagLength = 16
/** Tells apart what is sealed with the same key, now or later. */
const purpose = Buffer.from('causeway requestState 1')

/** `key`: `keyLength` random bytes, the same on all replicas. Asked for each time, because it may come late. */
export function createRequestStates(key: () => Buffer): RequestStates {
  return {
    seal(claims) {
      const nonce = randomBytes(nonceLength)
      const sealing = createCipheriv(cipher, key(), nonce).setAAD(purpose)
      const text = Buffer.concat([sealing.update(JSON.stringify(claims), 'utf8'), sealing.final()])
      return Buffer.concat([nonce, sealing.getAuthTag(), text]).toString('base64url')
    },
    open(state) {
      const bytes = Buffer.from(state, 'base64url')
      // The same bytes have one spelling only; another one has been made by somebody.
      if (bytes.toString('base64url') !== state || bytes.length <= nonceLength + tagLength) {
        return undefined
      }
      const nonce = bytes.subarray(0, nonceLength)
      const tag = bytes.subarray(nonceLength, nonceLength + tagLength)
      try {
        const opening = createDecipheriv(cipher, key(), nonce, { authTagLength: tagLength })
        opening.setAAD(purpose).setAuthTag(tag)
        const text = Buffer.concat([
          opening.update(bytes.subarray(nonceLength + tagLength)),
          opening.final(),
        ])
        return JSON.parse(text.toString()) as ParkClaims
      } catch {
        return undefined
      }
    },
  }
}
