// What once went wrong on the road of large messages and must not again.
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import t from 'tap'
import { passLarge } from '../../src/backends/large.ts'
import { Posts } from '../../src/backends/posts.ts'
import { ProxyError } from '../../src/errors.ts'
import { createLines } from '../../src/event-stream/lines.ts'
import { passRequest } from '../../src/frontends/large-body.ts'
import { createEnvelopeScan } from '../../src/protocol/envelope-scan.ts'
import type { Sink } from '../../src/protocol/passing.ts'
import { lost } from '../fixtures/bridged.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
import { note, req, res } from '../fixtures/conversing.ts'
import { answer, call, ear, kit, scripted, sending, target } from '../fixtures/scripted.ts'
import type { Answering } from '../fixtures/scripted.ts'
import { listen } from '../fixtures/listen.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const fill = 'x'.repeat(200_000)
const events = { type: 'text/event-stream' }

// What a small answer is mended of, a large one is too.
const mended: [name: string, small: (fill: string) => string | Buffer, how: Answering][] = [
  ['result-and-error', (f) => `{"jsonrpc":"2.0","id":1,"result":{"t":"${f}"},"error":null}`, {}],
  ['extra-members behind', (f) => `{"jsonrpc":"2.0","id":1,"result":{"t":"${f}"},"took":3}`, {}],
  ['extra-members before', (f) => `{"jsonrpc":"2.0","took":3,"id":1,"result":{"t":"${f}"}}`, {}],
  ['jsonrpc-version', (f) => `{"jsonrpc":"1.0","id":1,"result":{"t":"${f}"}}`, {}],
  ['id-spelling', (f) => `{"jsonrpc":"2.0","result":{"t":"${f}"},"ID":1}`, {}],
  ['nul-padding', (f) => `data: {"jsonrpc":"2.0","id":1,"result":{"t":"${f}"}}\0\0\n\n`, events],
  [
    'escaped-line-breaks',
    (f) => `data: {"jsonrpc":"2.0","id":1,"result":{"t":"${f}"}}\\n\\n\n\n`,
    events,
  ],
  ['unterminated-event', (f) => `data: {"jsonrpc":"2.0","id":1,"result":{"t":"${f}"}}`, events],
  [
    'LEGAL: two data lines',
    (f) => `data: {"jsonrpc":"2.0","id":1,"result":{"t":"${f}",\ndata: "u":1}}\n\n`,
    events,
  ],
  [
    'charset',
    (f) => Buffer.from(`{"jsonrpc":"2.0","id":1,"result":{"t":"é${f}"}}`, 'latin1'),
    { type: 'application/json; charset=iso-8859-1' },
  ],
]
for (const [name, make, how] of mended) {
  t.test(`${name}: large answers of a backend are mended as its small ones are`, async (t) => {
    const backend = await scripted(t, (_seen, response, count) =>
      answer(response, make(count < 3 ? 'x' : fill), how),
    )
    let text = ''
    let ended = false
    const pass = (): Sink => ({
      write: (c) => (text += Buffer.from(c).toString()) !== '',
      onceDrained: (task) => task(),
      end: () => void (ended = true),
    })
    const heard = { ...ear(), pass }
    const posts = new Posts(target(backend.url), heard, kit(t, { maxEventBytes: 1 << 20 }))
    for (let n = 0; n < 2; n++) t.equal(await posts.send(call(1), sending), undefined)
    t.equal(heard.messages.length, 2, 'the small ones')
    t.equal(await posts.send(call(1), sending), undefined, 'the large one gets through')
    const got = heard.messages[2]?.[0] ?? (ended ? text : '')
    t.equal(got.replaceAll(fill, 'x').replace(/\s/g, ''), heard.messages[1]?.[0].replace(/\s/g, ''))
  })
}

