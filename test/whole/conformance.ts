// The protocol's official conformance suite for servers of 2025-11-25 and of 2026-07-28: straight at a backend, as a control
// of the fixture, and at the proxy in front of backends of every dialect, configured and found out. A client must not see a
// difference, but for what a backend has no way to say; that is listed here, check by check.
import t from 'tap'
import type { Test } from 'tap'
import {
  checkNames,
  checksWith,
  requiredOfServers,
  runConformance,
  scenariosWith,
} from '../fixtures/conformance-suite.ts'
import type { Results } from '../fixtures/conformance-suite.ts'
import { startEverythingBackend } from '../fixtures/everything-backend.ts'
import type { EverythingDialect } from '../fixtures/everything-backend.ts'
import { startModernBackend } from '../fixtures/everything-modern.ts'
import { startProxy } from '../fixtures/proxy.ts'

/** `modern` is of 2026-07-28 alone; `dual` takes clients of earlier revisions as well, without sessions. */
type Backend = EverythingDialect | 'modern' | 'dual'

/** By reason, `scenario: check` of each check that it lies behind. */
type Checks = Readonly<Record<string, readonly string[]>>

/** The reason, by scenario. */
type Scenarios = Readonly<Record<string, string>>

interface Limits {
  /** Checks that must fail, by why they cannot be met. */
  readonly failing: Checks
  /** Checks in which the suite must warn. */
  readonly warned: Checks
  /** Scenarios in which the suite finds nothing to check, and why. */
  readonly unchecked: Scenarios
}

interface Stage {
  readonly serves: Backend
  /** The `dialect` of the route's backend; undefined: there is no proxy. */
  readonly configured: string | undefined
  readonly limits: Limits
}

interface Suite {
  /** How many scenarios the suite demands. */
  readonly required: number
  /** Scenarios that the suite runs without demanding them; here they count all the same. */
  readonly others: readonly string[]
  /** Scenarios that the suite runs and that mean nothing here, and why. */
  readonly unjudged: Scenarios
  /** How many tools the suite calls. */
  readonly tools: number
  /** Tools that the suite itself calls more than once, and rounds of them that it has more than once. */
  readonly calledAgain: readonly string[]
  readonly stages: readonly Stage[]
}

const stage = (serves: Backend, configured: string | undefined, limits: Limits): Stage => ({
  serves,
  configured,
  limits,
})

const none: Limits = { failing: {}, warned: {}, unchecked: {} }

/** A backend that only answers POSTs has no way to say anything else, and the proxy must not make it up. */
const answersOnly: Limits = {
  ...none,
  failing: {
    'a log message is no answer': ['tools-call-with-logging: tools-call-with-logging'],
    'a report of progress is no answer': ['tools-call-with-progress: tools-call-with-progress'],
    'the backend cannot ask': [
      'tools-call-sampling: tools-call-sampling',
      'tools-call-elicitation: tools-call-elicitation',
      'elicitation-sep1034-defaults: elicitation-sep1034-general',
      'elicitation-sep1330-enums: elicitation-sep1330-general',
    ],
  },
  unchecked: {
    'server-sse-polling':
      'the first thing that the backend says is the answer, so there is no stream',
  },
}

const notResumable: Limits = {
  ...none,
  unchecked: { 'server-sse-polling': 'streams of 2026-07-28 are not to be come back for' },
}

const nameless: Limits = {
  ...none,
  failing: {
    'a question of 2025-11-25 has no field for the name that the suite expects': [
      'input-required-result-basic-elicitation: sep-2322-elicitation-incomplete',
    ],
  },
  warned: {
    'nor can an answer that comes before its question be known by that name': [
      'input-required-result-ignore-extra-params: sep-2322-ignore-unexpected-params',
    ],
  },
}

/** The same backend that only answers POSTs, towards clients of 2026-07-28. */
const modernAnswersOnly: Limits = {
  ...none,
  failing: {
    'a report of progress is no answer': ['tools-call-with-progress: tools-call-with-progress'],
    'the backend cannot ask': [
      'input-required-result-basic-elicitation: sep-2322-elicitation-incomplete',
      'input-required-result-basic-list-roots: sep-2322-list-roots-incomplete',
      'input-required-result-basic-sampling: sep-2322-sampling-incomplete',
      'input-required-result-capability-check: sep-2322-respect-client-capabilities',
      'input-required-result-multi-round: sep-2322-multi-round-r1',
      'input-required-result-multiple-input-requests: sep-2322-multiple-inputs-incomplete',
      'input-required-result-non-tool-request: sep-2322-non-tool-incomplete',
      'input-required-result-request-state: sep-2322-request-state-incomplete',
      'input-required-result-result-type: sep-2322-result-type-included',
    ],
    'nothing is asked, so there is no state to tamper with': [
      'input-required-result-tampered-state: sep-2322-reject-tampered-state',
    ],
    'nothing is asked, so no capability is missing': [
      'server-stateless: sep-2575-missing-capability-http-400',
      'server-stateless: sep-2575-server-rejects-undeclared-capability',
    ],
  },
  warned: {
    'nothing is asked, so nobody looks at the answers': [
      'input-required-result-missing-input-response: sep-2322-missing-response-rerequests',
      'input-required-result-validate-input: sep-2322-error-on-protocol-error',
      'input-required-result-validate-input: sep-2322-validate-input-responses',
    ],
    'a change is no answer': [
      'server-stateless: sep-2575-server-sends-prompts-list-changed-on-subscription',
      'server-stateless: sep-2575-server-sends-tools-list-changed-on-subscription',
    ],
  },
}

