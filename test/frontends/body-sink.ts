import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { openBodySink } from '../../src/frontends/body-sink.ts'
import { createKeeper } from '../../src/frontends/keeper.ts'
import type { Keeper, Kept } from '../../src/frontends/keeper.ts'
import type { Sink } from '../../src/protocol/passing.ts'
import { listen, readText } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const megabyte = Buffer.alloc(1_048_576, 'x')
const stallTime = 60_000

/** An answer that has begun, seen from both ends. The client reads nothing until it is told to. */
async function open(t: Test, length?: number) {
  const clock = manualClock()
  const keeper = createKeeper(clock)
  /** What the keeper looks after. */
  const kept = new Set<Kept>()
  const counting: Keeper = {
    get now() {
      return keeper.now
    },
    add(each) {
      kept.add(each)
      const remove = keeper.add(each)
      return () => {
        kept.delete(each)
        remove()
      }
    },
    close: () => keeper.close(),
  }
  const limits = { keepAlive: 15_000, buffer: 1000, stallTime }
  const cuts: string[] = []
  let opened: { sink: Sink; response: ServerResponse } | undefined
  const server = await listen((_request, response) => {
    const headers = { 'content-type': 'application/json', 'x-mine': 'yes' }
    const tools = { keeper: counting, limits }
    const sink = openBodySink(response, headers, length, tools, (reason) => cuts.push(reason))
    opened = { sink, response }
  })
  t.teardown(async () => {
    keeper.close()
    await server.close()
  })
  const asked = httpRequest(server.url, { agent: false })
  asked.on('error', () => undefined)
  t.teardown(() => asked.destroy())
  const client = new Promise<IncomingMessage>((resolve) => asked.once('response', resolve))
  asked.end()
  const { sink, response } = await waitFor(() => opened)
  /** Writes until the client's side takes no more. */
  const fill = (): Promise<unknown> =>
    waitFor(
      async () => {
        const more = sink.write(megabyte)
        await new Promise(setImmediate)
        return !more && response.writableLength > 2 * megabyte.length
      },
      { what: 'a client that reads no more' },
    )
  return { clock, cuts, kept, sink, response, client, fill, leave: () => asked.destroy() }
}

t.test('an answer goes out as it is written, with its length if that is known', async (t) => {
  for (const length of [9, undefined]) {
    const { sink, client, clock, cuts, kept } = await open(t, length)
    t.equal(sink.write(Buffer.from('{"a":')), true)
    const answer = await client
    t.equal(answer.statusCode, 200)
    t.match(answer.headers, { 'content-type': 'application/json', 'x-mine': 'yes' })
    t.equal(answer.headers['content-length'], length === undefined ? undefined : '9')
    let drained = 0
    sink.onceDrained(() => drained++)
    t.equal(drained, 1, 'nobody waits for a client that reads')
    t.equal(sink.write(Buffer.from('"é"')), true)
    sink.write(Buffer.from(length === undefined ? ' }' : ''))
    sink.end()
    t.equal(await readText(answer), length === undefined ? '{"a":"é" }' : '{"a":"é"')
    await waitFor(() => kept.size === 0, { what: 'nobody to look after it' })
    clock.advance(2 * stallTime)
    t.same(cuts, [])
  }
})

t.test('a slow client holds up whoever writes, until it reads on', async (t) => {
  const { sink, client, fill, clock, cuts, response } = await open(t)
  await fill()
  let drained = 0
  for (let task = 0; task < 3; task++) sink.onceDrained(() => drained++)
  t.equal(drained, 0)
  clock.advance(stallTime - 1000)
  const answer = await client
  answer.resume()
  await waitFor(() => drained === 3, { what: 'the client to catch up' })
  t.equal(response.writableLength, 0)
  t.equal(sink.write(Buffer.from('x')), true)
  clock.advance(stallTime)
  t.same(cuts, [], 'a new pause begins anew')
  sink.end()
  await once(answer, 'end')
  t.equal(drained, 3, 'once each')
})

t.test('a client that reads nothing is cut off', async (t) => {
  const { sink, fill, clock, cuts, response } = await open(t)
  await fill()
  let drained = 0
  sink.onceDrained(() => drained++)
  clock.advance(stallTime - 1)
  t.same(cuts, [])
  t.equal(response.destroyed, false)
  clock.advance(1000)
  t.same(cuts, ['it read nothing for 60000 ms'])
  t.equal(response.destroyed, true)
  let late = 0
  sink.onceDrained(() => late++)
  t.equal(late, 1, 'nobody waits for it, from now on')
  await waitFor(() => drained === 1, { what: 'nobody to wait any longer' })
  t.throws(() => sink.write(Buffer.from('x')), { code: 'CANCELLED' })
  clock.advance(10 * stallTime)
  t.equal(cuts.length, 1)
})

t.test('so is one that does not read the end', async (t) => {
  const { sink, fill, clock, cuts } = await open(t)
  await fill()
  sink.end()
  clock.advance(stallTime)
  t.equal(cuts.length, 1)
})

t.test('a client that goes is told of at the next write', async (t) => {
  for (const slow of [false, true]) {
    const { sink, fill, clock, cuts, kept, response, leave } = await open(t)
    if (slow) await fill()
    else sink.write(Buffer.from('x'))
    let drained = 0
    if (slow) sink.onceDrained(() => drained++)
    leave()
    await once(response, 'close')
    t.equal(drained, slow ? 1 : 0)
    sink.onceDrained(() => drained++)
    t.equal(drained, slow ? 2 : 1, 'nobody waits for it')
    t.throws(() => sink.write(Buffer.from('x')), { code: 'CANCELLED', message: /has gone/ })
    t.doesNotThrow(() => sink.end())
    t.equal(kept.size, 0)
    clock.advance(2 * stallTime)
    t.same(cuts, [])
  }
})
