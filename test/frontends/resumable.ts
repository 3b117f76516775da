import t from 'tap'
import type { EventStream } from '../../src/frontends/event-stream.ts'
import type { LoggedEvent } from '../../src/frontends/exchange.ts'
import { parseEventId, ResumableStream } from '../../src/frontends/resumable.ts'
import { notification } from '../../src/protocol/jsonrpc.ts'

/** A connection that keeps what is written to it. */
function connection() {
  const written: string[] = []
  const it: EventStream & { readonly written: string[]; retry: number | undefined } = {
    written,
    retry: undefined,
    closed: false,
    write: (text) => written.push(text) > 0,
    send: () => true,
    comment: (text) => void written.push(text),
    pass(head) {
      written.push(head)
      const write = (chunk: Uint8Array): boolean => written.push(Buffer.from(chunk).toString()) > 0
      return { write, onceDrained: (task) => task(), end: () => void written.push('\n\n') }
    },
    onceDrained: (task) => task(),
    close(retry) {
      Object.assign(it, { closed: true, retry })
    },
  }
  return it
}

/** A stream whose log can be made to wait, and to forget. */
function stage() {
  const events: (LoggedEvent & { readonly stream: string })[] = []
  let release = (): void => {}
  const log = {
    waits: false,
    append: (stream: string, sequence: number, text: string) =>
      void events.push({ stream, sequence, text }),
    async read(stream: string, after: number) {
      const found = events.filter((each) => each.stream === stream && each.sequence > after)
      if (log.waits) await new Promise<void>((resolve) => (release = resolve))
      return found
    },
  }
  const stream = new ResumableStream('s1', true, log)
  return {
    stream,
    log,
    release: () => release(),
    forget: (count: number) => void events.splice(0, count),
    say(...names: string[]) {
      for (const name of names) stream.send(notification(`notifications/${name}`))
    },
  }
}

/** The ids and methods of what was written. */
const told = (written: readonly string[]): string[] =>
  written.map((text) => {
    const id = /^id: (.*)$/m.exec(text)?.[1] ?? 'no id'
    return `${id} ${/notifications\/(\w+)/.exec(text)?.[1] ?? ''}`.trim()
  })

t.test('each event carries the id of the stream and its place', async (t) => {
  const { stream, say } = stage()
  const first = connection()
  stream.begin(first, false)
  say('a', 'b')
  t.same(told(first.written), ['s1-1 a', 's1-2 b'])
})

t.test('a priming event has an id, a time and no message', async (t) => {
  const { stream } = stage()
  const first = connection()
  stream.begin(first, true)
  t.match(first.written, [/^id: s1-0$/m])
  t.match(first.written, [/^retry: 1000$/m])
  t.notMatch(first.written[0], /jsonrpc/)
})

t.test('a client that comes back gets what it missed, then what follows', async (t) => {
  for (const after of [0, 1, 3]) {
    const { stream, say } = stage()
    stream.begin(connection(), false)
    say('a', 'b', 'c')
    const again = connection()
    await stream.resume(() => again, after)
    say('d')
    t.same(told(again.written), ['s1-1 a', 's1-2 b', 's1-3 c', 's1-4 d'].slice(after))
  }
})

t.test('what is said while the log is read comes once and in order', async (t) => {
  const { stream, log, say, release } = stage()
  const old = connection()
  stream.begin(old, false)
  say('a', 'b')
  log.waits = true
  const again = connection()
  const resumed = stream.resume(() => again, 1)
  say('c')
  release()
  await resumed
  say('d')
  t.same(told(again.written), ['s1-2 b', 's1-3 c', 's1-4 d'])
  t.same(told(old.written), ['s1-1 a', 's1-2 b'])
})

t.test('of two clients that come back at once the later one has the stream', async (t) => {
  const { stream, log, say, release } = stage()
  stream.begin(connection(), false)
  say('a', 'b')
  log.waits = true
  const [early, late] = [connection(), connection()]
  const first = stream.resume(() => early, 0)
  const releaseFirst = release
  say('c')
  releaseFirst()
  const second = stream.resume(() => late, 1)
  say('d')
  release()
  await Promise.all([first, second])
  say('e')
  t.equal(early.closed, true)
  t.same(told(late.written), ['s1-2 b', 's1-3 c', 's1-4 d', 's1-5 e'])
})

