import { readFileSync, readdirSync } from 'node:fs'
import { createParser } from 'eventsource-parser'
import t from 'tap'
import { createDecoder } from '../../src/event-stream/decode.ts'
import type { Decoded } from '../../src/event-stream/decode.ts'
import { encodeEndpoint, encodeMessage } from '../../src/event-stream/event.ts'
import { ruleTable } from '../../src/event-stream/rules.ts'
import type { RuleName, RuleSwitches } from '../../src/event-stream/rules.ts'
import { everyByte, randomCuts, whole } from '../fixtures/split.ts'

const folder = new URL('../fixtures/event-stream/', import.meta.url)
const fixture = (name: string): Buffer => readFileSync(new URL(name, folder))
const named = (suffix: string): string[] =>
  readdirSync(folder)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length))

function decode(chunks: Iterable<Uint8Array>, rules: RuleSwitches = {}, limit = 1 << 20) {
  const values: Decoded[] = []
  const repairs = new Set<RuleName>()
  const decoder = createDecoder(
    {
      maxEventBytes: limit,
      rules,
      endpoints: true,
      isEndpoint: (data) => data.startsWith('/m') || data.startsWith('http://backend/'),
    },
    { decoded: (value) => values.push(value), repaired: (rule) => repairs.add(rule) },
  )
  for (const chunk of chunks) decoder.feed(chunk)
  decoder.end()
  return { values, repairs, decoder }
}

/** What was decoded, as we would write it. */
const written = (values: Decoded[]): string =>
  values
    .map((value) => {
      if (value.kind === 'endpoint') return encodeEndpoint(value.data)
      return value.kind === 'message' ? encodeMessage(value.message.text) : ''
    })
    .join('')

const cuts = { whole, 'split at every byte': everyByte, 'in random cuts': randomCuts }

for (const name of named('.broken.txt')) {
  const broken = fixture(`${name}.broken.txt`)
  const repaired = fixture(`${name}.repaired.txt`).toString()
  t.test(`rule ${name} mends its fixture`, async (t) => {
    for (const [how, cut] of Object.entries(cuts)) {
      const { values, repairs } = decode(
        cut(broken),
        // Where two rules could mend the same thing, the one under test is on its own.
        name === 'message-per-line' ? { 'missing-blank-line': false } : {},
      )
      t.equal(written(values), repaired, how)
      t.ok(repairs.has(name as RuleName), `counted under its name, ${how}`)
    }
    const off = decode(whole(broken), {
      [name]: false,
      ...(name === 'message-per-line' ? { 'missing-blank-line': false } : {}),
    })
    const bothHeartbeats = name === 'data-heartbeat'
    if (bothHeartbeats) t.ok(off.values.some(({ kind }) => kind === 'error' || kind === 'stray'))
    else t.not(written(off.values), repaired, 'and not when it is switched off')
    t.notOk(off.repairs.has(name as RuleName))
  })
}

for (const name of named('.legal.txt')) {
  t.test(`the legal stream ${name} passes without repair`, async (t) => {
    for (const [how, cut] of Object.entries(cuts)) {
      const { values, repairs } = decode(cut(fixture(`${name}.legal.txt`)))
      t.equal(written(values), fixture(`${name}.repaired.txt`).toString(), how)
      t.same([...repairs], [], how)
    }
  })
}

t.test('every rule has a fixture, but the one that needs a clock', async (t) => {
  const fixtures = new Set(named('.broken.txt'))
  const without = ruleTable.map(({ name }) => name).filter((name) => !fixtures.has(name))
  t.same(without, ['odd-endpoint'])
})

t.test('an endpoint in odd clothes is offered, and only one that could be one', async (t) => {
  const odd: [string, string | undefined][] = [
    ['data: /m?s=1\n\n', '/m?s=1'],
    ['event: Endpoint\ndata: /m?s=1\n\n', '/m?s=1'],
    ['event: message\ndata: http://backend/x\n\n', 'http://backend/x'],
    ['data: {"type":"endpoint","endpoint":"/m"}\n\n', '/m'],
    ['data: "/m"\n\n', '/m'],
    ['data: /elsewhere\n\n', undefined],
    ['data: http://evil/m\n\n', undefined],
    ['event: connected\ndata: /m\n\n', undefined],
    ['data: {"endpoint":"/m","url":"/m2"}\n\n', undefined],
  ]
  for (const [stream, expected] of odd) {
    const { decoder, values } = decode(whole(Buffer.from(stream)))
    t.equal(decoder.candidate, expected, stream)
    t.notOk(
      values.some(({ kind }) => kind === 'endpoint'),
      'but never taken for one at once',
    )
    const off = decode(whole(Buffer.from(stream)), { 'odd-endpoint': false })
    t.equal(off.decoder.candidate, undefined)
  }
})

