import { request as httpRequest } from 'node:http'
import type { ClientRequest } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { decodeBody, parseBody, receiveBody } from '../../src/frontends/body.ts'
import type { Request } from '../../src/protocol/jsonrpc.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

/** A server that receives one body; `outcome` is what became of it. */
async function receiver(t: Test, body = 100) {
  const clock = manualClock()
  const outcomes: (Buffer | Request | ProxyError)[] = []
  const server = await listen((request, response) => {
    receiveBody(request, { body, bodyTime: 1000 }, clock)
      .then(
        (bytes) => outcomes.push(bytes),
        (error: unknown) => outcomes.push(ProxyError.from(error)),
      )
      .finally(() => response.end())
  })
  t.teardown(() => server.close())
  const begin = (headers: Record<string, string> = {}): ClientRequest => {
    const sent = httpRequest(server.url, { method: 'POST', headers, agent: false })
    // The server may end the connection while we are still writing.
    sent.on('error', () => undefined)
    t.teardown(() => sent.destroy())
    return sent
  }
  const outcome = () => waitFor(() => outcomes[0], { what: 'the end of the body' })
  return { clock, begin, outcome, outcomes, server }
}

t.test('a body is received whole, in however many pieces it comes', async (t) => {
  const { begin, outcome, clock } = await receiver(t)
  const sent = begin()
  sent.write('{"a":')
  await new Promise((resolve) => sent.write('"é"', resolve))
  sent.end('}')
  t.equal(String(await outcome()), '{"a":"é"}')
  t.equal(clock.waiting, 0, 'and nothing goes on waiting for it')
})

t.test('no body is an empty one', async (t) => {
  const { begin, outcome } = await receiver(t)
  begin().end()
  t.equal(String(await outcome()), '')
})

t.test('a body of just the limit passes', async (t) => {
  const { begin, outcome } = await receiver(t)
  begin().end('x'.repeat(100))
  t.equal(String(await outcome()).length, 100)
})

t.test('a body that says it is too large is refused before it is read', async (t) => {
  const { begin, outcome, clock } = await receiver(t)
  begin({ 'content-length': '101' }).flushHeaders()
  t.match(await outcome(), { code: 'BODY_TOO_LARGE', status: 413, message: /limits\.body, 100 / })
  t.equal(clock.waiting, 0)
})

t.test('a body that turns out to be too large is refused as soon as it is', async (t) => {
  const { begin, outcome, clock } = await receiver(t)
  const sent = begin()
  sent.write('x'.repeat(60))
  sent.write('x'.repeat(60))
  t.match(await outcome(), { code: 'BODY_TOO_LARGE' })
  t.equal(clock.waiting, 0)
})

t.test('a body that takes too long is refused', async (t) => {
  const { begin, outcome, outcomes, clock } = await receiver(t)
  const sent = begin()
  sent.write('x')
  await waitFor(() => clock.waiting === 1, { what: 'the request' })
  clock.advance(999)
  await new Promise(setImmediate)
  t.equal(outcomes.length, 0)
  clock.advance(1)
  t.match(await outcome(), { code: 'BODY_TIMEOUT', status: 408, message: /1000 ms/ })
})

t.test('a client that goes before the end leaves nothing behind', async (t) => {
  const { begin, outcome, clock } = await receiver(t)
  const sent = begin()
  sent.write('x')
  await waitFor(() => clock.waiting === 1, { what: 'the request' })
  sent.destroy()
  t.match(await outcome(), { code: 'BODY_INVALID', message: /went away/ })
  t.equal(clock.waiting, 0)
})

t.test('a body is UTF-8 unless it says otherwise, and says so in a known way', async (t) => {
  const cases: [number[], string | undefined, string][] = [
    [[0xc3, 0xa9], undefined, 'é'],
    [[0xc3, 0xa9], 'application/json', 'é'],
    [[0xc3, 0xa9], 'application/json; charset=UTF-8', 'é'],
    [[0xe9], 'application/json; charset=latin1', 'é'],
    [[0xe9], 'application/json;Charset="ISO-8859-1"', 'é'],
    [[0xe9, 0x00], 'application/json; charset=utf-16le', 'é'],
    [[0xc3, 0xa9], 'application/json; charset=no-such-one', 'é'],
    [[0xe9], 'application/json', '\ufffd'],
    [[0xef, 0xbb, 0xbf, 0x7b], undefined, '{'],
  ]
  for (const [bytes, type, expected] of cases) {
    t.equal(decodeBody(Buffer.from(bytes), type), expected, `${bytes.join()} as ${type}`)
  }
})

t.test('a body is taken apart into messages', async (t) => {
  t.match(parseBody('{"jsonrpc":"2.0","id":1,"method":"ping"}'), {
    batch: false,
    messages: [{ kind: 'request', method: 'ping' }],
  })
  t.match(parseBody('[{"method":"a","id":1},{"method":"b"}]'), {
    batch: true,
    messages: [{ kind: 'request' }, { kind: 'notification' }],
  })
})

t.test('what is no message is refused in the terms of JSON-RPC', async (t) => {
  const cases: [string, string, number, RegExp][] = [
    ['', 'BODY_INVALID', -32700, /empty/],
    [' \n', 'BODY_INVALID', -32700, /empty/],
    ['{"a":', 'BODY_INVALID', -32700, /not JSON/],
    ['<html>', 'BODY_INVALID', -32700, /not JSON/],
    ['3', 'MESSAGE_INVALID', -32600, /object/],
    ['{}', 'MESSAGE_INVALID', -32600, /method/],
    ['[]', 'MESSAGE_INVALID', -32600, /empty/],
    ['[{"method":"a"},7]', 'MESSAGE_INVALID', -32600, /message 1/],
    ['{"method":"a","id":null}', 'MESSAGE_INVALID', -32600, /id/],
  ]
  for (const [text, code, rpc, message] of cases) {
    t.throws(() => parseBody(text), { code, rpc, message, status: 400 }, text)
  }
})

t.test('a member that stands twice is refused, in whatever spelling', async (t) => {
  for (const text of [
    '{"jsonrpc":"2.0","id":1,"method":"a","id":2}',
    '{"jsonrpc":"2.0","id":1,"method":"a","ID":2}',
    '{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}',
    '{"id":1,"method":"a","\\u0069d":2}',
    '[{"method":"a"},{"id":1,"Id":1,"method":"b"}]',
  ]) {
    t.throws(() => parseBody(text), { code: 'MESSAGE_INVALID', message: /twice/ }, text)
  }
  const within = '{"jsonrpc":"2.0","id":1,"method":"a","params":{"id":1,"ID":2,"id":3}}'
  t.match(parseBody(within).messages, [{ text: within }], 'below, it is the server’s affair')
})

t.test('a batch is bounded', async (t) => {
  const batch = (length: number): string =>
    `[${Array.from({ length }, (_, id) => `{"id":${id},"method":"ping"}`).join()}]`
  t.equal(parseBody(batch(1000)).messages.length, 1000)
  t.throws(() => parseBody(batch(1001)), {
    code: 'MESSAGE_INVALID',
    message: /at most 1000 messages, this one 1001/,
  })
})
