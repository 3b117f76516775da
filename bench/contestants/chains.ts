// Chains of npm tools, as users put them together today: one tool turns the backend into a stdio server, another one
// serves that. They are no dependencies; npx fetches these versions when `--chains` asks for them.
import { freePort, listens } from './ports.ts'
import { start } from '../processes.ts'
import { waitFor } from '../wait-for.ts'
import { backendUrl } from './contestant.ts'
import type { Contestant, Setting } from './contestant.ts'

const mcpProxy = 'mcp-proxy@6.7.19'
const mcpRemote = 'mcp-remote@0.15.1'
const supergateway = 'supergateway@4.0.0'

interface Chain {
  readonly name: string
  readonly packages: readonly string[]
  readonly args: (port: number, setting: Setting) => string[]
}

/** Preloaded, because some of the tools listen on every address otherwise. */
const loopback = new URL('../../test/fixtures/loopback.ts', import.meta.url).href

function chain({ name, packages, args }: Chain): Contestant {
  return {
    name,
    version: packages.join(' > '),
    converts: true,
    yardstick: false,
    warmup: 'slow-jit',
    async start(setting) {
      const port = await freePort()
      const started = start({
        core: 'proxy',
        command: 'npx',
        args: ['-y', ...args(port, setting)],
        stdio: 'ignore',
        group: true,
        env: { NODE_OPTIONS: `--import ${loopback}` },
      })
      // The first time npx has to fetch them.
      await waitFor(() => listens(port), `${name} to listen`, 120_000)
      return { ...started, port, path: setting.crossing.client === 'sse' ? '/sse' : '/mcp' }
    },
  }
}

export const chains: readonly Contestant[] = [
  chain({
    name: 'mcp-proxy > mcp-remote',
    packages: [mcpProxy, mcpRemote],
    args: (port, setting) => [
      mcpProxy,
      '--host=127.0.0.1',
      `--port=${port}`,
      '--',
      'npx',
      '-y',
      mcpRemote,
      backendUrl(setting),
      '--allow-http',
      '--transport',
      setting.crossing.backend === 'sse' ? 'sse-only' : 'http-only',
    ],
  }),
  chain({
    name: 'supergateway > supergateway',
    packages: [supergateway, supergateway],
    args: (port, setting) => [
      supergateway,
      '--stdio',
      `npx -y ${supergateway} ${setting.crossing.backend === 'sse' ? '--sse' : '--streamableHttp'} ${backendUrl(setting)} --logLevel none`,
      '--outputTransport',
      setting.crossing.client === 'sse' ? 'sse' : 'streamableHttp',
      '--stateful',
      '--port',
      String(port),
      '--logLevel',
      'none',
    ],
  }),
]