t.test('what cannot be mended is reported, not guessed', async (t) => {
  const cases: [string, object][] = [
    ['data: {"jsonrpc":"2.0","id":1,\n\n: c\nevent: x\n\n', { kind: 'error' }],
    ["data: {'jsonrpc': '2.0', 'x': None}\n\n", { kind: 'error' }],
    ['event: error\ndata: out of memory\n\n', { kind: 'error', text: 'out of memory' }],
    ['data: connected\n\n', { kind: 'error', text: 'connected' }],
    ['data: {"status":"acknowledged"}\n\n', { kind: 'stray', text: '{"status":"acknowledged"}' }],
    ['event: status\ndata: {"jsonrpc":1}\n\n', { kind: 'noise', name: 'status' }],
    ['event: heartbeat\ndata: {"timestamp": 1}\n\n', { kind: 'noise', name: 'heartbeat' }],
  ]
  for (const [stream, expected] of cases) {
    t.match(decode(whole(Buffer.from(stream))).values, [expected], stream)
  }
})

t.test('a message cut over two events does not swallow the next one', async (t) => {
  const good = '{"jsonrpc":"2.0","id":2,"result":{}}'
  const { values } = decode(
    whole(Buffer.from(`data: {"a":"Hel\n\ndata: lo"}\n\ndata: ${good}\n\n`)),
  )
  t.equal(written(values), encodeMessage(good))
})

t.test('an event is bounded', async (t) => {
  const line = Buffer.from(`data: ${'x'.repeat(1000)}\n`)
  const streams: Record<string, (n: number) => Buffer> = {
    'one endless line': () => Buffer.alloc(1000, 'x'),
    'endless data lines': () => line,
    'endless continuation': (n) => Buffer.from(n === 0 ? 'data: {\n' : `"k${n}": [],\n`.repeat(50)),
    'endless blank lines in JSON': (n) =>
      Buffer.from(n === 0 ? 'data: {\n"a":1,\n' : '\n"b":2,\n'.repeat(99)),
  }
  for (const [name, next] of Object.entries(streams)) {
    let fed = 0
    const feedAll = () =>
      decode(
        (function* () {
          for (let n = 0; n < 1000; n++) {
            const chunk = next(n)
            fed += chunk.length
            yield chunk
          }
        })(),
        {},
        20_000,
      )
    t.throws(feedAll, { code: 'EVENT_TOO_LARGE', message: /20000 bytes/ }, name)
    t.ok(fed < 60_000, `${name}: soon`)
  }
})

t.test('comments and heartbeats never add up to an event', async (t) => {
  const stream = Buffer.from(`: ${'x'.repeat(500)}\nevent: ping\ndata: x\n\nunknown\n`)
  t.doesNotThrow(() =>
    decode(
      Array.from({ length: 500 }, () => stream),
      {},
      2000,
    ),
  )
})

t.test('random legal streams say what the standard parser says', async (t) => {
  let seed = 11
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % below
  }
  const ends = ['\n', '\r\n', '\r']
  for (let round = 0; round < 300; round++) {
    const end = ends[random(3)] ?? '\n'
    let stream = random(4) === 0 ? '\uFEFF' : ''
    for (let event = 0; event < 6; event++) {
      const json = JSON.stringify(
        { jsonrpc: '2.0', id: event, result: { t: ['é', '☃', 'a\nb', '', '{"x":1}'][random(5)] } },
        null,
        random(2) * 2,
      )
      if (random(3) === 0) stream += `: note${end}`
      if (random(3) === 0) stream += `id: ${event}${end}`
      if (random(2) === 0) stream += `event:${random(2) ? ' ' : ''}message${end}`
      for (const line of json.split('\n')) stream += `data: ${line}${end}`
      stream += end
      if (random(4) === 0) stream += `event: custom${end}data: whatever${end}${end}`
    }
    const expected: unknown[] = []
    const parser = createParser({
      onEvent: ({ event, data }) => {
        if (event !== 'custom') expected.push(JSON.parse(data))
      },
    })
    parser.feed(stream.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n'))
    const { values, repairs } = decode(randomCuts(Buffer.from(stream)))
    const got = values.flatMap((value) => (value.kind === 'message' ? [value.message.value] : []))
    if (!t.same(got, expected) || !t.same([...repairs], [])) {
      t.comment(JSON.stringify(stream))
      break
    }
  }
})

