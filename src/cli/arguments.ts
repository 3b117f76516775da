// The command line: arguments -> a command, or a text to print. Nothing is run here.
import yargs from 'yargs'
import { suggestion } from '../config/nearest.ts'
import { implementation } from '../version.ts'
import type { ConfigSource } from './config-source.ts'
import type { LogChoice } from './serve.ts'

export type Command =
  | { readonly name: 'serve'; readonly source: ConfigSource; readonly log: LogChoice }
  | { readonly name: 'check'; readonly file: string }
  | { readonly name: 'demo'; readonly once: boolean; readonly port: number | undefined }
  /** Help or the version was asked for. */
  | { readonly name: 'print'; readonly text: string }
  | { readonly name: 'refuse'; readonly reason: string }

const levels = ['trace', 'debug', 'info', 'warn', 'error'] as const
const formats = ['auto', 'json', 'pretty'] as const
const commands = ['serve', 'check', 'demo']
const serveOptions = [
  'config',
  'backend',
  'path',
  'port',
  'host',
  'public-url',
  'log-level',
  'log-format',
]
const known: Readonly<Record<string, readonly string[]>> = {
  serve: serveOptions,
  check: ['config'],
  demo: ['once', 'port'],
}
const everywhere = ['help', 'version']

class UsageError extends Error {}

interface FileArguments {
  readonly file: string | undefined
  readonly config: string | undefined
}

const fileOf = ({ file, config }: FileArguments): string | undefined => {
  if (file !== undefined && config !== undefined) {
    throw new UsageError('name the configuration file once, not with --config as well')
  }
  return file ?? config
}

const portOf = (port: number | undefined): number | undefined => {
  if (port === undefined || (Number.isInteger(port) && port >= 0 && port <= 65_535)) return port
  throw new UsageError('--port: expected a whole number from 0 to 65535')
}

interface ServeArguments extends FileArguments {
  readonly backend: string | undefined
  readonly path: string | undefined
  readonly port: number | undefined
  readonly host: string | undefined
  readonly 'public-url': string | undefined
}

const sourceOf = (argv: ServeArguments): ConfigSource => {
  const file = fileOf(argv)
  const { backend, path, host } = argv
  const port = portOf(argv.port)
  if (file === undefined && backend === undefined) {
    throw new UsageError('serve needs a configuration file (--config FILE) or --backend URL')
  }
  if (backend !== undefined) {
    if (file === undefined) return { backend, path, port, host, publicUrl: argv['public-url'] }
    throw new UsageError('serve takes a configuration file or --backend, not both')
  }
  const stray = Object.entries({ path, port, host, 'public-url': argv['public-url'] }).find(
    ([, value]) => value !== undefined,
  )
  if (stray !== undefined) {
    throw new UsageError(`--${stray[0]} goes with --backend; in a file it has a key of its own`)
  }
  return { file: file ?? '' }
}

/** "Unknown argument: bakend" as a sentence with the nearest option that there is. */
const explain = (message: string, argv: readonly string[]): string => {
  const unknown = /^Unknown (?:argument|command)s?: (.+)$/.exec(message)?.[1]
  if (unknown === undefined) return message.replace(/\.$/, '')
  const [name = ''] = unknown.split(', ')
  const asOption = argv.some(
    (argument) => /^--?[^=]*/.exec(argument)?.[0].replace(/^--?/, '') === name,
  )
  const command = argv.find((argument) => commands.includes(argument))
  if (!asOption && command === undefined)
    return `unknown command "${name}"${suggestion(name, commands)}`
  if (!asOption) return `unexpected argument "${name}"`
  const options = [...(known[command ?? ''] ?? []), ...everywhere]
  return `unknown option --${name}${suggestion(name, options)}`
}

/** Reads the arguments after the program's name. */
export async function readArguments(argv: readonly string[]): Promise<Command> {
  let command: Command | undefined
  let printed = ''
  const parser = yargs()
    .scriptName('causeway')
    .usage('$0 <command>\n\nA reverse proxy that lets every MCP client reach the server behind it.')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'duplicate-arguments-array': false,
    })
    .command(
      'serve [file]',
      'Run the proxy',
      (it) =>
        it
          .positional('file', { type: 'string', describe: 'The same as --config' })
          .option('config', {
            alias: 'c',
            type: 'string',
            requiresArg: true,
            describe: 'Configuration file (YAML)',
          })
          .option('backend', {
            type: 'string',
            requiresArg: true,
            describe: 'Instead of a file: URL of the MCP server',
          })
          .option('path', {
            type: 'string',
            requiresArg: true,
            describe: 'Path for clients; /mcp by default',
          })
          .option('port', {
            type: 'number',
            requiresArg: true,
            describe: 'Port to listen on; 8080 by default',
          })
          .option('host', {
            type: 'string',
            requiresArg: true,
            describe: 'Address to listen on; 127.0.0.1 by default',
          })
          .option('public-url', {
            type: 'string',
            requiresArg: true,
            describe: 'What clients see, such as the address of a tunnel',
          })
          .option('log-level', { choices: levels, describe: 'The least level that is logged' })
          .option('log-format', { choices: formats, describe: 'JSON lines or text for people' })
          .example('$0 serve --backend https://example.com/sse', 'Serve one backend on /mcp')
          .example('$0 serve --config proxy.yaml', 'Serve what a file says'),
      (it) => {
        const { 'log-level': level, 'log-format': format } = it
        const log = { ...(level && { level }), ...(format && { format }) }
        command = { name: 'serve', source: sourceOf(it), log }
      },
    )
    .command(
      'check [file]',
      'Say what is wrong with a configuration file, or what it serves',
      (it) =>
        it
          .positional('file', { type: 'string', describe: 'The same as --config' })
          .option('config', {
            alias: 'c',
            type: 'string',
            requiresArg: true,
            describe: 'Configuration file (YAML)',
          })
          .example('$0 check --config proxy.yaml', 'Every problem at once, with line and column'),
      (it) => {
        const file = fileOf(it)
        if (file === undefined)
          throw new UsageError('check needs a configuration file (--config FILE)')
        command = { name: 'check', file }
      },
    )
    .command(
      'demo',
      'See a broken backend, and the same backend through the proxy',
      (it) =>
        it
          .option('once', { type: 'boolean', default: false, describe: 'End after the last step' })
          .option('port', {
            type: 'number',
            requiresArg: true,
            describe: 'Port of the proxy; any free one by default',
          })
          .example('$0 demo', 'Play it, then keep running for your own requests'),
      (it) => {
        command = { name: 'demo', once: it.once, port: portOf(it.port) }
      },
    )
    .example('$0 demo', 'See what it does')
    .example('$0 serve --backend https://example.com/sse', 'Serve one backend on /mcp')
    .example('$0 serve --config proxy.yaml', 'Serve what a file says')
    .example('$0 check --config proxy.yaml', 'Check a file')
    .demandCommand(1, 'a command is needed: serve, check or demo')
    .strict()
    .help()
    .version(implementation.version)
    .wrap(100)
    .exitProcess(false)
    .fail((message, error) => {
      // What yargs itself finds wrong comes as a message, in some cases inside an error of its own kind.
      if (error !== undefined && error.name !== 'YError') throw error
      throw new UsageError(explain(message || error?.message || 'not understood', argv))
    })
  try {
    await parser.parseAsync([...argv], {}, (_error, _argv, output) => {
      printed = output
    })
  } catch (error) {
    if (error instanceof UsageError) return { name: 'refuse', reason: error.message }
    throw error
  }
  return command ?? { name: 'print', text: printed }
}