t.test('what is said while a client asks in vain goes to the one that is there', async (t) => {
  const { stream, log, say, release, forget } = stage()
  const old = connection()
  stream.begin(old, false)
  say('a', 'b')
  forget(2)
  log.waits = true
  const resumed = stream.resume(() => connection(), 1)
  say('c')
  release()
  await t.rejects(resumed, { code: 'EVENTS_GONE' })
  t.same(told(old.written), ['s1-1 a', 's1-2 b', 's1-3 c'])
})

t.test('the old connection is closed when another takes its place', async (t) => {
  const { stream, say } = stage()
  const old = connection()
  stream.begin(old, false)
  say('a')
  const again = connection()
  await stream.resume(() => again, 1)
  t.equal(old.closed, true)
  t.equal(again.closed, false)
  say('b')
  t.same(told(old.written), ['s1-1 a'])
})

t.test('a stream that is over is replayed and ends', async (t) => {
  const { stream, say } = stage()
  const old = connection()
  stream.begin(old, false)
  say('a', 'b')
  t.equal(stream.over, false)
  stream.close(500)
  t.equal(old.retry, 500)
  t.equal(stream.over, true)
  const again = connection()
  await stream.resume(() => again, 1)
  t.same(told(again.written), ['s1-2 b'])
  t.equal(again.closed, true)
})

t.test('a stream with a hole is not resumed, and its connection stays', async (t) => {
  const cases: [string, number, number][] = [
    ['the next one is gone', 2, 1],
    ['all are gone', 3, 0],
    ['an event that never was', 0, 4],
  ]
  for (const [name, forgotten, after] of cases) {
    const { stream, say, forget } = stage()
    const old = connection()
    stream.begin(old, false)
    say('a', 'b', 'c')
    forget(forgotten)
    let connected = false
    const resumed = stream.resume(() => {
      connected = true
      return connection()
    }, after)
    await t.rejects(resumed, { code: 'EVENTS_GONE', message: /s1-\d are no longer kept/ }, name)
    t.equal(connected, false)
    say('d')
    t.equal(told(old.written).at(-1), 's1-4 d')
  }
  const { stream, say, forget } = stage()
  say('a', 'b')
  forget(1)
  const again = connection()
  await stream.resume(() => again, 1)
  t.same(told(again.written), ['s1-2 b'], 'what the client has may be gone')
})

t.test('what passes in bytes has an id of its own and is not kept', async (t) => {
  const { stream, say } = stage()
  t.equal(stream.pass(), undefined, 'nobody is there to take it')
  const first = connection()
  stream.begin(first, false)
  say('a')
  const sink = stream.pass()
  sink?.write(Buffer.from('{"n":1}'))
  sink?.end()
  say('b')
  t.match(first.written.join(''), /id: s1-2\ndata: \{"n":1\}\n\nevent: message\nid: s1-3\n/)
  await t.rejects(
    stream.resume(() => connection(), 1),
    { code: 'EVENTS_GONE' },
  )
  const again = connection()
  await stream.resume(() => again, 2)
  t.same(told(again.written), ['s1-3 b'])
  Object.assign(again, { closed: true })
  t.equal(stream.pass(), undefined, 'nor is anybody when the connection has closed')
})

t.test('without a connection events are kept and nothing waits', async (t) => {
  const { stream, say } = stage()
  say('a')
  stream.comment(': nobody hears')
  let drained = false
  stream.onceDrained(() => (drained = true))
  t.equal(drained, true)
  const first = connection()
  await stream.resume(() => first, 0)
  stream.comment(': hello')
  t.same(first.written.length, 2)
})

t.test('event ids of ours are taken apart, others are none', async (t) => {
  const cases: [string, object | undefined][] = [
    ['s1-0', { stream: 's1', sequence: 0 }],
    ['a-b_c-12', { stream: 'a-b_c', sequence: 12 }],
    ['s1', undefined],
    ['s1-', undefined],
    ['-1', undefined],
    ['s1--1', { stream: 's1-', sequence: 1 }],
    ['s1-1x', undefined],
    ['s1-1\n', undefined],
    [`s1-${'9'.repeat(16)}`, undefined],
    ['', undefined],
  ]
  for (const [id, expected] of cases) t.same(parseEventId(id), expected, JSON.stringify(id))
})
