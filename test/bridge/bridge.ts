import t from 'tap'
import { bridge } from '../../src/bridge/bridge.ts'
import { createConversation, merge } from '../../src/bridge/conversation.ts'
import type { Conversation, Input, Output } from '../../src/bridge/conversation.ts'
import { ProxyError } from '../../src/errors.ts'
import { dialects } from '../../src/protocol/dialects.ts'
import type { Dialect } from '../../src/protocol/dialects.ts'
import { readMessage } from '../../src/protocol/jsonrpc.ts'
import type { Message, Notification, Request, Response } from '../../src/protocol/jsonrpc.ts'
import { Table } from '../../src/table.ts'
import { inBytes, streaming } from '../fixtures/bridged-bytes.ts'
import { live } from '../fixtures/bridged-world.ts'
import type { Kind } from '../fixtures/bridged-world.ts'

/** A message from its JSON text. */
const m = <T extends Message>(value: unknown): T => {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const read = readMessage(text, JSON.parse(text))
  if (!read.ok) throw new Error(read.reason)
  return read.value as T
}

const req = (id: unknown, method: string, params?: unknown) =>
  m<Request>({ jsonrpc: '2.0', id, method, ...(params ? { params } : {}) })
const note = (method: string, params?: unknown) =>
  m<Notification>({ jsonrpc: '2.0', method, ...(params ? { params } : {}) })
const res = (id: unknown, result: unknown = {}) => m<Response>({ jsonrpc: '2.0', id, result })
const err = (id: unknown, code: number, message: string) =>
  m<Response>({ jsonrpc: '2.0', id, error: { code, message } })

const first = 1000

/** A conversation with one session client, and a way to feed it. */
function talk(dialect: 'sse' | 'rpc' = 'sse', member = 'a') {
  const conversation = createConversation(dialects[dialect], { next: first })
  const feed = (input: Input): Output[] => bridge(conversation, input)
  feed({ type: 'join', member })
  const request = (message: Request, exchange: number, carries = true, from = member) =>
    feed({ type: 'request', member: from, message, exchange, carries })
  const post = (message: Notification | Response, from = member) =>
    feed({ type: 'post', member: from, message })
  const hear = (message: Message, exchange?: number) =>
    feed(
      exchange === undefined
        ? { type: 'backend', message }
        : { type: 'backend', message, exchange },
    )
  return { conversation, feed, request, post, hear }
}

const initialize = (capabilities: object = {}, revision = '2025-06-18') =>
  req('i', 'initialize', {
    protocolVersion: revision,
    capabilities,
    clientInfo: { name: 'c', version: '1' },
  })

/** Past the handshake; exchange numbers 1 and up are free. */
function opened(dialect: 'sse' | 'rpc' = 'sse', capabilities: object = {}) {
  const it = talk(dialect)
  it.request(initialize(capabilities), 1)
  it.hear(
    res(dialect === 'sse' ? 1 : 'i', { protocolVersion: '2025-06-18', capabilities: {} }),
    dialect === 'sse' ? undefined : 1,
  )
  it.post(note('notifications/initialized'))
  it.conversation.unanswered.length = 0
  return it
}

const texts = (outputs: Output[]): unknown[] =>
  outputs.flatMap((output) => {
    if ('message' in output) return [JSON.parse(output.message.text)]
    if ('response' in output) return [JSON.parse(output.response.text)]
    return []
  })
const types = (outputs: Output[]): string[] => outputs.map(({ type }) => type)
const stateOf = (conversation: Conversation): string =>
  JSON.stringify(conversation, (_, value) =>
    value instanceof Map || value instanceof Table ? [...value] : value,
  )

