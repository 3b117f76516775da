// Contestants that are servers of the bench itself, in `servers/`, around Node or around a package.
import { startServer } from '../processes.ts'
import { versionOf } from '../versions.ts'
import { backendPaths, backendUrl } from './contestant.ts'
import type { Contestant, RunningContestant, Setting } from './contestant.ts'

async function startFile(
  name: string,
  args: readonly string[],
  { crossing }: Setting,
): Promise<RunningContestant> {
  const file = new URL(`servers/${name}.ts`, import.meta.url)
  const server = await startServer('proxy', file, args)
  return { ...server, path: backendPaths[crossing.client] }
}

/** Forwards as it is, whatever the dialect. */
function forwarding(
  name: string,
  version: string,
  file: string,
  options: { readonly yardstick?: boolean; readonly mode?: string } = {},
): Contestant {
  const { yardstick = false, mode } = options
  return {
    name,
    version,
    converts: false,
    yardstick,
    warmup: 'jit',
    start: (setting) =>
      startFile(
        file,
        [String(setting.backendPort), ...(mode === undefined ? [] : [mode])],
        setting,
      ),
  }
}

const node = `Node ${process.versions.node}`
const httpProxy = versionOf('http-proxy-3')

export const splice = forwarding('splice', node, 'splice')

export const pipe = forwarding('pipe', node, 'pipe', { yardstick: true })

export const lean = forwarding('lean', node, 'lean')

export const httpProxyBare = forwarding('http-proxy-3', httpProxy, 'http-proxy')

export const httpProxyAgent = forwarding('http-proxy-3-agent', httpProxy, 'http-proxy', {
  mode: 'keep-alive',
})

export const sdkBridge: Contestant = {
  name: 'sdk-bridge',
  version: versionOf('@modelcontextprotocol/sdk'),
  converts: true,
  yardstick: false,
  warmup: 'slow-jit',
  start: (setting) =>
    startFile('sdk-bridge', [backendUrl(setting), setting.crossing.backend], setting),
}

/** No contestant at all: what the load generator and the backend can do by themselves. */
export const direct: Contestant = {
  name: 'direct',
  version: node,
  converts: false,
  yardstick: true,
  warmup: 'jit',
  start: ({ backendPort, crossing }) =>
    Promise.resolve({
      pid: undefined,
      port: backendPort,
      path: backendPaths[crossing.client],
      stop: () => Promise.resolve(),
    }),
}