const noTasks = 'tasks are an extension that the backend does not have'

const suites: Readonly<Record<string, Suite>> = {
  '2025-11-25': {
    required: 30,
    others: ['json-schema-2020-12', 'server-session-lifecycle', 'server-sse-polling'],
    unjudged: {},
    tools: 13,
    calledAgain: [],
    stages: [
      stage('streamable', undefined, none),
      stage('streamable', 'streamable', none),
      stage('streamable', 'auto', none),
      stage('sse', 'sse', none),
      stage('sse', 'auto', none),
      stage('rpc', 'rpc', answersOnly),
      stage('rpc', 'auto', answersOnly),
      stage('modern', 'stateless', notResumable),
      stage('modern', 'auto', notResumable),
    ],
  },
  '2026-07-28': {
    required: 37,
    others: [
      'http-custom-header-server-validation',
      'http-header-validation',
      'json-schema-2020-12',
    ],
    unjudged: {
      'tasks-capability-negotiation': noTasks,
      'tasks-dispatch-and-envelope': noTasks,
      'tasks-lifecycle': noTasks,
      'tasks-mrtr-composition': noTasks,
      'tasks-mrtr-input': noTasks,
      'tasks-request-headers': noTasks,
      'tasks-request-state-removal': noTasks,
      'tasks-required-task-error': noTasks,
      'tasks-status-notifications': noTasks,
      'tasks-wire-fields': noTasks,
    },
    tools: 21,
    calledAgain: [
      'test_custom_header',
      'test_input_required_result_elicitation',
      'test_input_required_result_elicitation, round 2',
      'test_simple_text',
      'test_trigger_tool_change',
    ],
    stages: [
      stage('modern', undefined, none),
      stage('modern', 'stateless', none),
      stage('modern', 'auto', none),
      stage('dual', 'auto', none),
      stage('streamable', 'streamable', nameless),
      stage('streamable', 'auto', nameless),
      stage('sse', 'sse', nameless),
      stage('sse', 'auto', nameless),
      stage('rpc', 'rpc', modernAnswersOnly),
      stage('rpc', 'auto', modernAnswersOnly),
    ],
  },
}

const startBackend = (serves: Backend) => {
  if (serves === 'modern') return startModernBackend({ legacy: 'reject' })
  if (serves === 'dual') return startModernBackend({ legacy: 'stateless' })
  return startEverythingBackend({ dialect: serves })
}

const startProxyFor = async (t: Test, url: string, dialect: string): Promise<string> => {
  const proxy = await startProxy({
    routes: [{ name: 'everything', path: '/mcp', backend: { url, dialect } }],
  })
  t.teardown(() => proxy.stop())
  return `${proxy.url}/mcp`
}

const named = (checks: Checks): readonly string[] => Object.values(checks).flat().toSorted()

const scenarioOf = (check: string): string => check.slice(0, check.indexOf(': '))

const check = (
  t: Test,
  results: Results,
  required: readonly string[],
  { failing, warned, unchecked }: Limits,
): void => {
  const failed = scenariosWith(results, 'FAILURE')
  const passed = required.filter((scenario) => !failed.includes(scenario))
  const limited = new Set(named(failing).map(scenarioOf))
  const expected = required.filter((scenario) => !limited.has(scenario))
  t.equal(passed.length, expected.length, `${expected.length} of ${required.length} pass`)
  t.strictSame(
    checkNames(results, 'FAILURE'),
    named(failing),
    'no other checks fail than those listed',
    {
      checks: checksWith(results, 'FAILURE'),
    },
  )
  t.strictSame(
    checkNames(results, 'WARNING'),
    named(warned),
    'the suite warns of no others than those listed',
    {
      checks: checksWith(results, 'WARNING'),
    },
  )

  const told = [...scenariosWith(results, 'SUCCESS'), ...failed]
  const silent = [...results.keys()].filter((scenario) => !told.includes(scenario))
  t.strictSame(silent, Object.keys(unchecked), 'no other scenarios go by without a check')
}

t.setTimeout(180_000)
// The stages share nothing, and most of their time is spent in processes of their own.
t.jobs = 4

for (const [revision, suite] of Object.entries(suites)) {
  const { required, others, unjudged, tools, calledAgain, stages } = suite

  for (const { serves, configured, limits } of stages) {
    const how = configured === 'auto' ? `${serves} found out` : serves
    const where =
      configured === undefined ? `straight to ${how}, as a control` : `behind the proxy, ${how}`

    t.test(`${revision} ${where}`, { buffered: true }, async (t) => {
      const backend = await startBackend(serves)
      t.teardown(() => backend.close())
      const url =
        configured === undefined ? backend.url : await startProxyFor(t, backend.url, configured)
      const results = await runConformance(url, revision)

      const demanded = await requiredOfServers(revision)
      t.equal(demanded.length, required, `the suite demands ${required} scenarios`)
      t.strictSame(
        [...results.keys()].toSorted(),
        [...demanded, ...others, ...Object.keys(unjudged)].toSorted(),
        'every scenario of the revision has run',
      )
      const judged = [...results].filter(([scenario]) => !(scenario in unjudged))
      check(t, new Map(judged), demanded, limits)

      const called = new Set([...backend.calls.keys()].map((name) => name.split(',')[0]))
      t.equal(called.size, tools, 'each tool that the suite calls has run')
      const repeated = [...backend.calls].filter(
        ([name, count]) => count !== 1 && !calledAgain.includes(name),
      )
      t.strictSame(repeated, [], 'and none has run twice for one call')
    })
  }
}
