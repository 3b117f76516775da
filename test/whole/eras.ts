// Every official client against every kind of backend, with the questions that a server may put to a client: what a
// session server asks of a modern client, and a modern server of a session client. The clients cannot tell.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import t from 'tap'
import {
  answersOf,
  capabilitiesOf,
  identity,
  secondSdkClient,
  sseClient,
  streamableClient,
  textOf,
} from '../fixtures/clients.ts'
import type { ClientOptions, Driver } from '../fixtures/clients.ts'
import { startEverythingBackend } from '../fixtures/everything-backend.ts'
import { startModernBackend } from '../fixtures/everything-modern.ts'
import { modernClient } from '../fixtures/modern-client.ts'
import { startProxy } from '../fixtures/proxy.ts'

/** A client of the second SDK that finds out by itself what the server is. */
interface Connected {
  callTool(name: string, args?: Record<string, unknown>): Promise<string>
  /** What it has settled on; undefined where its library knows one era only. */
  era(): string | undefined
  close(): Promise<void>
}

type Connect = (url: string, options: ClientOptions) => Promise<Connected>

const driven =
  (driver: Driver): Connect =>
  async (url, options) => {
    const client = await driver.connect(url, options)
    return {
      callTool: (name, args) => client.callTool(name, args),
      era: () => undefined,
      close: () => client.close(),
    }
  }

const findingOut: Connect = async (url, options) => {
  const client = new Client(identity, {
    capabilities: capabilitiesOf(options),
    versionNegotiation: { mode: 'auto' },
  })
  const answers = answersOf(options)
  client.setRequestHandler('sampling/createMessage', ({ params }) => answers.sample(params))
  client.setRequestHandler('elicitation/create', ({ params }) => answers.elicit(params))
  client.setRequestHandler('roots/list', answers.roots)
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  return {
    callTool: async (name, args = {}) => textOf(await client.callTool({ name, arguments: args })),
    era: () => client.getProtocolEra(),
    close: () => client.close(),
  }
}

const clients: Readonly<Record<string, Connect>> = {
  'second SDK, auto': findingOut,
  'second SDK, pinned to 2026-07-28': driven(modernClient),
  'second SDK, as it is': driven(secondSdkClient),
  'first SDK, Streamable HTTP': driven(streamableClient),
  'first SDK, HTTP with SSE': driven(sseClient),
}

const backends = {
  stateless: () => startModernBackend({ legacy: 'reject' }),
  streamable: () => startEverythingBackend({ dialect: 'streamable' }),
  sse: () => startEverythingBackend({ dialect: 'sse' }),
  rpc: () => startEverythingBackend({ dialect: 'rpc' }),
} as const

const able: ClientOptions = {
  sampling: (prompt) => `the model on: ${prompt}`,
  elicitation: (question) => `the user on: ${question}`,
  roots: ['file:///home/ann'],
}

/** What each tool asks, seen by what its result says of the answers. */
const questions: readonly (readonly [string, Record<string, unknown>, readonly RegExp[]])[] = [
  ['test_sampling', { prompt: 'Paris' }, [/the model on: Paris/]],
  ['test_elicitation', { message: 'Who?' }, [/accept/]],
  ['test_input_required_result_list_roots', {}, [/file:\/\/\/home\/ann/]],
  [
    'test_input_required_result_multiple_inputs',
    {},
    [/accept/, /the model on: Generate a greeting/, /file:\/\/\/home\/ann/],
  ],
  ['test_input_required_result_multi_round', {}, [/accept/]],
]

t.setTimeout(120_000)

for (const [dialect, start] of Object.entries(backends)) {
  for (const configured of [dialect, 'auto']) {
    t.test(`a ${dialect} backend, configured as ${configured}`, async (t) => {
      const backend = await start()
      t.teardown(() => backend.close())
      const proxy = await startProxy({
        routes: [
          { name: 'everything', path: '/mcp', backend: { url: backend.url, dialect: configured } },
        ],
      })
      t.teardown(() => proxy.stop())
      for (const [name, connect] of Object.entries(clients)) {
        const client = await connect(`${proxy.url}/mcp`, able)
        if (connect === findingOut) t.equal(client.era(), 'modern', `${name}: settles on modern`)
        t.match(await client.callTool('test_simple_text'), /simple text/, name)
        for (const [tool, args, expected] of questions) {
          const outcome = await client
            .callTool(tool, args)
            .catch((error: unknown) => `refused: ${String(error)}`)
          if (dialect === 'rpc') t.match(outcome, /no way|not support|refused/i, `${name}: ${tool}`)
          else for (const each of expected) t.match(outcome, each, `${name}: ${tool}`)
        }
        await client.close()
      }
    })
  }
}
