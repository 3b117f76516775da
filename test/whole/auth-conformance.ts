// The protocol's official conformance suite for clients, as far as it is about authorization: the second SDK straight at the
// suite's server, as a control, and through the proxy with `auth: relay`. Whatever a client does right without the proxy it
// must do right through it, but for what the proxy must do otherwise; that is listed here, check by check.
import t from 'tap'
import type { RelayAuth } from '../fixtures/auth-conformance-client.ts'
import { authScenarios, runAuthScenario } from '../fixtures/auth-conformance-suite.ts'
import type { Outcome } from '../fixtures/auth-conformance-suite.ts'

/** By scenario, what its operator has to write beside `type: relay`. */
const configured: Readonly<Record<string, RelayAuth>> = {
  'auth/metadata-var3': { issuer: 'challenge' },
  'auth/scope-from-www-authenticate': { scopes: ['mcp:basic'] },
  'auth/scope-step-up': { scopes: ['mcp:basic'] },
}

/** Where all checks pass, and the suite is not content all the same. */
const endsBadly = 'the client ends with an error'

/** By reason, `scenario: check` of each check that passes straight and not through the proxy. */
const limits: Readonly<Record<string, readonly string[]>> = {
  'clients are told the URL of the proxy, the suite knows only its own': [
    'auth/metadata-default: resource-parameter-matches-prm',
    'auth/metadata-var1: resource-parameter-matches-prm',
    'auth/metadata-var2: resource-parameter-matches-prm',
    'auth/metadata-var3: resource-parameter-matches-prm',
    'auth/token-endpoint-auth-basic: resource-parameter-matches-prm',
    'auth/token-endpoint-auth-post: resource-parameter-matches-prm',
    'auth/token-endpoint-auth-none: resource-parameter-matches-prm',
  ],
  'a grant that is signed for the URL of the backend is not good for that of the proxy': [
    'auth/enterprise-managed-authorization: complete-flow-jwt-bearer',
    'auth/enterprise-managed-authorization: valid-bearer-token',
  ],
  'a token that says nothing of its user is a user of its own, whose session a new one does not have':
    [`auth/scope-step-up: ${endsBadly}`],
  'a foreign URL in the metadata of the backend reaches no client': [
    'auth/resource-mismatch: resource-mismatch-rejected',
  ],
  'the proxy looks for another authorization server every 10 minutes, the suite waits for none': [
    'auth/authorization-server-migration: sep-2352-reregister-on-as-change',
  ],
  'a proof of DPoP is of the URL that was asked, and tokens but bearer tokens are not relayed': [
    'auth/dpop: sep-1932-client-dpop-auth-scheme',
    'auth/dpop: sep-1932-client-fresh-proof',
    'auth/dpop-nonce: sep-1932-client-dpop-auth-scheme',
    'auth/dpop-nonce: sep-1932-client-fresh-proof',
    'auth/dpop-nonce: sep-1932-client-rs-nonce',
  ],
}

const limited = Object.values(limits).flat()

const idsOf = ({ checks }: Outcome, ...statuses: readonly string[]): readonly string[] =>
  checks.filter(({ status }) => statuses.includes(status)).map(({ id }) => id)

t.setTimeout(300_000)
// Most of the time of each is spent in processes of its own.
t.jobs = 3

const scenarios = await authScenarios()

t.test('every scenario that is listed here is one of the suite', async (t) => {
  t.equal(scenarios.length, 33)
  const named = [...Object.keys(configured), ...limited.map((each) => each.split(': ')[0] ?? '')]
  t.strictSame(
    named.filter((each) => !scenarios.includes(each)),
    [],
  )
})

for (const scenario of scenarios) {
  t.test(scenario, { buffered: true }, async (t) => {
    const straight = await runAuthScenario(scenario, undefined)
    const { output } = straight
    t.ok(straight.passed, 'passes without the proxy', { output })
    t.strictSame(idsOf(straight, 'FAILURE', 'WARNING'), [], 'the suite finds no fault', { output })

    const through = await runAuthScenario(scenario, configured[scenario] ?? {})
    const diagnosis = { output: through.output }
    const expected = limited
      .filter((each) => each.startsWith(`${scenario}: `))
      .map((each) => each.slice(scenario.length + 2))
    t.equal(through.passed, expected.length === 0, 'and through it', diagnosis)
    const succeeded = idsOf(through, 'SUCCESS')
    const lost = [
      ...idsOf(straight, 'SUCCESS').filter((id) => !succeeded.includes(id)),
      ...idsOf(through, 'FAILURE', 'WARNING'),
    ]
    if (!through.passed && lost.length === 0) lost.push(endsBadly)
    t.strictSame(
      [...new Set(lost)].toSorted(),
      expected.toSorted(),
      'no other checks are lost than those listed',
      diagnosis,
    )
  })
}
