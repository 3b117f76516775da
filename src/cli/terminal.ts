// What a command may do to the world around it. `main.ts` makes the real one, tests make one of their own.

/** 0: done. 1: it failed while running. 2: the command line or the configuration is wrong. */
export type ExitCode = 0 | 1 | 2

export interface Terminal {
  /** Writes one or more lines to standard output. */
  out(text: string): void
  /** The same to standard error. */
  err(text: string): void
  readonly colours: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** Resolves to the name of the first signal that asks the process to end; a second one ends it there and then. */
  untilStopped(): Promise<string>
  /** Called with whatever nobody has caught, before the process ends with 1. */
  onCrash(report: (reason: unknown) => void): void
}