t.test('towards one stream, ids are ours and the client gets its own back', async (t) => {
  const cases = ['1', '"1"', '1.0', '-7', '"x$&y"', '12345678901234567890', '1e2']
  for (const [index, idText] of cases.entries()) {
    const it = opened()
    const number = 10 + index
    const message = m<Request>(`{"method":"tools/list","id": ${idText} ,"jsonrpc":"2.0"}`)
    const [sent] = it.request(message, number)
    t.match(sent, { type: 'send', message: { idText: String(number) } })
    const [done] = it.hear(res(number, { tools: [] }))
    t.match(done, { type: 'finish', exchange: number, response: { idText } }, idText)
    t.match((done as { response: Response }).response.text, `"id":${idText},`)
  }
})

t.test('whatever the backend does to an id, it still names its exchange', async (t) => {
  for (const id of ['"12"', '12.0', '12']) {
    const it = opened()
    it.request(req('mine', 'tools/list'), 12)
    const [done] = it.hear(m(`{"jsonrpc":"2.0","id":${id},"result":{}}`))
    t.match(done, { type: 'finish', exchange: 12, response: { idText: '"mine"' } }, id)
  }
})

t.test('where answers come in the POST itself, ids pass as they are', async (t) => {
  const it = opened('rpc')
  const [sent] = it.request(req('q', 'tools/list'), 5)
  t.match(sent, { type: 'send', message: { idText: '"q"' } })
  const [done] = it.hear(m('{"jsonrpc":"2.0","id":null,"result":{}}'), 5)
  t.match(done, { type: 'finish', exchange: 5, response: { idText: '"q"' } })
})

t.test('the text of what nobody changes is forwarded as it came', async (t) => {
  const it = opened('rpc')
  const text =
    '{ "jsonrpc":"2.0", "id":1, "method":"tools/call", "params":{"n":1e400, "u":"\\u00e9"} }'
  const [sent] = it.request(m(text), 5)
  t.equal((sent as { message: Message }).message.text, text)
})

t.test('a second answer to the same request is dropped', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/list'), 12)
  t.same(types(it.hear(res(12))), ['finish'])
  const before = stateOf(it.conversation)
  t.match(it.hear(res(12)), [{ type: 'dropped', reason: 'answer-without-request' }])
  t.equal(stateOf(it.conversation), before)
})

t.test('an answer without an id', async (t) => {
  t.test('belongs to the only exchange in flight', async (t) => {
    const it = opened()
    it.request(req(7, 'foo/bar'), 12)
    t.match(it.hear(err(null, -32601, 'no')), [
      { type: 'finish', exchange: 12, response: { idText: '7' } },
    ])
  })
  t.test('belongs to nobody when two are in flight', async (t) => {
    const it = opened()
    it.request(req(7, 'foo/bar'), 12)
    it.request(req(8, 'foo/baz'), 13)
    t.match(it.hear(err(null, -32603, 'no')), [{ type: 'dropped' }])
    t.equal(it.conversation.exchanges.size, 2)
  })
  t.test('belongs to the one of two whose method it names', async (t) => {
    const it = opened()
    it.request(req(7, 'foo/bar'), 12)
    it.request(req(8, 'foo/baz'), 13)
    t.match(it.hear(err(null, -32601, "Method 'foo/baz' not found")), [
      { type: 'finish', exchange: 13 },
    ])
  })
  t.test('belongs to the notification sent before', async (t) => {
    const it = opened()
    it.post(note('notifications/roots/list_changed'))
    it.request(req(7, 'foo/bar'), 12)
    t.match(it.hear(err(null, -32601, "Method 'x' not found")), [
      { reason: 'answer-to-notification' },
    ])
    t.match(it.hear(err(null, -32601, "Method 'y' not found")), [{ type: 'finish', exchange: 12 }])
  })
  t.test(
    'is not taken for an answer to a notification by a backend that answers none',
    async (t) => {
      const it = opened()
      it.post(note('notifications/roots/list_changed'))
      it.request(req(6, 'tools/list'), first + 10)
      it.hear(res(first + 10))
      it.request(req(7, 'foo/bar'), first + 11)
      t.match(it.hear(err(null, -32603, 'no')), [{ type: 'finish', exchange: first + 11 }])
    },
  )
  t.test('with a word instead of an id counts as one without', async (t) => {
    const it = opened()
    it.request(req(7, 'foo/bar'), 12)
    t.match(it.hear(err('server-error', -32600, 'no')), [{ type: 'finish', exchange: 12 }])
  })
})

