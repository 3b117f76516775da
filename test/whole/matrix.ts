// The matrix: every client dialect in front of every backend dialect, scenario by scenario, with real peers on both sides.
// A cell that cannot carry a scenario says why in the table, and shows what is seen there instead.
import t from 'tap'
import { endingScenarios } from '../fixtures/matrix-ending-scenarios.ts'
import { questionScenarios } from '../fixtures/matrix-question-scenarios.ts'
import { requestScenarios } from '../fixtures/matrix-request-scenarios.ts'
import { serverScenarios } from '../fixtures/matrix-server-scenarios.ts'
import { openStage } from '../fixtures/matrix-stage.ts'
import type { Cell, Scenario } from '../fixtures/matrix-stage.ts'
import type { LogLine } from '../fixtures/proxy.ts'

const dialects = ['sse', 'streamable', 'rpc', 'stateless'] as const

const scenarios: readonly Scenario[] = [
  ...requestScenarios,
  ...questionScenarios,
  ...serverScenarios,
  ...endingScenarios,
]

const reasonAgainst = ({ cannot }: Scenario, { client, backend }: Cell): string | undefined =>
  cannot?.client?.[client] ?? cannot?.backend?.[backend]

/** The least level of errors in the log. */
const errorLevel = 50

const isError = ({ level }: LogLine): boolean => level === 'error' || Number(level) >= errorLevel

t.setTimeout(300_000)

for (const client of dialects) {
  for (const backend of dialects) {
    const cell: Cell = { client, backend }
    t.test(`${client} client, ${backend} backend`, async (t) => {
      const shared = await openStage(t, cell)
      for (const scenario of scenarios) {
        const reason = reasonAgainst(scenario, cell)
        const { instead, run, name } = scenario
        const play = reason === undefined ? run : instead
        t.test(reason === undefined ? name : `${name}: not here, because ${reason}`, async (t) => {
          if (play === undefined) throw new Error('nothing is said of what is seen instead')
          const stage = scenario.alone === true ? await openStage(t, cell) : shared
          await play(t, stage)
        })
      }
      t.test('nothing of all this was an error of the proxy', async (t) => {
        t.strictSame(shared.proxy.logs().filter(isError), [])
      })
    })
  }
}
