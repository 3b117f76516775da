// Starts the processes of the bench, each on its core: the proxy on one, backend and load generator on the other.
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess, StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { availableParallelism } from 'node:os'

export type Core = 'proxy' | 'load'

const cores: Record<Core, string> = { proxy: '0', load: '1' }

/** Whether processes can be held on one core each. */
export const pinned =
  availableParallelism() > 1 &&
  spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0

export interface Started {
  readonly pid: number
  readonly child: ChildProcess
  /** Asks the process to end; kills it when it has not after 5 s. */
  stop(): Promise<void>
}

export interface StartOptions {
  readonly core: Core
  readonly command: string
  readonly args: readonly string[]
  readonly stdio?: StdioOptions
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  /** A process group of its own, for a tree whose root does not end its children. */
  readonly group?: boolean
}

/** What ends each process that is still running, so that nothing outlives the bench. */
const running = new Map<ChildProcess, (signal: NodeJS.Signals) => void>()
process.once('exit', () => {
  for (const send of running.values()) send('SIGKILL')
})

/** taskset becomes the command, so the id is that of the command itself. */
export function start(wanted: StartOptions): Started {
  const { core, command, args, stdio, env, group = false } = wanted
  const options = { stdio, detached: group, env: { ...process.env, ...env } }
  const child = pinned
    ? spawn('taskset', ['-c', cores[core], command, ...args], options)
    : spawn(command, args, options)
  child.on('error', () => undefined)
  if (child.pid === undefined) throw new Error(`cannot start ${command}`)
  const { pid } = child
  const send = (signal: NodeJS.Signals): void => {
    if (!group) child.kill(signal)
    else if (child.exitCode === null) process.kill(-pid, signal)
  }
  running.set(child, send)
  child.once('exit', () => running.delete(child))
  return {
    pid,
    child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      send('SIGTERM')
      const timer = setTimeout(() => send('SIGKILL'), 5000)
      await ended
      clearTimeout(timer)
    },
  }
}

/** Starts a server of the bench with Node and waits for the port that it says. */
export async function startServer(
  core: Core,
  file: URL,
  args: readonly string[],
): Promise<Started & { readonly port: number }> {
  const started = start({
    core,
    command: process.execPath,
    args: [file.pathname, ...args],
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const { stdout } = started.child
  if (stdout === null) throw new Error('a server without output cannot say its port')
  const lines = createInterface({ input: stdout })
  const [line] = (await Promise.race([
    once(lines, 'line'),
    once(started.child, 'exit').then(() => {
      throw new Error(`${file.pathname} ended before it was listening`)
    }),
  ])) as [string]
  return { ...started, port: (JSON.parse(line) as { port: number }).port }
}
