// Messages too large to be held: where nothing in one changes, its text passes in bytes, as they come.

/** Bytes of a message up to which it is held and read whole. */
export const heldBytes = 65_536

/** Takes the text of one message. What goes wrong on the way is told to whoever made the sink, never to the sink. */
export interface Sink {
  /** False: more comes than is taken; wait for `onceDrained`. Throws once nobody wants the rest. */
  write(chunk: Uint8Array): boolean
  /** Calls `task` once when more can be taken, or nobody is there any more. */
  onceDrained(task: () => void): void
  /** The message is whole. */
  end(): void
}
