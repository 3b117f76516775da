import { request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { passRequest } from '../../src/frontends/large-body.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Passed {
  readonly request: IncomingMessage
  readonly message: Request | undefined
  /** Bytes of the body that have come so far. */
  received: number
  /** What has come out of the message's stream, once somebody reads it. */
  given: string
  ended: boolean
  error: Error | undefined
}

/** A server that offers each body by its first chunk; `reads`: what passes is read as it comes. */
async function receiver(t: Test, { body = 1 << 20, reads = true } = {}) {
  const clock = manualClock()
  const all: Passed[] = []
  const read = (it: Passed): void => {
    const stream = it.message?.bytes?.stream
    stream?.on('data', (chunk: Buffer) => (it.given += chunk.toString('latin1')))
    stream?.once('end', () => (it.ended = true))
    stream?.once('error', (error: Error) => (it.error = error))
  }
  const server = await listen((request) => {
    request.once('data', (head: Buffer) => {
      const message = passRequest(request, [head], { body, bodyTime: 1000 }, clock)
      const it = {
        request,
        message,
        received: head.length,
        given: '',
        ended: false,
        error: undefined,
      }
      request.on('data', (chunk: Buffer) => (it.received += chunk.length))
      all.push(it)
      if (reads) read(it)
    })
  })
  t.teardown(() => server.close())
  const begin = (headers: Record<string, string> = {}): ClientRequest => {
    const sent = httpRequest(server.url, { method: 'POST', headers, agent: false })
    sent.on('error', () => undefined)
    t.teardown(() => sent.destroy())
    return sent
  }
  /** The body that begins with `head`, once that has come. */
  const passed = (count = 1) => waitFor(() => all[count - 1], { what: 'the head of the body' })
  const post = async (text: string): Promise<Passed> => {
    const count = all.length + 1
    begin().end(text)
    return passed(count)
  }
  return { begin, passed, post, read, clock }
}

const head = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"'
const rest = `é${'x'.repeat(200_000)}"}}`
const ended = (it: Passed) => waitFor(() => it.ended, { what: 'the end of the stream' })
const failed = (it: Passed) => waitFor(() => it.error, { what: 'the stream to fail' })

t.test('a request is told by its head, and its bytes come as they are', async (t) => {
  const { begin, passed, clock } = await receiver(t)
  const text = `${head}${rest} \r\n`
  const length = Buffer.byteLength(text)
  for (const [count, headers, expected] of [
    [1, { 'content-length': String(length) }, length],
    [2, {}, undefined],
  ] as const) {
    const sent = begin(headers)
    sent.write(head)
    const it = await passed(count)
    t.match(it.message, { kind: 'request', method: 'tools/call', idText: '7' })
    t.equal(it.message?.bytes?.length, expected)
    sent.end(text.slice(head.length))
    await ended(it)
    t.equal(Buffer.from(it.given, 'latin1').toString(), text)
    t.equal(clock.waiting, 0, 'and nothing goes on waiting for it')
  }
})

t.test('its end is held back until the whole has come', async (t) => {
  const { begin, passed } = await receiver(t)
  const sent = begin()
  sent.write(head)
  const it = await passed()
  for (const piece of ['x'.repeat(1000), 'y'.repeat(50_000), '"}}', '\n']) {
    const before = it.received
    sent.write(piece)
    await waitFor(() => it.received === before + piece.length)
    await new Promise(setImmediate)
    t.ok(it.given.length < it.received, 'not all that has come goes on')
    t.ok(it.given.length >= before, 'but all before the latest')
  }
  t.equal(it.ended, false)
  sent.end()
  await ended(it)
  t.equal(it.given.length, it.received)
})

t.test('what does not show itself to be a request is left alone', async (t) => {
  const { post, clock } = await receiver(t)
  const heads: Record<string, string> = {
    'an initialize': '{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"a":"',
    'a notification': '{"jsonrpc":"2.0","method":"notifications/progress","params":{"a":"',
    'a response': '{"jsonrpc":"2.0","id":7,"result":{"method":"x',
    'no method yet': '{"jsonrpc":"2.0","id":7,"params":{"method":"x","a":"',
    'half a method': '{"jsonrpc":"2.0","id":7,"method":"tools/',
    'a method that is none': '{"jsonrpc":"2.0","id":7,"method":7,"params":{',
    'a batch': `[${head}`,
    'a byte order mark': `\uFEFF${head}`,
    'all of it': '{"jsonrpc":"2.0","id":7,"method":"tools/call"}',
    'no JSON': `x${head}`,
  }
  for (const [name, text] of Object.entries(heads)) {
    const { message, request } = await post(text)
    t.equal(message, undefined, name)
    t.equal(clock.waiting, 0, name)
    t.equal(request.listenerCount('end'), 0, name)
  }
})

t.test('what is known of it grows as it comes', async (t) => {
  const { begin, passed } = await receiver(t)
  const sent = begin()
  sent.write('{"method":"tools/call","params":{"a":""}')
  const it = await passed()
  t.match(it.message, { idText: 'null', value: { id: null, method: 'tools/call' } })
  sent.write(',"id":"\\u0061"')
  sent.end(',"jsonrpc":"2.0"}')
  await ended(it)
  t.equal(it.message?.idText, '"\\u0061"')
  t.same(it.message?.value, { jsonrpc: '2.0', id: 'a', method: 'tools/call' })
  t.same(JSON.parse(it.message?.text ?? ''), it.message?.value)
})

