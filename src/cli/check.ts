// `causeway check`: reads a configuration and says everything that is wrong with it, or what it would serve.
import type { RouteConfig } from '../config/schema.ts'
import { readConfig } from './config-source.ts'
import type { ExitCode, Terminal } from './terminal.ts'

const summary = (route: RouteConfig): string =>
  'backend' in route
    ? `${route.name}: ${route.path.text} -> ${route.backend.url.text} (${route.backend.dialect}), for ${route.clients.join(', ')}`
    : `${route.name}: ${route.path.text} -> ${route.passthrough} (passed through as it is)`

export function check(file: string, terminal: Terminal): ExitCode {
  const reading = readConfig({ file }, terminal.env)
  if (!reading.ok) {
    for (const problem of reading.problems) terminal.out(problem)
    return 2
  }
  for (const route of reading.config.routes) terminal.out(summary(route))
  return 0
}
