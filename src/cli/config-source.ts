// Where a command's configuration comes from: a file, or the few options that stand for one.
import { readFileSync } from 'node:fs'
import { createRateLimits } from '../auth/rate-limits.ts'
import { systemClock } from '../clock.ts'
import { configForBackend, formatProblem, loadConfig } from '../config/load.ts'
import type { BackendOptions, Problem } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { ProxyError } from '../errors.ts'
import { verifyGuardOf } from '../proxy/verifying.ts'

export type ConfigSource = { readonly file: string } | BackendOptions

export type Reading =
  | { readonly ok: true; readonly config: Config }
  /** One line each. */
  | { readonly ok: false; readonly problems: readonly string[] }

const readText = (path: string): string => readFileSync(path, 'utf8')

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
}

/** Which option a problem of a configuration without a file came in by. */
const options: Readonly<Record<string, string>> = {
  'listen.port': '--port',
  'listen.host': '--host',
  publicUrl: '--public-url',
  'routes[0].path': '--path',
  'routes[0].backend.url': '--backend',
}

const byOption = ({ path, message }: Problem): string =>
  path in options
    ? `${options[path]}: ${message}`
    : formatProblem('causeway', { line: 0, column: 0, path, message })

/** Reads a configuration, or says everything that is wrong with it. */
export function readConfig(
  source: ConfigSource,
  env: Readonly<Record<string, string | undefined>>,
): Reading {
  if (!('file' in source)) {
    const result = configForBackend(source)
    return result.ok ? result : { ok: false, problems: result.problems.map(byOption) }
  }
  const { file } = source
  let text: string
  try {
    text = readText(file)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    return { ok: false, problems: [`${file}: cannot be read: ${reasons[code] ?? message}`] }
  }
  const result = loadConfig(text, file, env, readText)
  if (!result.ok) {
    return { ok: false, problems: result.problems.map((problem) => formatProblem(file, problem)) }
  }
  const problems = guardProblems(result.config).map((problem) => `${file}: ${problem}`)
  return problems.length > 0 ? { ok: false, problems } : result
}

/** What only shows where keys are read and templates are put to use. Asks nobody anything. */
function guardProblems({ routes }: Config): readonly string[] {
  const problems: string[] = []
  for (const route of routes) {
    if (!('backend' in route) || route.auth.type !== 'verify') continue
    try {
      verifyGuardOf(route, { clock: systemClock, limits: createRateLimits({}) })
    } catch (reason) {
      problems.push(ProxyError.from(reason).message)
    }
  }
  return problems
}
