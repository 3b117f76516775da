import t from 'tap'
import { isOn, lineRules, ruleTable, textRules } from '../../src/event-stream/rules.ts'

t.test('every rule has a name of its own and says what it mends', async (t) => {
  const names = ruleTable.map(({ name }) => name)
  t.equal(new Set(names).size, names.length)
  for (const { name, doc } of ruleTable) {
    t.match(name, /^[a-z]+(-[a-z]+)*$/)
    t.match(doc, /\w.*\.$/s, name)
  }
})

t.test('every function belongs to a rule', async (t) => {
  const names = new Set(ruleTable.map(({ name }) => name))
  for (const { name } of [...lineRules, ...textRules]) t.ok(names.has(name), name)
})

t.test('a rule is on or off by its default, unless it is switched', async (t) => {
  for (const { name, on } of ruleTable) {
    t.equal(isOn({}, name), on, name)
    t.equal(isOn({ [name]: !on }, name), !on)
  }
})

const json = '{"jsonrpc":"2.0","method":"x"}'

t.test('lines are mended to what was meant', async (t) => {
  const cases: [string, string, string | undefined][] = [
    ['nul-padding', '\0\0data: x', 'data: x'],
    ['nul-padding', 'data: \0x', undefined],
    ['byte-order-mark', '\uFEFFevent: x', 'event: x'],
    ['byte-order-mark', 'data: \uFEFFx', undefined],
    ['indented-field', '      data: x', 'data: x'],
    ['indented-field', '\t event : x', 'event : x'],
    ['indented-field', '  "key": 1', undefined],
    ['indented-field', 'data: x', undefined],
    ['space-before-colon', 'data : x', 'data: x'],
    ['space-before-colon', 'Event\t:x', 'Event:x'],
    ['space-before-colon', 'other : x', undefined],
    ['field-case', 'Event: Message', 'event: Message'],
    ['field-case', 'DATA:x', 'data:x'],
    ['field-case', 'data: DATA:', undefined],
    ['field-case', 'Other: x', undefined],
  ]
  for (const [name, line, expected] of cases) {
    const rule = lineRules.find((each) => each.name === name)
    t.equal(rule?.mend(line), expected, `${name}: ${JSON.stringify(line)}`)
  }
})

t.test('data that is no JSON is mended to what was meant', async (t) => {
  const cases: [string, string, string[] | undefined][] = [
    ['nul-padding', `\0${json}\0\0`, [json]],
    ['nul-padding', ` ${json} `, undefined],
    ['nul-padding', json, undefined],
    ['byte-order-mark', ` \uFEFF${json}`, [json]],
    ['byte-order-mark', json, undefined],
    ['escaped-line-breaks', `${json}\\n\\n`, [json]],
    ['escaped-line-breaks', `${json}\\r\\n`, [json]],
    ['escaped-line-breaks', '{"a":"\\n"}', undefined],
    ['double-framing', `event: message\ndata: ${json}\n`, [json]],
    ['double-framing', `data:${json}`, [json]],
    ['double-framing', 'data: {\ndata: }', ['{\n}']],
    ['double-framing', 'event: message', undefined],
    ['double-framing', `data: x\nsomething else`, undefined],
    ['message-per-line', `${json}\n ${json}\n`, [json, json]],
    ['message-per-line', json, undefined],
  ]
  for (const [name, text, expected] of cases) {
    const rule = textRules.find((each) => each.name === name)
    t.same(rule?.mend(text), expected, `${name}: ${JSON.stringify(text)}`)
  }
})