t.test('what proves to be no request never comes to its end', async (t) => {
  const { begin, passed, clock } = await receiver(t)
  const wrongs: [rest: string, code: string, message: RegExp][] = [
    [',"id":7', 'BODY_INVALID', /not JSON/],
    [',"id":7}}', 'BODY_INVALID', /not JSON/],
    [`,"id":7}${head}`, 'BODY_INVALID', /not JSON/],
    [',"id":7,"id":8}', 'MESSAGE_INVALID', /same member twice/],
    [',"id":7,"ID":8}', 'MESSAGE_INVALID', /same member twice/],
    [',"id":7,"method":"ping"}', 'MESSAGE_INVALID', /same member twice/],
    ['}', 'MESSAGE_INVALID', /id of a request/],
    [',"id":null}', 'MESSAGE_INVALID', /id of a request/],
    [',"id":{}}', 'MESSAGE_INVALID', /id of a request/],
    [',"id":true}', 'MESSAGE_INVALID', /id of a request/],
    [',"id":7,"result":{}}', 'MESSAGE_INVALID', /neither a result nor an error/],
    [',"id":7,"error":null}', 'MESSAGE_INVALID', /neither a result nor an error/],
  ]
  const begins = '{"jsonrpc":"2.0","method":"tools/call","params":{}'
  const odd = '{"jsonrpc":"1.0","method":"tools/call","params":{}'
  const cases = [
    ...wrongs.map((wrong) => [begins, ...wrong] as const),
    [odd, ',"id":7}', 'MESSAGE_INVALID', /needs "jsonrpc":"2.0"/] as const,
    [
      odd.replace('"jsonrpc":"1.0",', ''),
      ',"id":7}',
      'MESSAGE_INVALID',
      /needs "jsonrpc"/,
    ] as const,
  ]
  let count = 0
  for (const [first, last, code, message] of cases) {
    const sent = begin()
    sent.write(first)
    const it = await passed(++count)
    sent.end(last)
    t.match(await failed(it), { code, message, status: 400 }, last)
    t.equal(it.ended, false)
    t.equal((first + last).startsWith(it.given), true)
    t.ok(it.given.length < first.length + last.length, 'the backend has not had it all')
    t.equal(clock.waiting, 0)
  }
})

t.test('a body that grows too large is cut short, and its rest read', async (t) => {
  const { begin, passed, clock } = await receiver(t, { body: 300_000 })
  const sent = begin()
  sent.write(head)
  const it = await passed()
  sent.write('x'.repeat(300_000 - head.length))
  await waitFor(() => it.received === 300_000)
  t.equal(it.error, undefined, 'not by the limit itself')
  sent.write('x')
  t.match(await failed(it), { code: 'BODY_TOO_LARGE', message: /limits\.body, 300000 / })
  t.equal(clock.waiting, 0)
  sent.end('x'.repeat(1 << 20))
  await waitFor(() => it.request.complete, { what: 'the rest to be read' })
  t.ok(it.given.length <= 300_000)
})

t.test('a body that takes too long is given up', async (t) => {
  const { begin, passed, clock } = await receiver(t)
  begin().write(head)
  const it = await passed()
  clock.advance(999)
  await new Promise(setImmediate)
  t.equal(it.error, undefined)
  clock.advance(1)
  t.match(await failed(it), { code: 'BODY_TIMEOUT', message: /1000 ms/ })
  t.equal(clock.waiting, 0)
})

t.test('one that has come in time may be read late', async (t) => {
  const { begin, passed, read, clock } = await receiver(t, { reads: false })
  const sent = begin()
  sent.write(head)
  const it = await passed()
  sent.end('"}}')
  await waitFor(() => it.request.readableEnded, { what: 'all of the body' })
  clock.advance(5000)
  read(it)
  await ended(it)
  t.equal(it.error, undefined)
})

t.test('a client that goes before the end leaves nothing behind', async (t) => {
  const { begin, passed, clock } = await receiver(t)
  const sent = begin()
  sent.write(head)
  const it = await passed()
  sent.destroy()
  t.match(await failed(it), { code: 'BODY_INVALID', message: /went away/ })
  t.equal(clock.waiting, 0)
})

t.test('a slow reader stops the client until it goes on', async (t) => {
  const { begin, passed, read } = await receiver(t, { body: 64 << 20, reads: false })
  const size = 16 << 20
  const sent = begin()
  sent.end(`${head}${'x'.repeat(size)}"}}`)
  const it = await passed()
  await waitFor(() => it.request.isPaused(), { what: 'the client to be stopped' })
  const { received } = it
  t.ok(received < size)
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
  t.equal(it.received, received, 'and no more comes')
  read(it)
  await ended(it)
  t.equal(it.given.length, head.length + size + 3)
})

t.test('what nobody wants any more is read all the same', async (t) => {
  const { begin, passed, clock } = await receiver(t, { body: 64 << 20, reads: false })
  begin().end(`${head}${'x'.repeat(8 << 20)}"}}`)
  const it = await passed()
  await waitFor(() => it.request.isPaused())
  it.message?.bytes?.stream.destroy()
  await waitFor(() => it.request.complete, { what: 'the rest to be read' })
  t.equal(clock.waiting, 0)
})