t.test('a stray object answers the oldest unanswered notification', async (t) => {
  const it = opened()
  it.post(note('notifications/x'))
  it.request(req(1, 'tools/list'), 12)
  t.match(it.feed({ type: 'stray', text: '{"status":"acknowledged"}' }), [
    { reason: 'answer-to-notification' },
  ])
  t.match(it.feed({ type: 'stray', text: '{"status":"acknowledged"}' }), [{ reason: 'stray' }])
  t.equal(it.conversation.exchanges.size, 1)
})

t.test('progress goes to its exchange under the token of its client', async (t) => {
  const it = opened()
  const [sent] = it.request(
    req(1, 'tools/call', { name: 'x', _meta: { progressToken: 'abc', other: 1 } }),
    12,
  )
  t.match(texts([sent!]), [{ id: 12, params: { _meta: { progressToken: 12, other: 1 } } }])
  const outputs = it.hear(note('notifications/progress', { progressToken: 12, progress: 1 }))
  t.match(outputs, [{ type: 'deliver', exchange: 12 }])
  t.match(texts(outputs), [{ params: { progressToken: 'abc', progress: 1 } }])
  t.match(it.hear(note('notifications/progress', { progressToken: 99, progress: 1 })), [
    { type: 'dropped', reason: 'unknown-token' },
  ])
})

t.test('however a backend writes its progress, the client gets its own token', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/call', { name: 'x', _meta: { progressToken: 'abc' } }), 12)
  const head = '{"jsonrpc":"2.0","method":"notifications/progress","params":'
  for (const params of [
    '{"progressToken":12,"progress":1}',
    '{"progressToken":12,"progress":2}',
    '{"progressToken":12}',
    '{"progressToken":12.0,"progress":3}',
    '{"progressToken":"12","progress":4}',
    '{"progress":5,"progressToken":12}',
    '{"progressToken": 12 ,"progress":6}',
    '{"x":{"progressToken":13},"progressToken":12,"progress":7}',
    '{"progressToken":12,"progress":8}',
  ]) {
    const given = JSON.parse(params)
    t.same(texts(it.hear(m(`${head}${params}}`))), [
      {
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { ...given, progressToken: 'abc' },
      },
    ])
  }
})

t.test('progress under a token that nobody knows may be of a request in bytes', async (t) => {
  const progress = (progressToken: unknown) =>
    ({ type: 'backend', message: note('notifications/progress', { progressToken }) }) as const
  const it = streaming()
  it.request(req(1, 'tools/call', { _meta: { progressToken: 'known' } }), 10)
  t.match(it.feed(progress('mine')), [{ type: 'dropped', reason: 'unknown-token' }])
  it.request(inBytes(2), 11)
  it.request(req(3, 'tools/call', { _meta: { progressToken: 3 } }), 12)
  t.match(it.feed(progress('mine')), [
    { type: 'deliver', exchange: 11, message: progress('mine').message },
  ])
  t.match(it.feed(progress('known')), [{ type: 'deliver', exchange: 10 }])
  t.match(it.feed(progress(3)), [{ type: 'deliver', exchange: 12 }])
  it.feed({ type: 'abandoned', exchange: 11, cancels: false, mute: true })
  t.same(it.feed(progress('mine')), [], 'nobody hears it any more')
  it.feed({ type: 'backend', message: res(2), exchange: 11 })
  t.match(it.feed(progress('mine')), [{ type: 'dropped', reason: 'unknown-token' }])
})

t.test('a request in bytes goes out as it is, whatever its id', async (t) => {
  const it = streaming()
  const message = inBytes(2 ** 53)
  const [sent] = it.request(message, 10)
  t.equal(sent?.type === 'send' && sent.message, message)
})

