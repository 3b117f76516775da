import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import type { StreamPosition } from '../../src/backends/answer.ts'
import { openGetStream } from '../../src/backends/streamable-stream.ts'
import { answer, kit, note, scripted, target, until } from '../fixtures/scripted.ts'
import { streaming } from '../fixtures/streamable-setting.ts'

const text = note('notifications/x').text
const event = `id: e9\nretry: 70\ndata: ${text}\n\n`
const start: StreamPosition = { lastEventId: '', retry: 0 }

async function stage(t: Test, onGet: (response: ServerResponse) => void, at = start) {
  const backend = await scripted(t, (_seen, response) => onGet(response))
  const options = kit(t, { client: { wakeTime: 0 } })
  const messages: string[] = []
  const open = () =>
    openGetStream(target(`${backend.url}/mcp`), () => ({ 'x-user-id': 'ann' }), at, options, {
      message: (message) => void messages.push(message.text),
    })
  return { backend, options, messages, open, clock: options.clock }
}

t.test('a stream that ends says where it may be read on', async (t) => {
  const cases: [string, StreamPosition, StreamPosition][] = [
    [event, start, { lastEventId: 'e9', retry: 70 }],
    [': nothing\n\n', { lastEventId: 'e1', retry: 0 }, { lastEventId: 'e1', retry: undefined }],
    [`data: ${text}\n\n`, start, { lastEventId: '', retry: undefined }],
    ['id: primed\ndata:\n\n', start, { lastEventId: 'primed', retry: undefined }],
  ]
  for (const [body, at, expected] of cases) {
    for (const broken of [false, true]) {
      const onGet = (response: ServerResponse): void => {
        streaming(response, body)
        setImmediate(() => (broken ? response.destroy() : response.end()))
      }
      const { open, clock } = await stage(t, onGet, at)
      const { ended } = open()
      clock.advance(0)
      t.same(await ended, { kind: 'ended', at: expected }, `${body} broken: ${broken}`)
    }
  }
})

t.test('the stream is asked for after its time, and from its last event', async (t) => {
  const cases: [StreamPosition, number, string | undefined][] = [
    [start, 0, undefined],
    [{ lastEventId: 'e1', retry: undefined }, 1000, 'e1'],
    [{ lastEventId: 'e2', retry: 250 }, 250, 'e2'],
    [{ lastEventId: 'e3', retry: 3_600_000 }, 30_000, 'e3'],
  ]
  for (const [at, pause, id] of cases) {
    const { open, backend, clock, messages } = await stage(t, (r) => streaming(r, event), at)
    const stream = open()
    t.same(clock.due, [pause])
    clock.advance(pause)
    await until(() => messages.length === 1, 'the event')
    t.equal(backend.seen[0]?.headers['last-event-id'], id)
    t.equal(backend.seen[0]?.headers['x-user-id'], 'ann')
    stream.close()
    await stream.ended
    await until(() => backend.seen[0]?.closed, 'the request to close')
  }
})

t.test('what is no event stream is refused with its status', async (t) => {
  const cases: [string, (response: ServerResponse) => void, number][] = [
    ['405', (response) => answer(response, '', { status: 405 }), 405],
    ['204', (response) => answer(response, '', { status: 204 }), 204],
    ['500 without an end', (response) => void response.writeHead(500).write('oops'), 500],
    ['JSON', (response) => answer(response, '{}', { type: 'application/json' }), 200],
    ['a cut connection', (response) => response.destroy(), 0],
  ]
  for (const [name, onGet, status] of cases) {
    const { open, clock, messages } = await stage(t, onGet)
    const { ended } = open()
    clock.advance(0)
    t.same(await ended, { kind: 'refused', status }, name)
    t.same(messages, [])
  }
})

t.test('a stream closed before its time is never asked for', async (t) => {
  const { open, backend, clock } = await stage(t, (response) => streaming(response, event), {
    lastEventId: 'e1',
    retry: 50,
  })
  const stream = open()
  stream.close()
  t.match(await stream.ended, { kind: 'ended', at: { lastEventId: 'e1' } })
  t.equal(clock.waiting, 0)
  t.equal(backend.seen.length, 0)
})

t.test('a stream paused before it opened reads nothing until it is resumed', async (t) => {
  const { open, backend, clock, messages } = await stage(t, (r) => streaming(r, event))
  const stream = open()
  stream.pause()
  clock.advance(0)
  await until(() => backend.seen.length === 1, 'the request')
  // Another stream shows that the event has had its time.
  const other = await stage(t, (response) => streaming(response, event))
  const running = other.open()
  other.clock.advance(0)
  await until(() => other.messages.length === 1, 'the event of the other')
  t.same(messages, [])
  stream.resume()
  await until(() => messages.length === 1, 'the event')
  running.close()
  stream.close()
})

t.test('it is told when the stream stands, or that it never will', async (t) => {
  let script = (response: ServerResponse): void => streaming(response, '')
  const { open, backend, clock } = await stage(t, (response) => script(response))
  const stream = open()
  clock.advance(0)
  await stream.opened
  t.equal(backend.seen[0]?.closed, false, 'a stream that has brought nothing yet stands')
  stream.close()

  for (const [name, onGet] of [
    ['refused', (response: ServerResponse) => answer(response, '', { status: 405 })],
    ['cut', (response: ServerResponse) => response.destroy()],
  ] as const) {
    script = onGet
    const other = open()
    clock.advance(0)
    await other.opened
    t.match(await other.ended, { kind: 'refused' }, name)
  }
  const early = open()
  early.close()
  await early.opened
})

t.test('a stream whose head does not come is not said to stand', async (t) => {
  const { open, backend, clock } = await stage(t, () => {})
  const stream = open()
  let opened = false
  void stream.opened.then(() => (opened = true))
  clock.advance(0)
  await until(() => backend.seen.length === 1, 'the request')
  t.equal(opened, false)
  stream.close()
  await stream.opened
})
