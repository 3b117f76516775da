// Versions of everything that is measured, and what the machine is.
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { pinned } from './processes.ts'

const root = new URL('../', import.meta.url)

const packageVersion = (path: string): string =>
  (JSON.parse(readFileSync(new URL(path, root), 'utf8')) as { version: string }).version

/** The installed version of a dependency. */
export const versionOf = (name: string): string =>
  packageVersion(`node_modules/${name}/package.json`)

/** The version of the project, with its commit where git tells it. */
export function ownVersion(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const version = packageVersion('package.json')
  try {
    const changed = git('status', '--porcelain', '--', 'src', 'package.json').trim() !== ''
    return `${version} (${git('rev-parse', '--short', 'HEAD').trim()}${changed ? ', changed' : ''})`
  } catch {
    return version
  }
}

/** What a program says of its version, cut down to the number; undefined where there is no such program. */
export function programVersion(program: string, flag: string): string | undefined {
  const { status, stdout, stderr } = spawnSync(program, [flag], { encoding: 'utf8' })
  if (status !== 0) return undefined
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0]
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly kernel: string
  readonly node: string
  /** The most files that a process may have open; idle streams need two each. */
  readonly files: number
  /** Of the last minute, before the bench began: what else is going on. */
  readonly load: number
  readonly pinning: string
}

export const describeMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  kernel: `Linux ${release()} ${arch()}`,
  node: process.versions.node,
  files: Number(
    /^Max open files +\d+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1],
  ),
  load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  pinning: pinned
    ? 'proxy on one core, backend and load generator on the other'
    : 'none: there is no taskset here, or only one core',
})