t.test(
  'a cancel names the request as the backend knows it, and the client gets no answer',
  async (t) => {
    const it = opened()
    it.request(req('c', 'tools/call', { name: 'x' }), 12)
    const outputs = it.post(note('notifications/cancelled', { requestId: 'c', reason: 'why' }))
    t.match(outputs, [
      { type: 'fail', exchange: 12, error: { code: 'CANCELLED' } },
      { type: 'send' },
    ])
    t.match(texts(outputs), [{ params: { requestId: 12, reason: 'why' } }])
    t.match(it.hear(res(12)), [{ type: 'dropped' }])
    t.same(it.post(note('notifications/cancelled', { requestId: 'nobody' })), [])
  },
)

t.test('a cancel closes the POST where that is how the dialect cancels', async (t) => {
  const it = opened('rpc')
  it.request(req('c', 'tools/call', { name: 'x' }), 12)
  t.same(types(it.post(note('notifications/cancelled', { requestId: 'c' }))), ['fail', 'abort'])
})

t.test('one client cannot cancel the request of another', async (t) => {
  const it = opened()
  it.feed({ type: 'join', member: 'b' })
  it.request(req(1, 'tools/call', { name: 'x' }), 12)
  t.same(it.post(note('notifications/cancelled', { requestId: 1 }), 'b'), [])
  t.ok(it.conversation.exchanges.has(12))
})

t.test('a request of the server', async (t) => {
  const sampling = req('s1', 'sampling/createMessage', { messages: [] })

  t.test(
    'goes to the single exchange in flight, and its answer back under the id it came with',
    async (t) => {
      const it = opened('sse', { sampling: {} })
      it.feed({ type: 'stream', member: 'a', open: true })
      it.request(req(1, 'tools/call', { name: 'x' }), 12)
      const [asked] = it.hear(sampling)
      t.match(asked, {
        type: 'deliver',
        exchange: 12,
        message: { method: 'sampling/createMessage' },
      })
      const id = (texts([asked!])[0] as { id: number }).id
      const answer = it.post(res(id, { role: 'assistant' }))
      t.match(answer, [{ type: 'send', message: { idText: '"s1"' } }])
      t.match(it.post(res(id, {})), [{ reason: 'unknown-question' }], 'once only')
    },
  )
  t.test('goes to the standing stream when several exchanges run', async (t) => {
    const it = opened('sse', { sampling: {} })
    it.feed({ type: 'stream', member: 'a', open: true })
    it.request(req(1, 'tools/call'), 12)
    it.request(req(2, 'tools/call'), 13)
    t.match(it.hear(sampling), [{ type: 'deliver', exchange: undefined, member: 'a' }])
  })
  t.test('goes to the newest exchange when there is no standing stream', async (t) => {
    const it = opened('sse', { sampling: {} })
    it.request(req(1, 'tools/call'), 12)
    it.request(req(2, 'tools/call'), 13)
    t.match(it.hear(sampling), [{ type: 'deliver', exchange: 13 }])
  })
  t.test('waits for a stream when nothing is open', async (t) => {
    const it = opened('sse', { sampling: {} })
    t.same(it.hear(sampling), [])
    t.match(it.feed({ type: 'stream', member: 'a', open: true }), [
      { type: 'deliver', exchange: undefined, message: { method: 'sampling/createMessage' } },
    ])
  })
  t.test('is refused when no client declared the capability', async (t) => {
    const it = opened('sse')
    it.feed({ type: 'stream', member: 'a', open: true })
    const outputs = it.hear(sampling)
    t.match(texts(outputs), [{ id: 's1', error: { code: -32601 } }])
  })
  t.test('never goes to a client that takes JSON only', async (t) => {
    const it = opened('sse', { sampling: {} })
    it.request(req(1, 'tools/call'), 12, false)
    t.same(it.hear(sampling), [])
  })
  t.test('goes to the member that can answer it', async (t) => {
    const it = opened('sse', {})
    it.feed({ type: 'join', member: 'b' })
    it.request(initialize({ sampling: {} }), 20, true, 'b')
    it.hear(res(20, { protocolVersion: '2025-06-18' }))
    it.request(req(1, 'tools/call'), 12)
    it.feed({ type: 'stream', member: 'b', open: true })
    t.match(it.hear(sampling), [{ type: 'deliver', member: 'b' }])
  })
  t.test('is not answered for by another member', async (t) => {
    const it = opened('sse', { sampling: {} })
    it.feed({ type: 'join', member: 'b' })
    it.feed({ type: 'stream', member: 'a', open: true })
    const [asked] = it.hear(sampling)
    const id = (texts([asked!])[0] as { id: number }).id
    t.match(it.post(res(id), 'b'), [{ reason: 'unknown-question' }])
    t.match(it.post(res(id), 'a'), [{ type: 'send' }])
  })
  t.test('can be called off by the server', async (t) => {
    const it = opened('sse', { sampling: {} })
    it.feed({ type: 'stream', member: 'a', open: true })
    const [asked] = it.hear(sampling)
    const id = (texts([asked!])[0] as { id: number }).id
    const outputs = it.hear(note('notifications/cancelled', { requestId: 's1' }))
    t.match(texts(outputs), [{ params: { requestId: id } }])
    t.match(it.post(res(id)), [{ reason: 'unknown-question' }])
  })
  t.test('ping is answered here when nobody listens', async (t) => {
    t.match(texts(opened().hear(req(3, 'ping'))), [{ id: 3, result: {} }])
  })
})

