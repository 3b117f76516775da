import t from 'tap'
import type { OpenExchange } from '../../src/bridge/conversation.ts'
import { ProxyError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import {
  backOff,
  contradicts,
  gatherTime,
  isLasting,
  strandedOn,
  wantsToBeAlone,
} from '../../src/proxy/live-rules.ts'
import { initialize, note, req, res } from '../fixtures/conversing.ts'

t.test('pauses grow, up to half a minute', async (t) => {
  const cases: [losses: number, ms: number][] = [
    [0, 0],
    [1, 500],
    [2, 1000],
    [3, 2000],
    [6, 16_000],
    [7, 30_000],
    [8, 30_000],
    [5000, 30_000],
  ]
  for (const [losses, ms] of cases) t.equal(backOff(losses), ms, String(losses))
  t.ok(gatherTime > 0 && gatherTime < 100, 'questions are waited for, but not noticeably')
})

t.test('a dialect is contradicted by how initialize is refused, and by nothing else', async (t) => {
  const codes: [ErrorCode, boolean][] = [
    ['BACKEND_REFUSED', true],
    ['BACKEND_NO_ENDPOINT', true],
    ['BACKEND_ANSWER_INVALID', true],
    ['BACKEND_UNREACHABLE', false],
    ['BACKEND_UNAUTHORIZED', false],
    ['BACKEND_TIMEOUT', false],
    ['BACKEND_STREAM_ENDED', false],
  ]
  for (const [code, expected] of codes) {
    const error = new ProxyError(code, 'no')
    t.equal(contradicts(initialize(), error), expected, code)
    for (const other of [req(1, 'tools/list'), note('initialize'), res(1)]) {
      t.equal(contradicts(other, error), false, `${code} of another message`)
    }
  }
})

t.test('a message on a stream that is given up may have run', async (t) => {
  t.match(strandedOn('shop'), {
    mayHaveRun: true,
    error: { code: 'BACKEND_STREAM_ENDED', message: /"shop"/ },
  })
})

t.test('one request alone lasts as long as its client wants', async (t) => {
  t.equal(isLasting(req(1, 'subscriptions/listen')), true)
  for (const other of [req(1, 'tools/call'), note('subscriptions/listen'), res(1)]) {
    t.equal(isLasting(other), false, other.text)
  }
})

t.test('who can be asked, or wants log messages, is alone in a conversation', async (t) => {
  const said = { capabilities: {}, capabilitiesText: '{}', clientInfoText: undefined }
  const exchange = (method: string, logLevel?: string, declared = true) => {
    const given = declared ? { ...said, logLevel } : undefined
    return { request: req(1, method), declared: given } as unknown as OpenExchange
  }
  const cases: [OpenExchange, boolean, string][] = [
    [exchange('tools/call'), true, 'tools/call'],
    [exchange('prompts/get'), true, 'prompts/get'],
    [exchange('resources/read'), true, 'resources/read'],
    [exchange('tools/list'), false, 'tools/list'],
    [exchange('tools/list', 'info'), true, 'tools/list with log messages'],
    [exchange('tools/call', undefined, false), false, 'a client of sessions'],
  ]
  for (const [given, expected, name] of cases) t.equal(wantsToBeAlone(given), expected, name)
})
