// What replicas write to one another: a request that came in on one of them and belongs to another, and the way back.
import type { Dialect } from '../protocol/dialects.ts'

/** A request for a session of the addressee's. The letter's body is the request's. */
export interface VisitLetter {
  readonly type: 'visit'
  /** The sender's number for it, in all letters about it. */
  readonly call: number
  readonly dialect: Dialect
  readonly method: string
  /** What frontends look at of the request's own headers. */
  readonly headers: Readonly<Record<string, string>>
  readonly caller: {
    readonly route: string
    readonly parameters: Readonly<Record<string, string>>
    readonly headers: Readonly<Record<string, string>>
    readonly address: string
  }
  /** Empty: the session is to be opened. */
  readonly sessionId: string
  readonly messagesPath: string
}

/** The client has gone. */
export interface GoneLetter {
  readonly type: 'gone'
  readonly call: number
}

/** So many bytes have been passed on to the client. */
export interface ReadLetter {
  readonly type: 'read'
  readonly call: number
  readonly bytes: number
}

/** The head of the answer, the beginning of its body, and perhaps all of it. */
export interface HeadLetter {
  readonly type: 'head'
  readonly call: number
  /** Counts the letters of the answer. */
  readonly number: number
  readonly status: number
  readonly headers: Readonly<Record<string, string | number>>
  readonly end: boolean
}

/** More of the body. */
export interface DataLetter {
  readonly type: 'data'
  readonly call: number
  /** Counts the letters of the answer. */
  readonly number: number
  readonly end: boolean
}

/** The answer is broken off. */
export interface CutLetter {
  readonly type: 'cut'
  readonly call: number
  /** Counts the letters of the answer. */
  readonly number: number
}

/** Nothing has been done: the session is not here any more. */
export interface MovedLetter {
  readonly type: 'moved'
  readonly call: number
}

export type ToOwner = VisitLetter | GoneLetter | ReadLetter
export type ToClient = HeadLetter | DataLetter | CutLetter | MovedLetter
export type Letter = ToOwner | ToClient