t.test('notifications', async (t) => {
  const changed = note('notifications/tools/list_changed')
  t.test('wait for a standing stream', async (t) => {
    const it = opened()
    t.same(it.hear(changed), [])
    t.match(it.feed({ type: 'stream', member: 'a', open: true }), [{ type: 'deliver' }])
  })
  t.test('that wait are bounded, the oldest giving way', async (t) => {
    const it = opened()
    for (let count = 0; count < 300; count++) it.hear(changed)
    t.equal(it.conversation.members.get('a')?.held.length, 256)
  })
  t.test('reach every member of a shared stream, each once', async (t) => {
    const it = opened()
    it.feed({ type: 'join', member: 'b' })
    for (const member of ['a', 'b']) it.feed({ type: 'stream', member, open: true })
    const outputs = it.hear(changed)
    t.same(
      outputs.map((output) => 'member' in output && output.member),
      ['a', 'b'],
    )
  })
})

t.test('initialize', async (t) => {
  t.test('settles the revision', async (t) => {
    const it = talk()
    it.request(initialize(), 1)
    const outputs = it.hear(res(1, { protocolVersion: '2024-11-05' }))
    t.match(outputs, [{ type: 'negotiated', revision: '2024-11-05' }, { type: 'finish' }])
  })
  t.test('with a revision that no client knows gets the one asked for', async (t) => {
    for (const odd of ['1.0', '2099-01-01', undefined]) {
      const it = talk()
      it.request(initialize(), 1)
      const outputs = it.hear(res(1, { protocolVersion: odd, serverInfo: { name: 's' } }))
      t.match(texts(outputs), [
        { id: 'i', result: { protocolVersion: '2025-06-18', serverInfo: { name: 's' } } },
      ])
    }
  })
  t.test('refused for its revision is tried again with older ones', async (t) => {
    const it = talk()
    it.request(initialize({}, '2025-11-25'), 1)
    for (const older of ['2025-03-26', '2024-11-05']) {
      const outputs = it.hear(err(1, -32602, 'Unsupported protocol version'))
      t.match(texts(outputs), [{ params: { protocolVersion: older } }])
    }
    t.match(it.hear(err(1, -32602, 'Unsupported protocol version')), [{ type: 'finish' }])
  })
  t.test('unknown to a backend without handshake is answered from what it serves', async (t) => {
    const it = talk('rpc')
    it.request(initialize(), 1)
    const probes = it.hear(err('i', -32601, 'Method not found'), 1)
    t.same(
      texts(probes).map((each) => (each as { method: string }).method),
      ['tools/list', 'resources/list', 'prompts/list'],
    )
    const numbers = probes.map((each) => (each as { exchange: number }).exchange)
    it.hear(res(numbers[0], { tools: [] }), numbers[0])
    it.hear(err(numbers[1], -32601, 'no'), numbers[1])
    const outputs = it.hear(res(numbers[2], { prompts: [] }), numbers[2])
    t.match(texts(outputs), [
      {
        id: 'i',
        result: { protocolVersion: '2025-06-18', capabilities: { tools: {}, prompts: {} } },
      },
    ])
    t.notOk(
      'resources' in
        ((texts(outputs)[0] ?? {}) as { result: { capabilities: object } }).result.capabilities,
    )
  })
  t.test('refused by a backend that serves nothing stays refused', async (t) => {
    const it = talk('rpc')
    it.request(initialize(), 1)
    const probes = it.hear(err('i', -32000, 'closed'), 1)
    let last: Output[] = []
    for (const probe of probes) {
      const { exchange } = probe as { exchange: number }
      last = it.hear(err(exchange, -32000, 'closed'), exchange)
    }
    t.match(texts(last), [{ id: 'i', error: { message: 'closed' } }])
  })
})

