// Messages too large to be held: where nothing in one changes, its text passes in bytes, as they come.
/** Bytes of a message up to which it is held and read whole. */
export const heldBytes = 65_536

/** The text of a message, to be read once. */
export interface Passing {
  /** A stream of Node's. It is destroyed with a ProxyError where the text turns out to be wrong. */
  readonly stream: NodeJS.ReadableStream & {
    readonly errored: Error | null
    destroy(error?: Error): unknown
  }
  /** Bytes, if known. */
  readonly length: number | undefined
}

/** Takes the text of one message. What goes wrong on the way is told to whoever made the sink, never to the sink. */
export interface Sink {
  /** False: more comes than is taken; wait for `onceDrained`. Throws once nobody wants the rest. */
  write(chunk: Uint8Array): boolean
  /** Calls `task` once when more can be taken, or nobody is there any more. */
  onceDrained(task: () => void): void
  /** The message is whole. */
  end(): void
}
