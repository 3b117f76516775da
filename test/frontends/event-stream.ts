import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { openEventStream } from '../../src/frontends/event-stream.ts'
import type { EventStream } from '../../src/frontends/event-stream.ts'
import { createKeeper } from '../../src/frontends/keeper.ts'
import { notification } from '../../src/protocol/jsonrpc.ts'
import { openStream } from '../fixtures/http.ts'
import type { RawStream } from '../fixtures/http.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const megabyte = 1_048_576

/** An open stream, seen from both ends. */
async function open(t: Test, over: { buffer?: number } = {}) {
  const clock = manualClock()
  const keeper = createKeeper(clock)
  const limits = { keepAlive: 15_000, buffer: 64 * megabyte, stallTime: 60_000, ...over }
  const cuts: string[] = []
  const writes: string[] = []
  let opened: { stream: EventStream; response: ServerResponse } | undefined
  const server = await listen((_request, response) => {
    const write = response.write.bind(response)
    response.write = ((text: string) => {
      writes.push(text)
      return write(text)
    }) as ServerResponse['write']
    const headers = { 'mcp-session-id': 'mine', 'content-type': 'text/plain' }
    const stream = openEventStream(response, headers, keeper, limits, (reason) => cuts.push(reason))
    opened = { stream, response }
  })
  t.teardown(async () => {
    keeper.close()
    await server.close()
  })
  const client: RawStream = await openStream(server.url)
  t.teardown(() => client.destroy())
  const { stream, response } = await waitFor(() => opened)
  return { clock, cuts, writes, client, stream, response }
}

const note = (text = 'x') => notification('notifications/message', { text })

/** Sends until the client's side takes no more. */
async function fill(stream: EventStream, response: ServerResponse): Promise<void> {
  const large = note('x'.repeat(megabyte))
  await waitFor(
    async () => {
      stream.send(large)
      await new Promise(setImmediate)
      return response.writableLength > 2 * megabyte
    },
    { what: 'a client that reads no more' },
  )
}

t.test('the headers come at once, and let nobody store or buffer the stream', async (t) => {
  const { client } = await open(t)
  t.equal(client.status, 200)
  t.match(client.headers, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'mcp-session-id': 'mine',
  })
  t.notOk('content-length' in client.headers)
  t.same(client.events, [], 'before any event')
})

t.test('all events of a tick go out in one write, in their order', async (t) => {
  const { stream, client, writes } = await open(t)
  for (const text of ['1', '2', '3']) t.ok(stream.send(note(text)))
  stream.write('data: raw\n\n')
  await client.find(({ data }) => data === 'raw')
  t.same(
    client.events.map(({ data }) => data.replace(/.*"text":"(.)".*/, '$1')),
    ['1', '2', '3', 'raw'],
  )
  t.equal(writes.length, 1)
})

t.test('silence is broken by a comment, and only silence', async (t) => {
  const { stream, client, clock } = await open(t)
  const comments = () => client.events.filter(({ lines }) => lines[0] === ': keep-alive').length
  clock.advance(14_000)
  stream.send(note())
  await client.find(({ data }) => data !== '')
  clock.advance(14_000)
  await new Promise(setImmediate)
  t.equal(comments(), 0)
  clock.advance(1000)
  await waitFor(() => comments() === 1, { what: 'a comment' })
  clock.advance(15_000)
  await waitFor(() => comments() === 2, { what: 'another one' })
})

t.test('a slow client is told of by `false`, and by the call when it has caught up', async (t) => {
  const { stream, client, response } = await open(t)
  let early = 0
  stream.onceDrained(() => early++)
  t.equal(early, 1, 'at once where nothing waits')
  client.pause()
  await fill(stream, response)
  t.equal(stream.send(note()), false)
  let drained = 0
  stream.onceDrained(() => drained++)
  await new Promise(setImmediate)
  t.equal(drained, 0)
  client.resume()
  await waitFor(() => drained === 1, { what: 'the end of the jam' })
  t.equal(stream.send(note()), true)
})

t.test('a client that goes frees whoever waits for it', async (t) => {
  const { stream, client, response, clock, cuts } = await open(t)
  client.pause()
  await fill(stream, response)
  let drained = 0
  stream.onceDrained(() => drained++)
  client.destroy()
  await waitFor(() => drained === 1, { what: 'the end of the stream' })
  t.ok(stream.closed)
  t.equal(stream.send(note()), true, 'and takes what is still sent')
  stream.onceDrained(() => drained++)
  t.equal(drained, 2)
  clock.advance(300_000)
  t.same(cuts, [], 'nobody was cut off')
  t.equal(clock.waiting, 1, 'and the keeper alone is left')
})

t.test('a client that leaves too much unread is cut off', async (t) => {
  const { stream, client, response, cuts } = await open(t, { buffer: 8 * megabyte })
  client.pause()
  const large = note('x'.repeat(megabyte))
  let most = 0
  await waitFor(
    async () => {
      stream.send(large)
      most = Math.max(most, response.writableLength)
      await new Promise(setImmediate)
      return stream.closed
    },
    { what: 'the cut' },
  )
  t.same(cuts, [`it left more than ${8 * megabyte} bytes unread`])
  t.ok(response.destroyed)
  t.ok(most < 11 * megabyte, 'what is kept is bounded')
  stream.close()
})

t.test('a single event larger than the limit is no reason to cut', async (t) => {
  const { stream, client, cuts } = await open(t, { buffer: 1000 })
  stream.send(note('x'.repeat(2 * megabyte)))
  stream.send(note('next'))
  await client.find(({ data }) => data.includes('next'))
  t.same(cuts, [])
})

t.test('a client that reads nothing for too long is cut off, one that reads is not', async (t) => {
  const { stream, client, response, clock, cuts } = await open(t)
  client.pause()
  await fill(stream, response)
  clock.advance(59_000)
  t.same(cuts, [])
  client.resume()
  await waitFor(() => response.writableLength === 0, { what: 'the client to catch up' })
  clock.advance(5000)
  t.same(cuts, [])
  client.pause()
  await fill(stream, response)
  clock.advance(60_000)
  t.same(cuts, ['it read nothing for 60000 ms'])
  await waitFor(() => response.destroyed)
})

t.test('closing sends what is still there, with a hint when to come back', async (t) => {
  const { stream, client, clock } = await open(t)
  stream.send(note('last'))
  stream.close(1500)
  await waitFor(() => client.ended === 'end', { what: 'the end' })
  t.match(client.events, [{ data: /last/ }, { lines: ['retry: 1500'] }])
  t.ok(stream.closed)
  t.equal(stream.send(note('too late')), true)
  stream.close(1)
  clock.advance(60_000)
  await new Promise(setImmediate)
  t.equal(client.events.length, 2)
})

t.test('closing without a hint says nothing', async (t) => {
  const { stream, client } = await open(t)
  stream.close()
  await waitFor(() => client.ended === 'end', { what: 'the end' })
  t.same(client.events, [])
})