t.test('retry and the last event id are kept', async (t) => {
  const { decoder } = decode(whole(Buffer.from('retry: 1500\nid: 42\ndata: {}\n\nretry: abc\n\n')))
  t.equal(decoder.retry, 1500)
  t.equal(decoder.lastEventId, '42')
})

/** What has been said while the stream is still open. */
function heard(stream: string): string {
  const values: Decoded[] = []
  const decoder = createDecoder(
    {
      maxEventBytes: 1 << 24,
      rules: {},
      endpoints: true,
      isEndpoint: (data) => data.startsWith('/m'),
    },
    { decoded: (value) => values.push(value), repaired: () => {} },
  )
  decoder.feed(Buffer.from(stream))
  return written(values)
}

const answer = (id: number): string => `{"jsonrpc":"2.0","id":${id},"result":{}}`

t.test('what is complete is passed on at once, for the backend may now wait', async (t) => {
  const cases: [stream: string, said: string][] = [
    ['event: endpoint\ndata: /m\n', encodeEndpoint('/m')],
    ['   event: endpoint\n   data: /m\n   \n', encodeEndpoint('/m')],
    [`event: message\ndata: ${answer(1)}\n`, encodeMessage(answer(1))],
    [
      `data: ${answer(1)}\ndata: ${answer(2)}\n`,
      encodeMessage(answer(1)) + encodeMessage(answer(2)),
    ],
    [`data: ${answer(1)}\0\0\n\n`, encodeMessage(answer(1))],
    [`data: ${answer(1)}\\n\\n\n\n`, encodeMessage(answer(1))],
    [`event: ping\ndata: 1\nevent: message\ndata: ${answer(1)}\n`, encodeMessage(answer(1))],
    ['data: event: endpoint\ndata: data: /m\ndata: \n\n', encodeEndpoint('/m')],
    ['event: endpoint\ndata: /m\\n\\n\n\n', encodeEndpoint('/m')],
  ]
  for (const [stream, said] of cases) t.equal(heard(stream), said, JSON.stringify(stream))
})

t.test('a legal event may hold lines that mean nothing, and its fields in any order', async (t) => {
  for (const stream of [
    `event: message\ndata: ${answer(1)}\nfoo: bar\n\n`,
    `data: ${answer(1)}\nevent: message\n\n`,
    `data: {"jsonrpc":"2.0",\nfoo: bar\ndata: "id":1,"result":{}}\n\n`,
  ]) {
    for (const cut of [whole, everyByte]) {
      const { values, repairs } = decode(cut(Buffer.from(stream)))
      t.match(values, [{ kind: 'message', message: { idText: '1' } }], JSON.stringify(stream))
      t.same(values.length, 1)
      t.same([...repairs], [])
    }
  }
})

t.test('no data takes more time than its length allows', async (t) => {
  const n = 1 << 20
  const streams = {
    'white space in text': `data: a${' '.repeat(n)}b\n\n`,
    'written-out line breaks in text': `data: a${'\\n'.repeat(n / 2)}b\n\n`,
    'escaped quotes in a cut string': `data: {"a":"${'\\"'.repeat(n / 2)}\n\n`,
    'event lines after an open array': `data: [${'1,'.repeat(n / 4)}1\n${'event: message\n'.repeat(n / 32)}\n`,
    'an error that goes on about methods': `data: {"jsonrpc":"2.0","id":1,"error":"${'method '.repeat(n / 7)}"}\n\n`,
  }
  // Square time would be minutes for each of them; linear time is milliseconds.
  for (const [name, stream] of Object.entries(streams)) {
    const start = performance.now()
    heard(stream)
    t.ok(performance.now() - start < 5000, name)
  }
})

t.test('the limit counts bytes', async (t) => {
  t.throws(() => decode(whole(Buffer.from(`data: ${'é'.repeat(600)}`)), {}, 1000), {
    code: 'EVENT_TOO_LARGE',
  })
})

