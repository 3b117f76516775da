import t from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { answer, lost, only, opened, sentAs, talk, texts, types } from '../fixtures/bridged.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
import { greeting, modern, serving, translated } from '../fixtures/bridged-eras.ts'
import { initialize, note, req, res } from '../fixtures/conversing.ts'

const unknown = new ProxyError('BACKEND_SESSION_LOST', 'unknown session')
const refused = new ProxyError('BACKEND_REFUSED', 'method not found')

t.test('a notification that meets a forgotten session shows that it is lost', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/call'), 10)
  const input = { type: 'undelivered', exchange: undefined, mayHaveRun: false } as const
  t.same(it.feed({ ...input, error: refused }), [])
  t.match(it.feed({ ...input, error: unknown }), [{ type: 'fail', exchange: 10, error: unknown }])
  t.equal(it.conversation.phase, 'lost')
})

t.test('a call that may have run is never sent again', async (t) => {
  for (const mayHaveRun of [true, false]) {
    const it = opened()
    it.request(req(1, 'tools/call', { name: 'pay' }), 10)
    const outputs = it.feed({ type: 'undelivered', exchange: 10, error: lost, mayHaveRun })
    t.match(outputs, [{ type: 'fail', exchange: 10, error: lost }])
    t.equal(outputs.length, 1)
  }
})

t.test('ping is answered for a backend that refuses it', async (t) => {
  const it = opened()
  for (const [number, mayHaveRun, expected] of [
    [10, false, 'finish'],
    [11, true, 'fail'],
  ] as const) {
    it.request(req('p', 'ping'), number)
    const input = { type: 'undelivered', exchange: number, error: refused, mayHaveRun } as const
    t.same(types(it.feed(input)), [expected])
  }
})

t.test('initialize is answered for a backend that refuses it by its status', async (t) => {
  const it = talk('rpc')
  it.request(initialize('i'), 1)
  const input = { type: 'undelivered', exchange: 1, error: refused, mayHaveRun: false } as const
  const probes = it.feed(input)
  t.match(texts(probes), [{ method: 'tools/list' }, {}, {}])
  let last = probes
  for (const probe of probes) {
    const exchange = probe.type === 'send' ? probe.exchange : undefined
    last = it.feed({ type: 'undelivered', exchange, error: refused, mayHaveRun: false })
  }
  t.match(last, [{ type: 'fail', exchange: 1, error: refused }], 'if it serves anything at all')
})

t.test('a setting that cannot be restored stops nothing', async (t) => {
  const it = opened()
  it.request(req(1, 'logging/setLevel', { level: 'debug' }), 10)
  it.feed({ type: 'backend', message: res(10) })
  it.feed({ type: 'gone', error: lost })
  it.request(req(2, 'tools/call'), 20)
  const [handshake] = it.feed({ type: 'reopened' })
  const exchange = handshake?.type === 'send' ? handshake.exchange : undefined
  const message = res(exchange, { protocolVersion: '2025-06-18' })
  const restored = it.feed({ type: 'backend', message })
  const setting = restored.find(
    (output) => output.type === 'send' && output.message.text.includes('setLevel'),
  )
  const number = setting?.type === 'send' ? setting.exchange : undefined
  t.same(it.feed({ type: 'undelivered', exchange: number, error: refused, mayHaveRun: true }), [])
  t.equal(it.conversation.phase, 'open')
  t.match(it.feed({ type: 'backend', message: res(20) }), [{ type: 'finish', exchange: 20 }])
})

t.test('what was held for clients is kept, what was asked of them is not', async (t) => {
  const it = opened({ roots: {} })
  it.feed({ type: 'backend', message: note('notifications/tools/list_changed') })
  it.feed({ type: 'backend', message: req('q', 'roots/list') })
  it.feed({ type: 'gone', error: lost })
  t.match(it.conversation.members.get('a')?.held, [{ kind: 'notification' }])
  t.equal(it.conversation.members.get('a')?.held.length, 1)
})

t.test('what fails without having been asked for changes nothing', async (t) => {
  const it = opened()
  t.same(it.feed({ type: 'undelivered', exchange: 99, error: refused, mayHaveRun: true }), [])
  t.same(it.feed({ type: 'delivered', exchange: 99 }), [])
  t.equal(it.conversation.phase, 'open')
})

const unreachable = new ProxyError('BACKEND_UNREACHABLE', 'broken off')

t.test('a request whose response has begun to pass is not sent again', async (t) => {
  for (const error of [lost, unreachable, unknown, refused]) {
    for (const mayHaveRun of [true, false]) {
      const it = streaming()
      it.request(req(1, 'resources/read', { uri: 'x' }), 10)
      it.feed({ type: 'passing', exchange: 10 })
      const outputs = it.feed({ type: 'undelivered', exchange: 10, error, mayHaveRun })
      t.match(outputs, [{ type: 'fail', exchange: 10, error }], error.code)
      t.equal(outputs.length, 1)
      t.equal(it.conversation.exchanges.size, 0)
    }
  }
})

