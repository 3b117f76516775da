import t from 'tap'
import { accepts, allowedMethods, classify } from '../../src/frontends/classify.ts'
import type { RequestFacts, Verdict } from '../../src/frontends/classify.ts'
import type { Dialect } from '../../src/protocol/dialects.ts'

const all: Dialect[] = ['sse', 'streamable', 'stateless', 'rpc']
const facts = (over: Partial<RequestFacts>): RequestFacts => ({
  method: 'POST',
  accept: undefined,
  sessionHeader: false,
  sessionParameter: false,
  modernHeader: false,
  modernBody: false,
  initialize: false,
  ...over,
})
const name = (verdict: Verdict): string =>
  verdict.kind === 'serve' ? verdict.dialect : verdict.kind

t.test('every request has one dialect', async (t) => {
  const cases: [Partial<RequestFacts>, string][] = [
    [{}, 'rpc'],
    [{ initialize: true }, 'streamable'],
    [{ sessionHeader: true }, 'streamable'],
    [{ sessionParameter: true }, 'sse'],
    [{ sessionParameter: true, initialize: true }, 'sse'],
    [{ modernBody: true }, 'stateless'],
    [{ modernBody: true, modernHeader: true }, 'stateless'],
    // What contradicts itself is refused by the dialect that has a rule for it.
    [{ modernBody: true, initialize: true }, 'stateless'],
    // A session id or parameter is to be ignored (2026-07-28, Streamable HTTP, "Earlier Streamable HTTP Revisions").
    [{ modernBody: true, sessionHeader: true }, 'stateless'],
    [{ modernBody: true, sessionParameter: true }, 'stateless'],
    [{ modernHeader: true }, 'stateless'],
    // Clients of sessions name the newest revision they know in every request.
    [{ modernHeader: true, initialize: true }, 'streamable'],
    [{ modernHeader: true, sessionHeader: true }, 'streamable'],
    [{ modernHeader: true, sessionParameter: true }, 'sse'],
    [{ method: 'GET', modernHeader: true }, 'sse'],
    [{ method: 'DELETE', modernHeader: true }, 'streamable'],
    [{ method: 'GET' }, 'sse'],
    [{ method: 'GET', accept: 'text/event-stream' }, 'sse'],
    [{ method: 'GET', accept: '*/*' }, 'sse'],
    [{ method: 'GET', accept: 'text/html,application/xhtml+xml' }, 'not-allowed'],
    [{ method: 'GET', accept: 'text/event-stream', sessionHeader: true }, 'streamable'],
    [{ method: 'DELETE', sessionHeader: true }, 'streamable'],
    [{ method: 'HEAD' }, 'head'],
    [{ method: 'OPTIONS' }, 'options'],
    [{ method: 'PUT' }, 'not-allowed'],
    [{ method: 'TRACE' }, 'not-allowed'],
  ]
  for (const [given, expected] of cases) {
    t.equal(name(classify(facts(given), all)), expected, JSON.stringify(given))
  }
})

t.test('a route may serve fewer dialects', async (t) => {
  t.equal(name(classify(facts({ initialize: true }), ['rpc'])), 'rpc')
  t.equal(name(classify(facts({}), ['streamable'])), 'not-allowed')
  t.equal(name(classify(facts({ method: 'GET' }), ['streamable'])), 'not-allowed')
  t.equal(
    name(classify(facts({ method: 'GET', sessionHeader: true }), ['streamable'])),
    'streamable',
  )
  t.equal(name(classify(facts({ modernBody: true }), ['streamable', 'rpc'])), 'not-allowed')
  t.equal(name(classify(facts({ modernBody: true }), ['stateless'])), 'stateless')
  for (const given of [{}, { initialize: true }, { sessionHeader: true }, { method: 'GET' }]) {
    t.equal(name(classify(facts(given), ['stateless'])), 'not-allowed', JSON.stringify(given))
  }
  t.equal(allowedMethods(['stateless']), 'POST, OPTIONS')
  t.equal(allowedMethods(['rpc']), 'POST, OPTIONS')
  t.equal(allowedMethods(['sse']), 'GET, HEAD, POST, OPTIONS')
  t.equal(allowedMethods(all), 'GET, HEAD, POST, DELETE, OPTIONS')
})

t.test('Accept is read as RFC 9110 has it', async (t) => {
  const cases: [string | undefined, boolean][] = [
    [undefined, true],
    ['', true],
    ['*/*', true],
    ['text/*', true],
    ['Text/Event-Stream', true],
    ['application/json, text/event-stream;q=0.5', true],
    ['text/event-stream;q=0', false],
    ['text/event-stream; q=0.0', false],
    ['application/json', false],
    ['text/html', false],
  ]
  for (const [accept, expected] of cases) {
    t.equal(accepts(accept, 'text/event-stream'), expected, String(accept))
  }
})