t.test('ping is answered for a backend that does not know it', async (t) => {
  const it = opened()
  it.request(req('p', 'ping'), 12)
  t.match(texts(it.hear(err(12, -32601, 'Method not found'))), [{ id: 'p', result: {} }])
})

t.test('a request without a session', async (t) => {
  const single = () => {
    const conversation = createConversation(dialects.sse, { next: first })
    bridge(conversation, { type: 'join', member: 'single', single: true })
    return conversation
  }
  t.test('opens the backend session first', async (t) => {
    const conversation = single()
    const message = req(1, 'tools/list')
    const outputs = bridge(conversation, {
      type: 'request',
      member: 'single',
      message,
      exchange: 5,
      carries: false,
    })
    t.match(texts(outputs), [{ method: 'initialize' }])
    const { exchange } = outputs[0] as { exchange: number }
    const next = bridge(conversation, {
      type: 'backend',
      message: res(exchange, { protocolVersion: '2025-06-18' }),
    })
    t.match(texts(next), [{ method: 'notifications/initialized' }, { method: 'tools/list', id: 5 }])
  })
  t.test('fails when the backend refuses the handshake', async (t) => {
    const conversation = single()
    const message = req(1, 'tools/list')
    const outputs = bridge(conversation, {
      type: 'request',
      member: 'single',
      message,
      exchange: 5,
      carries: false,
    })
    const { exchange } = outputs[0] as { exchange: number }
    const next = bridge(conversation, {
      type: 'backend',
      message: err(exchange, -32000, 'closed today'),
    })
    t.match(next, [{ type: 'fail', exchange: 5, error: { message: /closed today/ } }])
    t.equal(conversation.phase, 'fresh', 'and the next request tries anew')
  })
  t.test('whose client goes is called off', async (t) => {
    const conversation = single()
    conversation.phase = 'open'
    const message = req(1, 'tools/call', { name: 'x' })
    bridge(conversation, {
      type: 'request',
      member: 'single',
      message,
      exchange: 5,
      carries: false,
    })
    const outputs = bridge(conversation, { type: 'abandoned', exchange: 5, cancels: true })
    t.match(texts(outputs), [{ method: 'notifications/cancelled', params: { requestId: 5 } }])
  })
})

