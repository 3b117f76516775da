#!/usr/bin/env node
// The process: its console, its signals, its end. Everything else is imported only once Node is known to be new enough.
import type { Terminal } from './cli/terminal.ts'

/** The least Node that all dependencies run on; `engines` in package.json says the same. */
const least = [22, 19] as const
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

const end = (code: number): never => process.exit(code)

let report = (reason: unknown): void => console.error(reason)
const crash = (reason: unknown): void => {
  try {
    report(reason)
  } finally {
    end(1)
  }
}

const terminal: Terminal = {
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  colours: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  env: process.env,
  untilStopped: () =>
    new Promise((resolve) => {
      let asked = false
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          if (asked) end(1)
          asked = true
          resolve(signal)
        })
      }
    }),
  onCrash(newReport) {
    report = newReport
  },
}

if (major < least[0] || (major === least[0] && minor < least[1])) {
  console.error(`causeway needs Node ${least.join('.')} or later; this is ${process.version}.`)
  end(1)
}
process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)
const { run } = await import('./cli/run.ts')
end(await run(process.argv.slice(2), terminal))
