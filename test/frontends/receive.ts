import { request as httpRequest } from 'node:http'
import type { ClientRequest, ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Body } from '../../src/frontends/exchange.ts'
import { receiveMessages } from '../../src/frontends/receive.ts'
import type { Message, Request } from '../../src/protocol/jsonrpc.ts'
import { heldBytes } from '../../src/protocol/passing.ts'
import { caller, keepingRelay } from '../fixtures/front.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

interface Received {
  readonly outcome: Body | ProxyError
  readonly response: ServerResponse
}

/** A server that receives the messages of each POST, and a session that takes bytes. */
async function receiver(t: Test) {
  const clock = manualClock()
  const relay = keepingRelay()
  const session = await relay.begin(caller, 'streamable')
  relay.session.takesBytes = true
  const all: Received[] = []
  const server = await listen((request, response) => {
    const header = request.headers['mcp-session-id']
    const sessionId = typeof header === 'string' ? header : undefined
    const limits = { body: 1 << 20, bodyTime: 1000 }
    receiveMessages({ request, response, caller, sessionId }, relay, { limits, clock }).then(
      (outcome) => all.push({ outcome, response }),
      (error: unknown) => all.push({ outcome: ProxyError.from(error), response }),
    )
  })
  t.teardown(() => server.close())
  const begin = (headers: Record<string, string>): ClientRequest => {
    const sent = httpRequest(server.url, { method: 'POST', headers, agent: false })
    sent.on('error', () => undefined)
    t.teardown(() => sent.destroy())
    return sent
  }
  const named = { 'mcp-session-id': session.id }
  const received = (count = all.length + 1) =>
    waitFor(() => all[count - 1], { what: 'the messages of a POST' })
  /** POSTs, with a length as most clients do, or in chunks, and answers what was made of it. */
  const post = async (
    body: string | Buffer,
    headers = named as Record<string, string>,
    chunked = false,
  ) => {
    const count = all.length + 1
    const sent = begin(headers)
    if (chunked) sent.flushHeaders()
    sent.end(body)
    return received(count)
  }
  return { begin, post, received, relay, named, clock }
}

const messagesOf = ({ outcome }: Received): readonly Message[] => {
  if (outcome instanceof ProxyError) throw outcome
  return outcome.messages
}

const onlyRequest = (received: Received): Request => {
  const [only] = messagesOf(received)
  if (only?.kind !== 'request') throw new Error('it is no request')
  return only
}

const large = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"é${'x'.repeat(200_000)}"}}`

async function readAll({ bytes }: Request): Promise<string> {
  const chunks: Buffer[] = []
  if (bytes === undefined) return ''
  for await (const chunk of bytes.stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

t.test('a large request of a session that takes bytes passes', async (t) => {
  const { post, named } = await receiver(t)
  for (const length of [Buffer.byteLength(large), undefined]) {
    const it = await post(large, named, length === undefined)
    t.match(it.outcome, { batch: false })
    t.equal(messagesOf(it).length, 1)
    const message = onlyRequest(it)
    t.match(message, { method: 'tools/call', idText: '7' })
    t.equal(message.bytes?.length, length)
    t.equal(await readAll(message), large)
  }
  t.ok(
    onlyRequest(await post(large, { ...named, 'content-type': 'application/json; charset=utf-8' }))
      .bytes,
  )
})

t.test('everything else is read whole', async (t) => {
  const { post, relay, named } = await receiver(t)
  const whole = async (
    name: string,
    body: string | Buffer,
    headers?: Record<string, string>,
    chunked = false,
  ) => {
    const message = onlyRequest(await post(body, headers, chunked))
    t.equal(message.bytes, undefined, name)
    t.ok(message.text.length > 60_000, name)
    return message.text
  }
  await whole('outside any session', large, {})
  await whole('of an unknown session', large, { 'mcp-session-id': 'nobody' })
  const small = `${large.slice(0, heldBytes - 4)}"}}`
  t.equal(Buffer.byteLength(small), heldBytes)
  await whole('just small enough', small)
  await whole('just small enough, in chunks', small, named, true)
  await whole(
    'what is no request by its head',
    large.replace(',"method":"tools/call"', '').replace(/}$/, ',"method":"x"}'),
  )
  const latin = { ...named, 'content-type': 'application/json; charset=latin1' }
  const text = await whole('another charset', Buffer.from(large, 'latin1'), latin)
  t.equal(text, large)
  relay.session.takesBytes = false
  await whole('of a session that takes none', large)
})

t.test('what is wrong with a body is told as ever', async (t) => {
  const { begin, post, received, named, clock } = await receiver(t)
  t.match((await post('{"a":')).outcome, { code: 'BODY_INVALID' })
  t.match((await post(`[${large},7]`)).outcome, { code: 'MESSAGE_INVALID' })
  begin({ ...named, 'content-length': String(2 << 20) }).flushHeaders()
  t.match((await received(3)).outcome, { code: 'BODY_TOO_LARGE' })
  begin(named).end(`[${'1,'.repeat(1 << 20)}1]`)
  t.match((await received(4)).outcome, { code: 'BODY_TOO_LARGE' })
  begin(named).write(large.slice(0, 1000))
  await waitFor(() => clock.waiting === 1, { what: 'the body to begin' })
  clock.advance(1000)
  t.match((await received(5)).outcome, { code: 'BODY_TIMEOUT' })
  t.equal(clock.waiting, 0)
})

t.test('a batch passes as messages, however large', async (t) => {
  const { post } = await receiver(t)
  const it = await post(`[${large},${large}]`)
  t.match(it.outcome, { batch: true })
  t.same(
    messagesOf(it).map((each) => [each.text, 'bytes' in each]),
    [
      [large, false],
      [large, false],
    ],
  )
})

t.test('an answer that ends before the body stops the passing', async (t) => {
  const { begin, received, named } = await receiver(t)
  begin(named).write(large.slice(0, 150_000))
  const it = await received()
  const { bytes } = onlyRequest(it)
  t.equal(bytes?.stream.errored, null)
  it.response.end('early')
  const closed = new Promise((resolve) => bytes?.stream.once('close', resolve))
  bytes?.stream.resume()
  await closed
  t.equal(bytes?.stream.readable, false)
  t.equal(bytes?.stream.errored, null, 'nobody is to blame')
})
