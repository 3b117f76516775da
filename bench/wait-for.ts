// Waiting for a condition. Every wait has an end and says what it waited for.
import { setTimeout as pause } from 'node:timers/promises'

/** Resolves once the condition holds; rejects after `timeout` ms. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeout = 5000,
): Promise<void> {
  const end = performance.now() + timeout
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${timeout} ms in vain for ${what}`)
    await pause(20)
  }
}
