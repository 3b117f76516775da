// `causeway serve`: runs the proxy until it is asked to stop, then lets running requests finish.
import { systemClock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { ProxyError } from '../errors.ts'
import { startProxy } from '../proxy/server.ts'
import type { RunningProxy } from '../proxy/server.ts'
import { createLog } from '../telemetry/log.ts'
import { createMetrics } from '../telemetry/metrics.ts'
import { readConfig } from './config-source.ts'
import type { ConfigSource } from './config-source.ts'
import type { ExitCode, Terminal } from './terminal.ts'

/** What the command line says about the log, which goes before what the configuration says. */
export type LogChoice = Partial<Config['log']>

/** Why a proxy did not start, in one sentence. */
export function startFailure(reason: unknown): string {
  const error = ProxyError.from(reason)
  const inner = error.code === 'INTERNAL' && error.cause instanceof Error ? error.cause : error
  return `causeway: ${inner.message}`
}

export async function serve(
  source: ConfigSource,
  chosen: LogChoice,
  terminal: Terminal,
): Promise<ExitCode> {
  const reading = readConfig(source, terminal.env)
  if (!reading.ok) {
    for (const problem of reading.problems) terminal.err(problem)
    return 2
  }
  const { config } = reading
  const log = createLog({ ...config.log, ...chosen })
  terminal.onCrash((reason) => log.fatal({ err: reason }, 'crashed'))
  const stopped = terminal.untilStopped()

  let proxy: RunningProxy
  try {
    proxy = await startProxy(config, { log, metrics: createMetrics(), clock: systemClock })
  } catch (reason) {
    terminal.err(startFailure(reason))
    return 1
  }
  // Scripts wait for this line and read the addresses from it.
  const routes = config.routes.map(({ name, path }) => ({ name, path: path.text }))
  log.info({ url: proxy.url, adminUrl: proxy.adminUrl, routes }, 'listening')

  log.info({ signal: await stopped }, 'stopping')
  await proxy.stop()
  log.info('stopped')
  return 0
}