t.test('nor when the backend session ends', async (t) => {
  const it = streaming()
  it.request(req(1, 'resources/read', { uri: 'x' }), 10)
  it.request(req(2, 'resources/read', { uri: 'x' }), 11)
  for (const exchange of [10, 11]) it.feed({ type: 'delivered', exchange })
  it.feed({ type: 'passing', exchange: 10 })
  const outputs = it.feed({ type: 'gone', error: lost })
  t.match(outputs, [{ type: 'fail', exchange: 10, error: lost }, { type: 'reopen' }])
  t.same([...it.conversation.exchanges.keys()], [11], 'but the other one, whose has not')
})

t.test('a request that nobody has kept is not sent again', async (t) => {
  for (const error of [lost, unreachable, refused]) {
    for (const mayHaveRun of [true, false]) {
      const it = streaming()
      it.request(inBytes(1, 'resources/read'), 10)
      const outputs = it.feed({ type: 'undelivered', exchange: 10, error, mayHaveRun })
      t.match(outputs, [{ type: 'fail', exchange: 10, error }], error.code)
      t.equal(outputs.length, 1)
      t.equal(it.conversation.phase, 'open')
    }
  }
  const it = streaming()
  it.request(inBytes(1, 'resources/read'), 10)
  it.feed({ type: 'delivered', exchange: 10 })
  t.same(types(it.feed({ type: 'gone', error: lost })), ['fail'], 'nor when the session ends')
  t.equal(it.conversation.exchanges.size, 0)
})

t.test('one that meets a forgotten session shows that it is lost, and fails', async (t) => {
  const it = streaming()
  it.request(inBytes(1), 10)
  const input = { type: 'undelivered', exchange: 10, error: unknown, mayHaveRun: false } as const
  t.match(it.feed(input), [{ type: 'fail', exchange: 10, error: unknown }])
  t.equal(it.conversation.phase, 'lost')
  t.match(it.request(req(2, 'tools/call'), 11), [{ type: 'reopen', losses: 0 }])
  const [handshake] = it.feed({ type: 'reopened' })
  const exchange = handshake?.type === 'send' ? handshake.exchange : undefined
  const message = res(exchange, { protocolVersion: '2025-06-18' })
  const restored = it.feed({ type: 'backend', message, ...(exchange && { exchange }) })
  const sent = restored.flatMap((each) => (each.type === 'send' ? [each.exchange] : []))
  t.same(sent, [undefined, 11], 'only what came after it')
})

t.test('one that has to wait for a session is sent when there is one, as it is', async (t) => {
  const it = streaming()
  it.feed({ type: 'gone', error: lost })
  const waiting = inBytes(1)
  t.match(it.request(waiting, 10), [{ type: 'reopen' }])
  const [handshake] = it.feed({ type: 'reopened' })
  const exchange = handshake?.type === 'send' ? handshake.exchange : undefined
  const message = res(exchange, { protocolVersion: '2025-06-18' })
  const restored = it.feed({ type: 'backend', message, ...(exchange && { exchange }) })
  const last = restored.at(-1)
  t.equal(last?.type === 'send' && last.message, waiting)
})

t.test('a read that is sent to a modern backend again has an id of its own', async (t) => {
  const it = translated()
  const [one] = only(it.request(req('q', 'resources/read', { uri: 'x' }), 50), 'send')
  const input = { type: 'undelivered', exchange: 50, error: unreachable, mayHaveRun: true } as const
  const [two] = only(it.feed(input), 'send')
  t.match(two, { exchange: 50, message: { method: 'resources/read' } })
  t.notMatch(texts([two!])[0], { id: (texts([one!])[0] as { id: unknown }).id })
  t.match(texts(answer(it, 50)), [{ id: 'q' }])
})

t.test('ping is not answered for modern clients, who have none', async (t) => {
  const it = serving('stateless')
  it.request(modern('p', 'ping'), 50)
  const input = { type: 'undelivered', exchange: 50, error: refused, mayHaveRun: false } as const
  t.same(types(it.feed(input)), ['fail'])
})

t.test('what breaks while there is no session waits for one', async (t) => {
  for (const dialect of ['sse', 'streamable'] as const) {
    const it = serving(dialect)
    it.request(modern('q', 'tools/list'), 50)
    it.request(modern('r', 'tools/list'), 51)
    const input = { type: 'undelivered', error: unreachable, mayHaveRun: false } as const
    it.feed({ ...input, exchange: 50, error: unknown })
    t.same(types(it.feed({ ...input, exchange: 51 })), [], dialect)
    const outputs = answer(it, sentAs(it.feed({ type: 'reopened' }), 'initialize'), greeting)
    const sent = only(outputs, 'send').flatMap(({ exchange }) => exchange ?? [])
    t.same(sent, [50, 51])
  }
})
