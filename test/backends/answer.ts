import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { readAnswer } from '../../src/backends/answer.ts'
import type { Answer } from '../../src/backends/answer.ts'
import { answer, begin, kit, reply, scripted } from '../fixtures/scripted.ts'

interface Heard {
  readonly got: Answer
  /** What came as a stream. */
  readonly messages: readonly string[]
}

/** POSTs to a backend that answers by `script` and reads what it answers. */
const read = async (
  t: Test,
  script: (response: ServerResponse) => void,
  maxEventBytes = 65_536,
): Promise<Heard> => {
  const { http } = kit(t)
  const backend = await scripted(t, (_seen, response) => script(response))
  const { signal } = new AbortController()
  const outcome = await http.post({
    route: 'shop',
    url: new URL(backend.url),
    headers: {},
    body: '{}',
    signal,
    repeatable: false,
  })
  if (!outcome.ok) throw outcome.error
  const messages: string[] = []
  const got = await readAnswer(
    outcome.answer,
    { route: 'shop', maxEventBytes, rules: {}, repaired() {} },
    { message: (message) => void messages.push(message.text) },
  )
  return { got, messages }
}

const textsOf = (got: Answer): readonly string[] =>
  got.form === 'json' ? got.messages.map((message) => message.text) : []

t.test('JSON is read under any content type, byte order mark and white space aside', async (t) => {
  for (const type of [
    'application/json',
    'text/html',
    'application/json-rpc',
    'application/json, application/json',
    'text/event-stream',
    undefined,
  ]) {
    const { got } = await read(t, (response) =>
      answer(response, `\ufeff \n${reply(7)}`, { ...(type && { type }) }),
    )
    t.equal(textsOf(got).length, 1, String(type))
    t.equal(JSON.parse(textsOf(got)[0] ?? '{}').id, 7)
  }
})

t.test('an event stream is read under any content type', async (t) => {
  for (const type of [
    'text/event-stream',
    'Text/Event-Stream;charset=UTF-8',
    'application/json',
    'text/plain',
    undefined,
  ]) {
    const { got, messages } = await read(t, (response) =>
      answer(response, `event: message\ndata: ${reply(1)}\n\ndata: ${reply(2)}\n\n`, {
        ...(type && { type }),
      }),
    )
    t.equal(got.form, 'stream', String(type))
    t.same(messages, [reply(1), reply(2)])
  }
})

t.test('an event stream cut into single bytes reads the same', async (t) => {
  const { messages } = await read(t, (response) => {
    response.socket?.setNoDelay(true)
    for (const byte of Buffer.from(`data: ${reply(1)}\n\n`)) response.write(Buffer.from([byte]))
    response.end()
  })
  t.same(messages, [reply(1)])
})

t.test('a batch is taken apart and original text is kept', async (t) => {
  const { got } = await read(t, (response) =>
    answer(
      response,
      `[${reply(1)}, {"jsonrpc":"2.0","id":2,"result":{"big":12345678901234567890}}]`,
    ),
  )
  t.same(textsOf(got), [reply(1), '{"jsonrpc":"2.0","id":2,"result":{"big":12345678901234567890}}'])
})

t.test('JSON that is no JSON-RPC is no message', async (t) => {
  const { got } = await read(t, (response) => answer(response, '{"status":"ok"}'))
  t.match(got, { form: 'json', text: '{"status":"ok"}', messages: [] })
})

t.test('an error page is reduced to its title and a short text', async (t) => {
  const page = `<!DOCTYPE html><html><head><title>\n 502 Bad\n Gateway </title></head>${'<p>x</p>'.repeat(30_000)}`
  const { got } = await read(t, (response) => answer(response, page, { type: 'application/json' }))
  t.match(got, { form: 'html', title: '502 Bad Gateway' })
  t.ok('text' in got && got.text.length <= 200)
})

t.test('nothing, white space and plain text are told apart', async (t) => {
  t.match((await read(t, (response) => answer(response, ''))).got, { form: 'empty' })
  t.match((await read(t, (response) => answer(response, ' \n'))).got, { form: 'empty' })
  t.match((await read(t, (response) => answer(response, 'Accepted'))).got, {
    form: 'text',
    text: 'Accepted',
  })
  t.match((await read(t, (response) => answer(response, '{"cut'))).got, {
    form: 'text',
    text: '{"cut',
  })
})

t.test('text that is no UTF-8 is read by its declared charset', async (t) => {
  const body = Buffer.from('{"jsonrpc":"2.0","id":1,"result":{"name":"é"}}', 'latin1')
  const { got } = await read(t, (response) =>
    answer(response, body, { type: 'application/json; charset=iso-8859-1' }),
  )
  t.match(textsOf(got)[0], /"é"/)
})

t.test('an answer larger than the limit is refused by the limit', async (t) => {
  const big = `{"jsonrpc":"2.0","id":1,"result":"${'x'.repeat(2000)}"}`
  for (const body of [big, `data: ${big}\n\n`]) {
    const { got } = await read(t, (response) => answer(response, body), 1000)
    t.match(got, { form: 'broken', error: { code: 'EVENT_TOO_LARGE', message: /1000/ } })
  }
})

t.test('a body that breaks off keeps the messages that came before', async (t) => {
  const { got, messages } = await read(t, (response) => {
    begin(response, `data: ${reply(1)}\n\ndata: {"jsonr`)
    setImmediate(() => response.destroy())
  })
  t.match(got, { form: 'broken', error: { code: 'BACKEND_STREAM_ENDED', message: /route "shop"/ } })
  t.same(messages, [reply(1)])
})
