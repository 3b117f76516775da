// Causeway itself, compiled, and started by its bin as a user starts it: defaults throughout, with metrics and a log at
// info that goes to a file.
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { start } from '../processes.ts'
import type { Started } from '../processes.ts'
import { ownVersion, programVersion } from '../versions.ts'
import { waitFor } from '../wait-for.ts'
import { backendUrl } from './contestant.ts'
import type { Contestant, RunningContestant, Setting } from './contestant.ts'
import { freePort, listens } from './ports.ts'

const redis = programVersion('redis-server', '--version')

const main = new URL('../../dist/main.js', import.meta.url).pathname

interface Variant {
  readonly name: string
  /** Sessions are kept in a Redis server, on the other core; its CPU is not counted. */
  readonly redis?: boolean
  readonly nodeFlags?: readonly string[]
}

function causewayWith(variant: Variant): Contestant {
  return {
    name: variant.name,
    version: variant.redis === true ? `${ownVersion()}, Redis ${redis ?? 'absent'}` : ownVersion(),
    absent:
      variant.redis === true && redis === undefined ? 'redis-server is not installed' : undefined,
    converts: true,
    yardstick: false,
    warmup: 'jit',
    start: (setting) => startCauseway(variant, setting),
  }
}

async function startCauseway(
  { name, redis: inRedis = false, nodeFlags = [] }: Variant,
  setting: Setting,
): Promise<RunningContestant> {
  const config = join(setting.directory, `${name}.yaml`)
  const log = join(setting.directory, `${name}.log`)
  const server = inRedis ? await startRedis(setting.directory) : undefined
  writeFileSync(
    config,
    stringify({
      listen: { port: 0 },
      admin: { port: 0 },
      store: server === undefined ? { type: 'memory' } : { type: 'redis', url: server.url },
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
  const stop = async (): Promise<void> => {
    await started.stop()
    await server?.stop()
  }
  return { ...started, port: port ?? 0, path: '/mcp', stop }
}

async function startRedis(directory: string): Promise<Started & { readonly url: string }> {
  const port = await freePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', directory]
  const started = start({ core: 'load', command: 'redis-server', args, stdio: 'ignore' })
  await waitFor(() => listens(port), 'redis-server to listen')
  return { ...started, url: `redis://127.0.0.1:${port}` }
}

/** The port in the log line that scripts are to wait for. */
function listeningPort(log: string): number | undefined {
  const url = /"url":"([^"]+)".*"msg":"listening"/.exec(log)?.[1]
  return url === undefined ? undefined : Number(new URL(url).port)
}

export const causeways: readonly Contestant[] = [
  causewayWith({ name: 'causeway' }),
  causewayWith({ name: 'causeway-redis', redis: true }),
  causewayWith({ name: 'causeway-small', nodeFlags: ['--max-semi-space-size=4'] }),
]
