// The protocol's official conformance suite for servers of 2025-11-25: straight at a backend, as a control of the fixture,
// and at the proxy in front of the same backend in each dialect, configured and found out. A client must not see a difference.
import t from 'tap'
import type { Test } from 'tap'
import {
  checksWith,
  requiredOfServers,
  runConformance,
  scenariosWith,
} from '../fixtures/conformance-suite.ts'
import type { Results } from '../fixtures/conformance-suite.ts'
import { startEverythingBackend } from '../fixtures/everything-backend.ts'
import type { EverythingDialect } from '../fixtures/everything-backend.ts'
import { startProxy } from '../fixtures/proxy.ts'

const revision = '2025-11-25'

/** Scenarios that the suite runs without demanding them; here they count all the same. */
const notRequired = ['json-schema-2020-12', 'server-session-lifecycle', 'server-sse-polling']

type Reasons = Readonly<Record<string, string>>

interface Limits {
  /** Scenarios that must fail, and why they cannot cross. */
  readonly failing: Reasons
  /** Scenarios in which the suite finds nothing to check, and why. */
  readonly unchecked: Reasons
}

const none: Limits = { failing: {}, unchecked: {} }

/** A backend that only answers POSTs has no way to say anything else, and the proxy must not make it up. */
const answersOnly: Limits = {
  failing: {
    'tools-call-with-logging': 'a log message is no answer',
    'tools-call-with-progress': 'a report of progress is no answer',
    'tools-call-sampling': 'the backend cannot ask for a sample',
    'tools-call-elicitation': 'the backend cannot ask the user',
    'elicitation-sep1034-defaults': 'the backend cannot ask the user',
    'elicitation-sep1330-enums': 'the backend cannot ask the user',
  },
  unchecked: {
    'server-sse-polling':
      'the first thing that the backend says is the answer, so there is no stream',
  },
}

interface Stage {
  readonly serves: EverythingDialect
  /** The `dialect` of the route's backend; undefined: there is no proxy. */
  readonly configured: string | undefined
  readonly limits: Limits
}

const stages: Readonly<Record<string, Stage>> = {
  'straight to the backend, as a control': {
    serves: 'streamable',
    configured: undefined,
    limits: none,
  },
  'behind the proxy, streamable': {
    serves: 'streamable',
    configured: 'streamable',
    limits: none,
  },
  'behind the proxy, streamable found out': {
    serves: 'streamable',
    configured: 'auto',
    limits: none,
  },
  'behind the proxy, sse': { serves: 'sse', configured: 'sse', limits: none },
  'behind the proxy, sse found out': { serves: 'sse', configured: 'auto', limits: none },
  'behind the proxy, rpc': { serves: 'rpc', configured: 'rpc', limits: answersOnly },
  'behind the proxy, rpc found out': { serves: 'rpc', configured: 'auto', limits: answersOnly },
}

const startProxyFor = async (t: Test, url: string, dialect: string): Promise<string> => {
  const proxy = await startProxy({
    routes: [{ name: 'everything', path: '/mcp', backend: { url, dialect } }],
  })
  t.teardown(() => proxy.stop())
  return `${proxy.url}/mcp`
}

const check = async (t: Test, results: Results, { failing, unchecked }: Limits): Promise<void> => {
  const required = await requiredOfServers(revision)
  t.equal(required.length, 30, 'the suite demands 30 scenarios')
  t.strictSame([...results.keys()].toSorted(), [...required, ...notRequired].toSorted())

  const failed = scenariosWith(results, 'FAILURE')
  const passed = required.filter((scenario) => !failed.includes(scenario))
  t.equal(passed.length, 30 - Object.keys(failing).length, 'so many of the 30 pass')
  t.strictSame(failed.toSorted(), Object.keys(failing).toSorted(), 'these fail', {
    checks: checksWith(results, 'FAILURE'),
  })
  t.strictSame(checksWith(results, 'WARNING'), [], 'the suite warns of nothing')

  const succeeded = scenariosWith(results, 'SUCCESS')
  const silent = [...results.keys()].filter(
    (scenario) => !succeeded.includes(scenario) && !failed.includes(scenario),
  )
  t.strictSame(silent, Object.keys(unchecked), 'these check nothing')
}

t.setTimeout(180_000)
// The stages share nothing, and most of their time is spent in processes of their own.
t.jobs = 4

for (const [name, { serves, configured, limits }] of Object.entries(stages)) {
  t.test(name, { buffered: true }, async (t) => {
    const backend = await startEverythingBackend({ dialect: serves })
    t.teardown(() => backend.close())
    const url =
      configured === undefined ? backend.url : await startProxyFor(t, backend.url, configured)
    await check(t, await runConformance(url, revision), limits)

    t.equal(backend.calls.size, 13, 'each tool that the suite calls has run')
    const repeated = [...backend.calls].filter(([, count]) => count !== 1)
    t.strictSame(repeated, [], 'and none has run twice')
  })
}
