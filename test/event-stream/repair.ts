import t from 'tap'
import { readEvent } from '../../src/event-stream/repair.ts'
import type { Decoded, EventContext } from '../../src/event-stream/repair.ts'
import type { RuleName, RuleSwitches } from '../../src/event-stream/rules.ts'

/** Reads one event of a stream on which endpoints mean something. */
function read(name: string, data: string, rules: RuleSwitches = {}, endpoints = true) {
  const repaired: RuleName[] = []
  const candidates: string[] = []
  const context: EventContext = {
    rules,
    endpoints,
    isEndpoint: (text) => text.startsWith('/m'),
    repaired: (rule) => repaired.push(rule),
    candidate: (text) => candidates.push(text),
  }
  return { values: readEvent(name, data, context), repaired, candidates }
}

/** What was decoded, in short. */
const short = (value: Decoded): string => {
  switch (value.kind) {
    case 'message':
      return `message ${value.message.text}`
    case 'endpoint':
      return `endpoint ${value.data}`
    case 'noise':
      return `noise ${value.name}`
    default:
      return `${value.kind} ${value.text}`
  }
}

const json = '{"jsonrpc":"2.0","id":1,"result":{}}'
const note = '{"jsonrpc":"2.0","method":"x"}'
const quoted = JSON.stringify(json)

t.test('an event says what it means, by the cheapest rule that proves itself', async (t) => {
  const cases: [string, string, string[], RuleName[]][] = [
    ['', json, [`message ${json}`], []],
    ['message', note, [`message ${note}`], []],
    ['response', json, [`message ${json}`], ['event-name']],
    ['response', note, [`message ${note}`], ['event-name']],
    ['status', '{"method":"x"}', ['noise status'], []],
    ['error', '{"method":"x"}', ['error {"method":"x"}'], []],
    ['error', json, [`message ${json}`], ['event-name']],
    ['', quoted, [`message ${json}`], ['json-in-string']],
    ['', '"hello"', ['noise '], []],
    ['', `[${json},${note}]`, [`message ${json}`, `message ${note}`], ['array-of-messages']],
    ['', `[${json},7]`, [`stray [${json},7]`], []],
    ['', '[]', ['stray []'], []],
    ['', `${json}\n${note}`, [`message ${json}`, `message ${note}`], ['message-per-line']],
    ['', `${json}\nrubbish`, [`error ${json}\nrubbish`], []],
    ['', `event: message\ndata: ${json}`, [`message ${json}`], ['double-framing']],
    ['', `\0${json}\0`, [`message ${json}`], ['nul-padding']],
    ['', `\uFEFF${json}`, [`message ${json}`], ['byte-order-mark']],
    ['', `${json}\\n\\n`, [`message ${json}`], ['escaped-line-breaks']],
    ['', '{"id":1,"result":{}}', [`message ${json}`], ['jsonrpc-version']],
    ['', 'ping', ['noise '], ['data-heartbeat']],
    ['', '[DONE]', ['noise '], ['data-heartbeat']],
    ['', '{"type":"heartbeat","at":1}', ['noise '], ['data-heartbeat']],
    ['', '', ['noise '], []],
    ['', ' ', ['noise '], []],
    ['heartbeat', 'anything', ['noise heartbeat'], []],
    ['keep-alive', '{"at":1}', ['noise keep-alive'], []],
    ['custom', 'anything', ['noise custom'], []],
    ['custom', '7', ['noise custom'], []],
    ['error', 'out of memory', ['error out of memory'], []],
    ['error', '{"a":1}', ['error {"a":1}'], []],
    ['', 'connected', ['error connected'], []],
    ['', '{"status":"acknowledged"}', ['stray {"status":"acknowledged"}'], []],
    ['', '3', ['noise '], []],
    ['', 'null', ['noise '], []],
  ]
  for (const [name, data, expected, rules] of cases) {
    const { values, repaired } = read(name, data)
    t.same(values.map(short), expected, `${name}: ${data}`)
    t.same(repaired, rules)
  }
})