t.test('when the backend session ends', async (t) => {
  const ended = new ProxyError('BACKEND_STREAM_ENDED', 'the stream ended')
  const gone = { type: 'gone', error: ended } as const

  t.test('calls fail at once, reads wait to be sent again', async (t) => {
    const it = opened()
    it.request(req(1, 'tools/call', { name: 'pay' }), 12)
    it.request(req(2, 'tools/list'), 13)
    t.match(it.feed(gone), [
      { type: 'fail', exchange: 12, error: { code: 'BACKEND_STREAM_ENDED' } },
      { type: 'reopen', losses: 0 },
    ])
    const handshake = it.feed({ type: 'reopened' })
    t.match(texts(handshake), [{ method: 'initialize', params: { clientInfo: { name: 'c' } } }])
    const { exchange } = handshake[0] as { exchange: number }
    const next = it.hear(res(exchange, { protocolVersion: '2025-06-18' }))
    t.match(texts(next), [
      { method: 'notifications/initialized' },
      { method: 'tools/list', id: 13 },
    ])
  })
  t.test('a tool that says it may be called twice is', async (t) => {
    const it = opened()
    it.request(req(1, 'tools/list'), 12)
    const tools = [{ name: 'look', annotations: { readOnlyHint: true } }, { name: 'pay' }]
    it.hear(res(12, { tools }))
    it.request(req(2, 'tools/call', { name: 'look' }), 13)
    it.request(req(3, 'tools/call', { name: 'pay' }), 14)
    t.match(it.feed(gone), [{ type: 'fail', exchange: 14 }, { type: 'reopen' }])
  })
  t.test('nothing is sent a third time', async (t) => {
    const it = opened()
    it.request(req(2, 'tools/list'), 13)
    it.feed(gone)
    const { exchange } = it.feed({ type: 'reopened' })[0] as { exchange: number }
    it.hear(res(exchange, { protocolVersion: '2025-06-18' }))
    t.match(it.feed(gone), [{ type: 'fail', exchange: 13 }])
  })
  t.test(
    'it is brought back for a client that listens, and what the client set is restored',
    async (t) => {
      const it = opened()
      it.feed({ type: 'stream', member: 'a', open: true })
      it.request(req(1, 'logging/setLevel', { level: 'debug' }), 12)
      it.hear(res(12))
      it.request(req(2, 'resources/subscribe', { uri: 'x:1' }), 13)
      it.hear(res(13))
      t.match(it.feed(gone), [{ type: 'reopen', losses: 0 }])
      const { exchange } = it.feed({ type: 'reopened' })[0] as { exchange: number }
      const next = it.hear(res(exchange, { protocolVersion: '2025-06-18' }))
      t.match(texts(next), [
        { method: 'notifications/initialized' },
        { method: 'logging/setLevel', params: { level: 'debug' } },
        { method: 'resources/subscribe', params: { uri: 'x:1' } },
      ])
    },
  )
  t.test('it stays away until needed when nobody listens', async (t) => {
    const it = opened()
    t.same(it.feed(gone), [])
    t.match(it.request(req(2, 'tools/call', { name: 'x' }), 13), [{ type: 'reopen' }])
  })
  t.test('the back-off grows while it keeps failing', async (t) => {
    const it = opened()
    it.feed({ type: 'stream', member: 'a', open: true })
    const losses: unknown[] = []
    let outputs = it.feed(gone)
    for (let round = 0; round < 3; round++) {
      losses.push((outputs.find(({ type }) => type === 'reopen') as { losses: number }).losses)
      it.feed({ type: 'reopened' })
      outputs = it.feed(gone)
    }
    t.ok(
      Number(losses[1]) > Number(losses[0]) && Number(losses[2]) > Number(losses[1]),
      losses.join(),
    )
  })
  t.test('open questions are withdrawn', async (t) => {
    const it = opened('sse', { roots: {} })
    it.feed({ type: 'stream', member: 'a', open: true })
    const [asked] = it.hear(req('r', 'roots/list'))
    const { id } = texts([asked!])[0] as { id: number }
    t.match(texts(it.feed(gone)), [
      { method: 'notifications/cancelled', params: { requestId: id } },
    ])
  })
})

