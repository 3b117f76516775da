// `causeway demo`: a broken legacy backend, what a modern client gets from it, and what it gets through the proxy. Each
// answer is checked, so that the demo tells the truth or fails.
import { isDeepStrictEqual, styleText } from 'node:util'
import { systemClock } from '../clock.ts'
import { configForBackend } from '../config/load.ts'
import { startProxy } from '../proxy/server.ts'
import type { RunningProxy } from '../proxy/server.ts'
import { createLog } from '../telemetry/log.ts'
import { createMetrics } from '../telemetry/metrics.ts'
import { startDemoBackend } from './demo-backend.ts'
import { post, readStream } from './demo-client.ts'
import type { Answer } from './demo-client.ts'
import { startFailure } from './serve.ts'
import type { ExitCode, Terminal } from './terminal.ts'

export interface DemoOptions {
  /** Ends after the last step instead of staying up. */
  readonly once: boolean
  readonly port: number | undefined
}

/** Shows a step and keeps count of what was not as it should be. */
interface Stage {
  heading(text: string): void
  sent(text: string): void
  got(text: string): void
  /** Says whether the step went as it should. */
  verdict(right: boolean, text: string): void
  readonly failures: number
}

const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'demo-client', version: '1.0.0' },
  },
}
const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' }
const listTools = { jsonrpc: '2.0', id: 2, method: 'tools/list' }
const callEcho = (id: number | string, text: string): object => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name: 'echo', arguments: { text } },
})
const echoed = (id: number | string, text: string): object => ({
  jsonrpc: '2.0',
  id,
  result: { content: [{ type: 'text', text }] },
})

/** What a Streamable HTTP client sends along (2025-06-18, Transports, "Sending Messages to the Server"). */
const modern = { accept: 'application/json, text/event-stream' }

const createStage = ({ out, colours }: Terminal): Stage => {
  const paint = (style: 'bold' | 'dim' | 'green' | 'red', text: string): string =>
    colours ? styleText(style, text, { validateStream: false }) : text
  const block = (mark: string, text: string): void => {
    for (const line of text.replace(/\n+$/, '').split('\n')) out(`  ${mark} ${line}`.trimEnd())
  }
  let failures = 0
  return {
    heading: (text) => out(`\n${paint('bold', text)}`),
    sent: (text) => block(paint('dim', '>'), text),
    got: (text) => block(paint('dim', '<'), text),
    verdict(right, text) {
      if (!right) failures++
      out(`  ${right ? paint('green', 'ok:') : paint('red', 'WRONG:')} ${text}`)
    },
    get failures() {
      return failures
    },
  }
}

const shown = ({ status, contentType, session, body }: Answer): string =>
  [
    `${status} ${contentType}`.trimEnd(),
    ...(session === undefined ? [] : [`Mcp-Session-Id: ${session}`]),
    ...(body === '' ? [] : [body]),
  ].join('\n')

async function playBackend(url: string, stage: Stage): Promise<void> {
  stage.heading('1. The backend alone: a modern client POSTs initialize to its URL')
  stage.sent(`POST ${url}  ${JSON.stringify(initialize)}`)
  const answer = await post(url, initialize, modern)
  stage.got(shown(answer))
  stage.verdict(answer.status === 405, 'the backend does not know this way of speaking')

  stage.heading('2. The backend alone: the client falls back to reading its event stream')
  stage.sent(`GET ${url}`)
  const stream = await readStream(url, (text) => text.includes('heartbeat'))
  stage.got(stream)
  const unreadable = !/^data:/m.test(stream) && /^ {10}data:/m.test(stream)
  stage.verdict(unreadable, 'by the standard no line here is a data line: a client waits for ever')
}

async function playProxy(url: string, stage: Stage): Promise<void> {
  const step = async (
    heading: string,
    message: object,
    headers: Readonly<Record<string, string>>,
  ): Promise<Answer> => {
    stage.heading(heading)
    stage.sent(`POST ${url}  ${JSON.stringify(message)}`)
    const answer = await post(url, message, headers)
    stage.got(shown(answer))
    return answer
  }

  const first = await step('3. Through Causeway: the same initialize', initialize, modern)
  const { serverInfo, protocolVersion } = (first.message?.result ?? {}) as Record<string, unknown>
  const { name } = (serverInfo ?? {}) as { readonly name?: string }
  const session = first.session ?? ''
  stage.verdict(
    first.status === 200 && first.message?.id === 1 && name === 'demo-backend' && session !== '',
    'the answer is that of the backend, with a session of the proxy',
  )

  const following = {
    ...modern,
    'mcp-session-id': session,
    'mcp-protocol-version': String(protocolVersion),
  }
  const second = await step('4. Through Causeway: initialized', initialized, following)
  stage.verdict(second.status === 202 && second.body === '', 'taken')

  const third = await step('5. Through Causeway: tools/list', listTools, following)
  const { tools = [] } = (third.message?.result ?? {}) as { readonly tools?: { name: string }[] }
  const names = tools.map((tool) => tool.name)
  stage.verdict(
    third.message?.id === 2 && isDeepStrictEqual(names, ['echo', 'time']),
    'all tools of the backend',
  )

  const call = callEcho('three', 'across')
  const fourth = await step('6. Through Causeway: tools/call', call, following)
  const right = isDeepStrictEqual(fourth.message, echoed('three', 'across'))
  stage.verdict(right, 'the right answer, under the id that the client chose')

  const bare = callEcho(7, 'no handshake')
  const fifth = await step('7. Through Causeway: a single POST without any handshake', bare, {})
  const json = fifth.contentType.startsWith('application/json')
  stage.verdict(
    json && isDeepStrictEqual(fifth.message, echoed(7, 'no handshake')),
    'one request, one JSON answer',
  )
}

const hints = (url: string, backendUrl: string): string => `
Both keep running. In another terminal:

  curl -i ${url} -H 'Content-Type: application/json' -d '${JSON.stringify(listTools)}'
  curl -N ${url}
  curl -N ${backendUrl}

The second is the clean event stream of the proxy, the third that of the backend. Any MCP client takes
${url} as it is. Ctrl-C ends it.`

/** Plays the demo. 1 when an answer was not what it should be, or nothing could be started. */
export async function demo({ once, port }: DemoOptions, terminal: Terminal): Promise<ExitCode> {
  const stage = createStage(terminal)
  const backend = await startDemoBackend()
  const backendUrl = `${backend.url}/sse`
  const loaded = configForBackend({ backend: backendUrl, path: '/sse', port: port ?? 0 })
  if (!loaded.ok) throw new Error('the configuration of the demo is wrong')
  const stopped = once ? undefined : terminal.untilStopped()

  let proxy: RunningProxy
  try {
    // Only failures are logged: the demo tells the rest itself.
    const log = createLog({ level: 'error', format: 'auto' })
    const services = { log, metrics: createMetrics(), clock: systemClock }
    proxy = await startProxy(loaded.config, services)
  } catch (reason) {
    await backend.close()
    terminal.err(startFailure(reason))
    return 1
  }

  const url = `${proxy.url}/sse`
  try {
    await playBackend(backendUrl, stage)
    await playProxy(url, stage)
  } catch (reason) {
    stage.verdict(false, `no answer: ${(reason as Error).message}`)
  }
  terminal.out(
    stage.failures === 0 ? '\nAll steps were right.' : `\n${stage.failures} steps went wrong.`,
  )
  if (stopped !== undefined) {
    terminal.out(hints(url, backendUrl))
    await stopped
  }
  await proxy.stop()
  await backend.close()
  return stage.failures === 0 ? 0 : 1
}
