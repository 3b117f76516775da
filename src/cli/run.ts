// From arguments to a finished command and its exit code.
import { readArguments } from './arguments.ts'
import { check } from './check.ts'
import { demo } from './demo.ts'
import { serve } from './serve.ts'
import type { ExitCode, Terminal } from './terminal.ts'

/** Runs the command that `argv` (without the names of node and the script) asks for. */
export async function run(argv: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const command = await readArguments(argv)
  switch (command.name) {
    case 'serve':
      return serve(command.source, command.log, terminal)
    case 'check':
      return check(command.file, terminal)
    case 'demo':
      return demo(command, terminal)
    case 'print':
      terminal.out(command.text)
      return 0
    case 'refuse':
      terminal.err(`causeway: ${command.reason}\ncauseway --help says what there is.`)
      return 2
  }
}