t.test(
  'a session that the backend has forgotten is restored, and the message sent again',
  async (t) => {
    const it = opened()
    it.request(req(1, 'tools/call', { name: 'pay' }), 12)
    it.request(req(2, 'tools/call', { name: 'pay' }), 13)
    it.feed({ type: 'delivered', exchange: 13 })
    const error = new ProxyError('BACKEND_SESSION_LOST', 'unknown session')
    const outputs = it.feed({ type: 'undelivered', exchange: 12, error, mayHaveRun: false })
    t.match(outputs, [{ type: 'fail', exchange: 13 }, { type: 'reopen' }])
    const { exchange } = it.feed({ type: 'reopened' })[0] as { exchange: number }
    const next = it.hear(res(exchange, { protocolVersion: '2025-06-18' }))
    t.match(texts(next), [
      { method: 'notifications/initialized' },
      { method: 'tools/call', id: 12 },
    ])
    t.match(it.feed({ type: 'undelivered', exchange: 12, error, mayHaveRun: false }), [
      { type: 'fail', exchange: 12 },
    ])
  },
)

t.test('a leaving member of a shared stream takes its requests along', async (t) => {
  const it = opened('sse', { roots: {} })
  it.feed({ type: 'join', member: 'b' })
  it.request(req(1, 'tools/call', { name: 'x' }), 12)
  it.feed({ type: 'stream', member: 'a', open: true })
  it.hear(req('r', 'roots/list'))
  const outputs = it.feed({ type: 'leave', member: 'a' })
  t.match(texts(outputs), [
    { id: 'r', error: {} },
    { method: 'notifications/cancelled', params: { requestId: 12 } },
  ])
  t.match(
    outputs.filter(({ type }) => type === 'fail'),
    [{ exchange: 12, error: { code: 'SESSION_UNKNOWN' } }],
  )
  t.equal(it.conversation.exchanges.size, 0)
})

t.test('conversations whose streams turn out to be one are merged without loss', async (t) => {
  const ids = { next: first }
  const one = createConversation(dialects.sse, ids)
  const two = createConversation(dialects.sse, ids)
  bridge(one, { type: 'join', member: 'a' })
  bridge(two, { type: 'join', member: 'b' })
  bridge(one, { type: 'request', member: 'a', message: initialize(), exchange: 1, carries: true })
  bridge(two, {
    type: 'request',
    member: 'b',
    message: req(1, 'tools/list'),
    exchange: 2,
    carries: true,
  })
  merge(one, two)
  t.match(
    bridge(one, { type: 'backend', message: res(1, { protocolVersion: '2025-06-18' }) }).at(-1),
    {
      type: 'finish',
      exchange: 1,
    },
  )
  t.ok(one.exchanges.has(2))
  t.ok(one.members.has('b'))
})

t.test('an exchange whose time is up fails and is called off', async (t) => {
  const it = opened()
  it.request(req(1, 'tools/call', { name: 'x' }), 12)
  const error = new ProxyError('BACKEND_TIMEOUT', 'too slow')
  const outputs = it.feed({ type: 'expired', exchange: 12, error })
  t.match(outputs, [
    { type: 'fail', exchange: 12, error: { code: 'BACKEND_TIMEOUT' } },
    { type: 'send' },
  ])
})

t.test(
  'whatever happens in whatever order, each request ends once and nothing is left',
  async (t) => {
    const worlds: [Dialect, Kind[][]][] = [
      [
        'sse',
        [['session'], ['modern'], ['rpc'], ['session', 'session'], ['session', 'modern', 'rpc']],
      ],
      ['streamable', [['session'], ['modern'], ['modern', 'rpc']]],
      ['stateless', [['session'], ['modern', 'rpc']]],
      ['rpc', [['session'], ['modern', 'rpc']]],
    ]
    for (const [dialect, mixes] of worlds) {
      for (const kinds of mixes) {
        const wrong: string[] = []
        for (let seed = 1; seed <= 40; seed++) wrong.push(...live(seed, dialect, kinds))
        t.same(wrong, [], `${kinds.join(' and ')} on ${dialect}`)
      }
    }
  },
)