t.test('a rule that is off mends nothing', async (t) => {
  const cases: [RuleName, string, string, string][] = [
    ['event-name', 'response', json, 'noise response'],
    ['event-name', 'error', json, `error ${json}`],
    ['json-in-string', '', quoted, 'noise '],
    ['array-of-messages', '', `[${json}]`, `stray [${json}]`],
    ['message-per-line', '', `${json}\n${json}`, `error ${json}\n${json}`],
    ['double-framing', '', `data: ${json}`, `error data: ${json}`],
    ['data-heartbeat', '', 'ping', 'error ping'],
    ['data-heartbeat', '', '{"type":"ping"}', 'stray {"type":"ping"}'],
    ['jsonrpc-version', '', '{"id":1,"result":{}}', 'stray {"id":1,"result":{}}'],
    ['quoted-endpoint', 'endpoint', '"/m"', 'endpoint "/m"'],
    ['padded-endpoint', 'endpoint', ' /m', 'endpoint  /m'],
    ['json-endpoint', 'endpoint', '{"uri":"/m"}', 'endpoint {"uri":"/m"}'],
  ]
  for (const [rule, name, data, expected] of cases) {
    const { values, repaired } = read(name, data, { [rule]: false })
    t.same(values.map(short), [expected], `${rule}: ${data}`)
    t.notOk(repaired.includes(rule))
  }
})

t.test('an endpoint is unwrapped from what it came in', async (t) => {
  const cases: [string, string, RuleName[]][] = [
    ['/m?s=1', '/m?s=1', []],
    ['anything at all', 'anything at all', []],
    [' /m\t', '/m', ['padded-endpoint']],
    ['"/m"', '/m', ['quoted-endpoint']],
    ["'/m'", '/m', ['quoted-endpoint']],
    ['"/m', '"/m', []],
    [' "/m" ', '/m', ['padded-endpoint', 'quoted-endpoint']],
    ['{"uri":"/m"}', '/m', ['json-endpoint']],
    ['{"type":"endpoint","endpoint":"/m"}', '/m', ['json-endpoint']],
    ['{"uri":"/m","url":"/m2"}', '{"uri":"/m","url":"/m2"}', []],
  ]
  for (const [data, expected, rules] of cases) {
    const { values, repaired, candidates } = read('endpoint', data)
    t.same(values.map(short), [`endpoint ${expected}`], data)
    t.same(repaired, rules)
    t.same(candidates, [])
  }
})

t.test('on a stream without endpoints the event is none', async (t) => {
  t.same(read('endpoint', '/m', {}, false).values.map(short), ['noise endpoint'])
  t.same(read('', '/m', {}, false).candidates, [])
  t.same(read('', '{"url":"/m"}', {}, false).candidates, [])
  t.same(read('', '"/m"', {}, false).candidates, [])
})

t.test('what looks like an endpoint is offered, not taken', async (t) => {
  const cases: [string, string, string[]][] = [
    ['', '/m?s=1', ['/m?s=1']],
    ['message', ' /m ', ['/m']],
    ['Endpoint', '/m', ['/m']],
    [' endpoint ', '/m', ['/m']],
    ['', '{"url":"/m"}', ['/m']],
    ['', '"/m"', ['/m']],
    ['', '/elsewhere', []],
    ['', '/m and more', []],
    ['custom', '/m', []],
  ]
  for (const [name, data, expected] of cases) {
    const { values, candidates, repaired } = read(name, data)
    t.same(candidates, expected, `${name}: ${data}`)
    t.equal(repaired.includes('odd-endpoint'), expected.length > 0)
    t.notOk(values.some(({ kind }) => kind === 'endpoint'))
    t.same(read(name, data, { 'odd-endpoint': false }).candidates, [])
  }
})

t.test('what is reported of rubbish is cut short', async (t) => {
  const [value] = read('', 'x'.repeat(5000)).values
  t.match(value, { kind: 'error' })
  t.equal(value?.kind === 'error' && value.text.length, 200)
})