t.test('no input takes more than its share of time', async (t) => {
  // Streams of about `size` characters that patterns with backtracking, or looking again at every line, make slow.
  const streams: Record<string, (size: number) => string> = {
    'blanks in the middle of a line': (size) => `data: x${' '.repeat(size)}x\n\n`,
    'line breaks written out': (size) => `data: ${'\\r'.repeat(size / 2)}x\n\n`,
    'quotes in a string without an end': (size) => `data: {"${'\\"'.repeat(size / 2)}\n\n`,
    'whole values on lines of one event': (size) => `${'data: {}\n'.repeat(size / 9)}\n`,
    'open brackets, line by line': (size) => `data: {\n${'[\n'.repeat(size / 2)}\n`,
    'blanks before a name': (size) => `${' '.repeat(size)}data: {}\n\n`,
    'data that begin again and again': (size) => `${'data: {"a":[]}\n'.repeat(size / 15)}\n`,
  }
  const time = (text: string): number => {
    const bytes = Buffer.from(text)
    let best = Infinity
    for (let round = 0; round < 2; round++) {
      const start = performance.now()
      decode([bytes])
      best = Math.min(best, performance.now() - start)
    }
    return best
  }
  for (const [name, stream] of Object.entries(streams)) {
    const [one, four] = [time(stream(64 * 1024)), time(stream(256 * 1024))]
    // Quadratic time would be sixteen times as much.
    t.ok(four < 9 * one + 50, `${name}: ${one.toFixed(1)} ms, then ${four.toFixed(1)} ms`)
  }
})

interface Poured {
  /** What came in order: decoded messages as we would write them, `offer`, and the texts of large events. */
  readonly log: string[]
  readonly offers: number
}

const dull = '.'.repeat(140_000)
/** Large, and what a decoder must not be misled by: line ends and fields written inside it. */
const large = (id: number): string =>
  `{"jsonrpc":"2.0","id":${id},"result":{"a":"é☃😀 \\n\\ndata: x","b":"${dull}é"}}`

/** Feeds a decoder whose large events are taken, or not, from their heads. */
function pour(
  chunks: Iterable<Uint8Array>,
  { takes = true, end = true, limit = 1 << 20 } = {},
): Poured {
  const log: string[] = []
  let offers = 0
  const decoder = createDecoder(
    { maxEventBytes: limit, rules: {}, endpoints: false },
    {
      decoded: (value) => log.push(value.kind === 'message' ? value.message.text : value.kind),
      repaired: (rule) => log.push(`repaired: ${rule}`),
      large(head) {
        offers++
        if (!takes) return undefined
        const begun = Buffer.from(head).toString('latin1')
        const pieces: Buffer[] = []
        return {
          write: (chunk) => pieces.push(Buffer.from(chunk)) > 0,
          onceDrained: (task) => task(),
          end() {
            const whole = Buffer.concat(pieces)
            const agrees = whole.toString('latin1').startsWith(begun)
            log.push(agrees ? `poured: ${whole.toString()}` : 'the head is not the beginning')
          },
        }
      },
    },
  )
  for (const chunk of chunks) decoder.feed(chunk)
  if (end) decoder.end()
  return { log, offers }
}

/** Chunks as a socket brings them, and the cut that is to be tried. */
function* socket(text: string, cut?: number, size = 16_384): Generator<Uint8Array> {
  const bytes = Buffer.from(text)
  const stops = [cut ?? 0, bytes.length]
  for (let at = 0; at < bytes.length;) {
    const next = Math.min(at + size, stops.find((stop) => stop > at) ?? bytes.length)
    yield bytes.subarray(at, next)
    at = next
  }
}

t.test('a large event is offered once and poured as it comes, between what is small', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const event = `event: message${end}id: 7${end}data: ${large(2)}${end}${end}`
    const stream = `data: ${answer(1)}${end}${end}${event}data:${large(3)}${end}${end}data: ${answer(4)}${end}${end}`
    const expected = [answer(1), `poured: ${large(2)}`, `poured: ${large(3)}`, answer(4)]
    for (const size of [16_384, 1000, 65_536]) {
      const { log, offers } = pour(socket(stream, undefined, size))
      t.same(log, expected, `${JSON.stringify(end)}, chunks of ${size}`)
      t.equal(offers, 2)
    }
  }
})

t.test('wherever its beginning and its end are cut', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const first = `data: ${large(1)}`
    const stream = `${first}${end}${end}data: ${answer(2)}${end}${end}`
    const expected = JSON.stringify([`poured: ${large(1)}`, answer(2)])
    const length = Buffer.byteLength(first)
    const places = [
      ...Array.from({ length: 12 }, (_, at) => at),
      ...Array.from({ length: 12 }, (_, at) => 65_540 + at),
      ...Array.from({ length: 24 }, (_, at) => length - 8 + at),
    ]
    const odd = places.filter((cut) => JSON.stringify(pour(socket(stream, cut)).log) !== expected)
    t.same(odd, [], JSON.stringify(end))
  }
  const bytes = Buffer.from(`data: ${large(1)}\n\n`)
  t.same(pour(everyByte(bytes)).log, [`poured: ${large(1)}`], 'and split at every byte')
})