t.test(
  'a stale loss of a request in bytes does not lose the session that has been restored',
  async (t) => {
    const it = streaming()
    it.request(inBytes(1), 10)
    it.feed({ type: 'gone', error: lost })
    it.request(req(2, 'tools/call'), 11)
    const [handshake] = it.feed({ type: 'reopened' })
    const exchange = handshake?.type === 'send' ? handshake.exchange! : 0
    it.feed({
      type: 'backend',
      message: res(exchange, { protocolVersion: '2025-06-18' }),
      exchange,
    })
    t.equal(it.conversation.phase, 'open')
    const error = new ProxyError('BACKEND_SESSION_LOST', 'unknown session')
    it.feed({ type: 'undelivered', exchange: 10, error, mayHaveRun: false, stale: true })
    t.equal(it.conversation.phase, 'open')
  },
)

t.test(
  'what the server asks or says while a response passes is not put where nobody hears it',
  async (t) => {
    const it = streaming({ roots: {} })
    it.request(req(1, 'tools/call'), 10)
    it.feed({ type: 'passing', exchange: 10 })
    it.feed({ type: 'stream', member: 'a', open: true })
    for (const message of [req('q', 'roots/list'), note('notifications/tools/list_changed')]) {
      const [output] = it.feed({ type: 'backend', message })
      t.match(output, { type: 'deliver', exchange: undefined })
      t.equal(output?.type === 'deliver' && output.exchange, undefined, 'the standing stream')
    }
  },
)

t.test('the scan keeps no more than it says, however many members there are', async (t) => {
  const scan = createEnvelopeScan()
  scan.push(Buffer.from('{"id":1'))
  for (let k = 0; k < 100_000; k++) scan.push(Buffer.from(`,"k${k}":1`))
  t.ok(scan.members.size < 10_000, `${scan.members.size} members are kept`)
})

t.test('an id that is no id is not said back as JSON', async (t) => {
  const clock = manualClock()
  const found: (string | undefined)[] = []
  const server = await listen((request, response) => {
    request.once('data', (head: Buffer) => {
      const message = passRequest(request, [head], { body: 1 << 20, bodyTime: 1000 }, clock)
      message?.bytes?.stream.once('error', () => {
        found.push(message.idText)
        response.end()
      })
      message?.bytes?.stream.on('data', () => {})
    })
  })
  t.teardown(() => server.close())
  for (const id of ['abc', 'true', '{"a":1}', '"a\nb"', '12x']) {
    const sent = httpRequest(server.url, { method: 'POST', agent: false })
    sent.write(`{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{}`)
    await waitFor(() => clock.waiting > 0)
    sent.end('}')
    await once(sent, 'response')
    t.equal(found.at(-1), 'null', id)
  }
})

t.test('the id comes back as the client wrote it, large or small', async (t) => {
  const head = (id: string) => [Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{"a":"`)]
  const sink: Sink = { write: () => true, onceDrained() {}, end() {} }
  const passes = (own: string, theirs: string) =>
    passLarge({ ...call(7), idText: own }, head(theirs), {
      route: 'r',
      record: 'good',
      open: () => sink,
    }) !== undefined
  t.equal(passes('7', '7.0'), false)
  t.equal(passes('9007199254740993', '9007199254740992'), false, 'and another number is another id')
})

t.test('time that the backend takes to read is not the time of the client', async (t) => {
  const clock = manualClock()
  let passed: ReturnType<typeof passRequest>
  let paused = () => false
  const server = await listen((request) => {
    request.once('data', (head: Buffer) => {
      passed = passRequest(request, [head], { body: 64 << 20, bodyTime: 1000 }, clock)
      paused = () => request.isPaused()
    })
  })
  t.teardown(() => server.close())
  const sent = httpRequest(server.url, { method: 'POST', agent: false })
  sent.on('error', () => {})
  t.teardown(() => sent.destroy())
  sent.end(
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a":"${'x'.repeat(16 << 20)}"}}`,
  )
  await waitFor(() => passed && paused())
  clock.advance(5000)
  t.equal(passed?.bytes?.stream.errored, null)
})

t.test('giveUp gives a character that began in an earlier chunk', async (t) => {
  const lines = createLines({ line() {}, waits() {}, skip: (_text, start) => start })
  const bytes = Buffer.from('x😀')
  for (const byte of bytes.subarray(0, 4)) lines.feed(Buffer.from([byte]))
  t.same(Buffer.from(lines.giveUp()), bytes.subarray(0, 4))
  t.equal(lines.giveUp().length, 0, 'once')
})
