// Causeway itself, compiled, and started by its bin as a user starts it: defaults throughout, with metrics and a log at
// info that goes to a file.
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { start } from '../processes.ts'
import { ownVersion } from '../versions.ts'
import { waitFor } from '../wait-for.ts'
import { backendUrl } from './contestant.ts'
import type { Contestant, RunningContestant, Setting } from './contestant.ts'

const main = new URL('../../dist/main.js', import.meta.url).pathname

interface Variant {
  readonly name: string
  readonly store: Readonly<Record<string, unknown>>
  readonly nodeFlags?: readonly string[]
}

function causewayWith(variant: Variant): Contestant {
  return {
    name: variant.name,
    version: ownVersion(),
    converts: true,
    yardstick: false,
    warmup: 'jit',
    start: (setting) => startCauseway(variant, setting),
  }
}

async function startCauseway(
  { name, store, nodeFlags = [] }: Variant,
  setting: Setting,
): Promise<RunningContestant> {
  const config = join(setting.directory, `${name}.yaml`)
  const log = join(setting.directory, `${name}.log`)
  writeFileSync(
    config,
    stringify({
      listen: { port: 0 },
      admin: { port: 0 },
      store,
      // All of the bench's sessions are one principal's.
      limits: { sessionsPerPrincipal: 10_000 },
      routes: [{ name: 'bench', path: '/mcp', backend: { url: backendUrl(setting) } }],
    }),
  )
  const output = openSync(log, 'w')
  const { profile } = setting
  const profiling =
    profile === undefined
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${dirname(profile)}`, `--cpu-prof-name=${basename(profile)}`]
  const started = start({
    core: 'proxy',
    command: process.execPath,
    args: [...nodeFlags, ...profiling, main, 'serve', config],
    stdio: ['ignore', output, output],
  })
  closeSync(output)
  let port: number | undefined
  await waitFor(() => {
    if (started.child.exitCode !== null) throw new Error(readFileSync(log, 'utf8'))
    port = listeningPort(readFileSync(log, 'utf8'))
    return port !== undefined
  }, 'causeway to listen')
  return { ...started, port: port ?? 0, path: '/mcp' }
}

/** The port in the log line that scripts are to wait for. */
function listeningPort(log: string): number | undefined {
  const url = /"url":"([^"]+)".*"msg":"listening"/.exec(log)?.[1]
  return url === undefined ? undefined : Number(new URL(url).port)
}

// One line for each store that sessions can be kept in; a new one, such as Redis, is added here.
export const causeways: readonly Contestant[] = [
  causewayWith({ name: 'causeway', store: { type: 'memory' } }),
  causewayWith({
    name: 'causeway-small',
    store: { type: 'memory' },
    nodeFlags: ['--max-semi-space-size=4'],
  }),
]