t.test('one that is refused is decoded whole, and not offered again', async (t) => {
  const stream = `data: ${large(1)}\n\ndata: ${answer(2)}\n\n`
  for (const size of [16_384, 999]) {
    const { log, offers } = pour(socket(stream, undefined, size), { takes: false })
    t.same(log, [large(1), answer(2)])
    t.equal(offers, 1)
  }
  t.throws(() => pour(socket(stream), { takes: false, limit: 90_000 }), { code: 'EVENT_TOO_LARGE' })
  t.doesNotThrow(() => pour(socket(stream), { limit: 90_000 }), 'what is poured is not held')
})

t.test('what is held, or not one plain line of a message, is never offered', async (t) => {
  const filler = `"${dull}"`
  const cases: Record<string, string> = {
    'as large as may be held': `data: ${answer(1)}${' '.repeat(65_536 - 6 - answer(1).length)}\n\n`,
    'many lines': `data: {"jsonrpc":"2.0","id":1,\ndata: "result":{"x":${filler}}}\n\n`,
    'another name': `event: response\ndata: ${large(1)}\n\n`,
    'a comment': `: ${dull}\n\ndata: ${answer(1)}\n\n`,
    'no field': `${dull}\n\ndata: ${answer(1)}\n\n`,
    'no field, though it begins like one': `datas: ${large(2)}\n\ndata: ${answer(1)}\n\n`,
    'another field': `id: ${dull}\ndata: ${answer(1)}\n\n`,
    'a line to be mended': ` data: ${large(1)}\n\n`,
    'behind an event without its blank line': `data: ${answer(1)}\ndata: ${large(2)}\n\n`,
    'lines without a field name': `data: {\n"jsonrpc":"2.0","id":1,\n"result":{"x":${filler}}}\n\n`,
    'behind lines that wait for more': `data: {"a":\n"b",\n\ndata: ${large(1)}\n\n`,
  }
  for (const [name, stream] of Object.entries(cases)) {
    const { log, offers } = pour(socket(stream))
    t.equal(offers, 0, name)
    const messages = log.filter((each) => each.startsWith('{'))
    t.match(messages[0] ?? '', /"id":1,/, name)
    t.same(log.includes('error'), name === 'behind lines that wait for more', name)
  }
})

t.test('nor is one that a missing blank line would join to the event before', async (t) => {
  const before = `data: ${answer(1)}\n`
  const { log, offers } = pour(socket(`${before}data: ${large(2)}\n\n`, before.length))
  t.same(log, [answer(1), 'repaired: missing-blank-line', large(2)])
  t.equal(offers, 0)
})

t.test('one that comes in one chunk is decoded like any other', async (t) => {
  const { log, offers } = pour(whole(Buffer.from(`data: ${large(1)}\n\n`)))
  t.same(log, [large(1)])
  t.equal(offers, 0)
})

t.test('a stream that ends inside a large event has broken off', async (t) => {
  const ends = { code: 'BACKEND_STREAM_ENDED', message: /large event/ }
  const text = `data: ${large(1)}`
  for (const length of [66_000, text.length - 1]) {
    const chunks = [...socket(text.slice(0, length))]
    t.throws(() => pour(chunks), ends)
    t.same(pour(chunks, { end: false }).log, [], 'and it has not ended in good order')
  }
})

t.test('ids of large events count', async (t) => {
  const options = { maxEventBytes: 1 << 20, rules: {}, endpoints: false }
  const sink = { write: () => true, onceDrained() {}, end() {} }
  const decoder = createDecoder(options, { decoded() {}, repaired() {}, large: () => sink })
  for (const chunk of socket(`id: 7\ndata: ${large(1)}\n`)) decoder.feed(chunk)
  t.equal(decoder.lastEventId, '')
  decoder.feed(Buffer.from('\n'))
  t.equal(decoder.lastEventId, '7')
})

t.test('what a sink throws comes to whoever feeds', async (t) => {
  const options = { maxEventBytes: 1 << 20, rules: {}, endpoints: false }
  const gone = (): never => {
    throw new Error('gone')
  }
  for (const wrong of ['write', 'end']) {
    const sink = { write: () => true, onceDrained() {}, end() {}, [wrong]: gone }
    const decoder = createDecoder(options, { decoded() {}, repaired() {}, large: () => sink })
    const feed = () => {
      for (const chunk of socket(`data: ${large(1)}\n\n`)) decoder.feed(chunk)
    }
    t.throws(feed, { message: 'gone' }, wrong)
  }
})
