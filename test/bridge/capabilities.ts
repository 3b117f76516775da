import t from 'tap'
import { asksAnything, covers, requiredFor } from '../../src/bridge/capabilities.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'
import { req } from '../fixtures/conversing.ts'

t.test('each question needs the capability that the client must have declared', async (t) => {
  const cases: [string, object | undefined, JsonObject | undefined][] = [
    ['sampling/createMessage', { messages: [] }, { sampling: {} }],
    ['sampling/createMessage', { tools: [] }, { sampling: { tools: {} } }],
    ['sampling/createMessage', { toolChoice: {} }, { sampling: { tools: {} } }],
    ['elicitation/create', { message: '?' }, { elicitation: { form: {} } }],
    ['elicitation/create', { mode: 'form' }, { elicitation: { form: {} } }],
    ['elicitation/create', { mode: 'url' }, { elicitation: { url: {} } }],
    ['elicitation/create', undefined, { elicitation: { form: {} } }],
    ['roots/list', undefined, { roots: {} }],
    ['ping', undefined, undefined],
    ['vendor/question', {}, undefined],
  ]
  for (const [method, params, expected] of cases) {
    t.same(requiredFor(req(1, method, params)), expected, `${method} ${JSON.stringify(params)}`)
  }
})

t.test('a capability covers the kinds that it names, and no more', async (t) => {
  const cases: [JsonObject, JsonObject, boolean][] = [
    [{ roots: {} }, { roots: {} }, true],
    [{ roots: { listChanged: true } }, { roots: {} }, true],
    [{}, { roots: {} }, false],
    [{ roots: true }, { roots: {} }, false],
    [{ roots: null }, { roots: {} }, false],
    [{ roots: [] }, { roots: {} }, false],
    [{ sampling: {} }, { sampling: { tools: {} } }, false],
    [{ sampling: { tools: {} } }, { sampling: { tools: {} } }, true],
    [{ sampling: { tools: true } }, { sampling: { tools: {} } }, false],
    [{ elicitation: {} }, { elicitation: { form: {} } }, true],
    [{ elicitation: {} }, { elicitation: { url: {} } }, false],
    [{ elicitation: { url: {} } }, { elicitation: { form: {} } }, false],
    [{ elicitation: { url: {} } }, { elicitation: { url: {} } }, true],
    [{ elicitation: { form: {}, url: {} } }, { elicitation: { url: {} } }, true],
    [{ roots: {} }, { roots: {}, sampling: {} }, false],
    [{}, {}, true],
  ]
  for (const [declared, required, expected] of cases) {
    const name = `${JSON.stringify(declared)} for ${JSON.stringify(required)}`
    t.equal(covers(declared, required), expected, name)
  }
})

t.test('names that every object has are no capabilities', async (t) => {
  t.notOk(covers({}, { constructor: {} }))
  t.notOk(covers({}, { toString: {} }))
})

t.test('a client can be asked something if it declared any of the three', async (t) => {
  for (const name of ['sampling', 'elicitation', 'roots']) {
    t.ok(asksAnything({ [name]: {} }), name)
    t.notOk(asksAnything({ [name]: true }), `${name} that is no object`)
  }
  t.notOk(asksAnything({}))
  t.notOk(asksAnything({ tasks: {}, experimental: {} }))
})
