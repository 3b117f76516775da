import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { readAnswer } from '../../src/backends/answer.ts'
import type { Answer, AnswerListener } from '../../src/backends/answer.ts'
import { ProxyError } from '../../src/errors.ts'
import { heldBytes } from '../../src/protocol/passing.ts'
import { answer, begin, kit, reply, scripted, until } from '../fixtures/scripted.ts'

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
  large?: AnswerListener['large'],
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
    { message: (message) => void messages.push(message.text), ...(large && { large }) },
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

/** A sink for what is large, and what it was offered and given. */
function taker(takes = true) {
  const it = {
    /** Bytes of each head, and the length that came with it. */
    offers: [] as [number, number | undefined][],
    given: [] as Uint8Array[],
    taken: 0,
    ends: 0,
    slow: false,
    waiting: [] as (() => void)[],
    /** What `write` and `end` throw. */
    refusal: undefined as { readonly at: 'write' | 'end'; readonly error: ProxyError } | undefined,
    get text() {
      return Buffer.concat(it.given).toString()
    },
    large(head: readonly Uint8Array[], length: number | undefined) {
      it.offers.push([Buffer.concat(head).length, length])
      if (!takes) return undefined
      return {
        write(chunk: Uint8Array) {
          if (it.refusal?.at === 'write') throw it.refusal.error
          it.given.push(chunk)
          it.taken += chunk.length
          return !it.slow
        },
        onceDrained: (task: () => void) => void it.waiting.push(task),
        end() {
          if (it.refusal?.at === 'end') throw it.refusal.error
          it.ends++
        },
      }
    },
    drain() {
      it.slow = false
      for (const task of it.waiting.splice(0)) task()
    },
  }
  return it
}

const filled = (bytes: number): string =>
  `{"jsonrpc":"2.0","id":1,"result":"é${'x'.repeat(bytes)}"}`
const large = filled(300_000)
const largeBytes = Buffer.byteLength(large)
const limit = 200_000

t.test('JSON larger than what is held goes to whoever takes it, whatever its size', async (t) => {
  const answers: [name: string, length: number | undefined, (to: ServerResponse) => void][] = [
    ['with a length', largeBytes, (to) => answer(to, large, { headers: lengthOf(large) })],
    ['in chunks', undefined, (to) => answer(to, large)],
    [
      'compressed, when the length is another',
      undefined,
      (to) => {
        const packed = gzipSync(large)
        const headers = { 'content-encoding': 'gzip', 'content-length': String(packed.length) }
        answer(to, packed, { headers })
      },
    ],
  ]
  for (const [name, length, script] of answers) {
    const it = taker()
    const { got, messages } = await read(t, script, heldBytes, it.large)
    t.same(got, { form: 'passed' }, name)
    t.equal(it.offers.length, 1, name)
    t.equal(it.offers[0]?.[1], length, name)
    t.ok((it.offers[0]?.[0] ?? 0) > heldBytes, name)
    t.equal(it.text, large, name)
    t.equal(it.ends, 1)
    t.same(messages, [])
  }
})

const lengthOf = (text: string): Record<string, string> => ({
  'content-length': String(Buffer.byteLength(text)),
})

t.test('what is held, or no JSON, is not offered; what is refused is offered once', async (t) => {
  const spaces = ' '.repeat(heldBytes - reply(1).length)
  for (const [body, form] of [
    [reply(1) + spaces, 'json'],
    [`<html>${'x'.repeat(70_000)}`, 'html'],
    ['x'.repeat(70_000), 'text'],
  ] as const) {
    const it = taker()
    const { got } = await read(t, (response) => answer(response, body), limit, it.large)
    t.equal(got.form, form)
    t.same(it.offers, [])
  }
  const middling = filled(150_000)
  const it = taker(false)
  const { got } = await read(t, (response) => answer(response, middling), limit, it.large)
  t.same(textsOf(got), [middling])
  t.equal(it.offers.length, 1)
  const over = await read(t, (response) => answer(response, large), limit, it.large)
  t.match(over.got, { form: 'broken', error: { code: 'EVENT_TOO_LARGE' } })
})

t.test('a large event goes the same way, and what comes beside it is heard', async (t) => {
  const it = taker()
  const events = [reply(1), large, reply(2)].map((text, id) => `id: ${id}\ndata: ${text}\n\n`)
  const { got, messages } = await read(
    t,
    (response) => answer(response, events.join('')),
    limit,
    it.large,
  )
  t.match(got, { form: 'stream', at: { lastEventId: '2' } })
  t.match(it.offers, [[Number, undefined]])
  t.equal(it.text, large)
  t.equal(it.ends, 1)
  t.same(messages, [reply(1), reply(2)])
})

t.test('a slow taker stops the backend until it has caught up', async (t) => {
  const huge = filled(16 << 20)
  for (const [before, after] of [
    ['', ''],
    ['data: ', '\n\n'],
  ]) {
    const it = taker()
    it.slow = true
    let written: ServerResponse | undefined
    const reading = read(
      t,
      (response) => {
        written = response
        answer(response, before + huge + after)
      },
      limit,
      it.large,
    )
    await until(() => it.offers.length > 0, 'the offer')
    const head = it.offers[0]?.[0]
    // Turns in which more would come if it could.
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
    t.equal(it.taken, head, 'only what was there already')
    t.equal(it.waiting.length > 0, true)
    t.equal(written?.writableFinished, false)
    it.drain()
    await reading
    t.equal(it.taken, Buffer.byteLength(huge))
    t.equal(it.ends, 1)
  }
})

t.test('a large answer that breaks off never comes to its end', async (t) => {
  const half = large.slice(0, 200_000)
  const cut = (response: ServerResponse, headers: Record<string, string>, body: string): void => {
    response.writeHead(200, headers)
    response.write(body, () => setImmediate(() => response.destroy()))
  }
  const cases: [name: string, script: (response: ServerResponse) => void, stream: boolean][] = [
    ['in chunks', (response) => cut(response, {}, half), false],
    ['short of its length', (response) => cut(response, lengthOf(large), half), false],
    ['an event', (response) => cut(response, {}, `id: 5\n\ndata: ${half}`), true],
    ['an event, in good order', (response) => answer(response, `id: 5\n\ndata: ${half}`), true],
  ]
  for (const [name, script, stream] of cases) {
    const it = taker()
    const { got } = await read(t, script, limit, it.large)
    t.match(got, { form: 'broken', error: { code: 'BACKEND_STREAM_ENDED' } }, name)
    t.equal('at' in got ? got.at?.lastEventId : undefined, stream ? '5' : undefined, name)
    t.equal(it.offers.length, 1, name)
    t.equal(it.ends, 0, name)
  }
})

t.test('a taker that has gone, or finds fault, ends the answer', async (t) => {
  const cases = [
    ['write', large],
    ['write', `data: ${large}`],
    ['end', `data: ${large}\n\n`],
  ] as const
  for (const [at, body] of cases) {
    const it = taker()
    it.refusal = { at, error: new ProxyError('CANCELLED', 'the client has gone') }
    let closed = false
    const { got } = await read(
      t,
      (response) => {
        response.once('close', () => (closed = true))
        begin(response, body)
      },
      limit,
      it.large,
    )
    t.match(got, { form: 'broken', error: it.refusal.error })
    await until(() => closed, 'the backend to be let go')
  }
  const it = taker()
  it.refusal = { at: 'end', error: new ProxyError('BACKEND_ANSWER_INVALID', 'another id') }
  const { got } = await read(t, (response) => answer(response, large), limit, it.large)
  t.match(got, { form: 'broken', error: it.refusal.error })
})
