import t from 'tap'
import { discovered, initialized, initializeFor } from '../../src/bridge/discovery.ts'
import { implementation } from '../../src/version.ts'
import type { Response } from '../../src/protocol/jsonrpc.ts'
import { answer, answerWith, only, parsed, sentAs, talk, texts } from '../fixtures/bridged.ts'
import { declaring, modern } from '../fixtures/bridged-eras.ts'
import { initialize } from '../fixtures/conversing.ts'

const info = 'io.modelcontextprotocol/serverInfo'
const big = '12345678901234567890'
const deep = '['.repeat(100_000) + ']'.repeat(100_000)
const greets = (result: string): Response => parsed(`{"jsonrpc":"2.0","id":9,"result":${result}}`)
const said = ({ text }: { text: string }) => JSON.parse(text)

t.test(
  'a session server is shown to modern clients with every revision that we serve',
  async (t) => {
    const greeting = greets(
      '{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"s","version":"1"},"instructions":"read"}',
    )
    t.same(said(discovered('"q"', greeting)), {
      jsonrpc: '2.0',
      id: 'q',
      result: {
        resultType: 'complete',
        supportedVersions: ['2026-07-28', '2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'],
        capabilities: { tools: { listChanged: true } },
        instructions: 'read',
        ttlMs: 0,
        cacheScope: 'private',
        _meta: { [info]: { name: 's', version: '1' } },
      },
    })
  },
)

t.test('tasks are not shown, for they have other methods since', async (t) => {
  const { result } = said(
    discovered('1', greets('{"capabilities":{"tasks":{"list":{}},"logging":{}}}')),
  )
  t.same(result.capabilities, { logging: {} })
})

t.test('what a server says badly is left out', async (t) => {
  for (const odd of ['null', '[]', '5', '"x"']) {
    const greeting = greets(`{"capabilities":${odd},"serverInfo":${odd},"instructions":[1]}`)
    const { result } = said(discovered('1', greeting))
    t.same(result.capabilities, {}, odd)
    t.notOk('_meta' in result)
    t.notOk('instructions' in result)
    const { result: former } = said(initialized(greeting, '2025-06-18'))
    t.same(former.capabilities, {}, odd)
    t.same(former.serverInfo, implementation)
    t.notOk('instructions' in former)
  }
  for (const odd of ['null', '[]', '5']) {
    t.match(said(discovered('1', greets(odd))), { result: { capabilities: {} } })
    t.match(said(initialized(greets(odd), '2025-06-18')), { result: { capabilities: {} } })
  }
})

t.test(
  'a modern server is shown with the revision that its client asked for, if it is one',
  async (t) => {
    const found = greets(
      `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"read","ttlMs":5,"_meta":{"${info}":{"name":"s","version":"1"}}}`,
    )
    const cases = [
      ['2024-11-05', '2024-11-05'],
      ['2025-11-25', '2025-11-25'],
      ['2026-07-28', '2025-11-25'],
      ['1999-01-01', '2025-11-25'],
    ] as const
    for (const [asked, expected] of cases) {
      t.same(
        said(initialized(found, asked)).result,
        {
          protocolVersion: expected,
          capabilities: { tools: {} },
          serverInfo: { name: 's', version: '1' },
          instructions: 'read',
        },
        asked,
      )
    }
  },
)

t.test('what either side wrote of itself goes over as it stands', async (t) => {
  const capabilities = `{"experimental":{"n":${big},"u":"\\u00e9", "x":1e400}}`
  const each = [
    discovered(
      '1',
      greets(`{"capabilities":${capabilities},"serverInfo":{"name":"s","version":${big}}}`),
    ),
    initialized(
      greets(`{"capabilities":${capabilities},"_meta":{"${info}":{"name":"s","version":${big}}}}`),
      '2025-06-18',
    ),
    initializeFor({
      capabilitiesText: capabilities,
      clientInfoText: `{"name":"c","version":${big}}`,
    }),
  ]
  for (const { text } of each) {
    t.ok(text.includes(`"n":${big}`), text)
    t.ok(text.includes('\\u00e9'))
    t.ok(text.includes('1e400'))
    t.ok(text.includes(`"version":${big}`))
  }
})

t.test('values nested beyond the stack pass', async (t) => {
  const nested = `{"capabilities":{"experimental":{"x":${deep}}},"serverInfo":{"x":${deep}}}`
  t.ok(discovered('1', greets(nested)).text.includes(deep))
  t.ok(initialized(greets(nested), '2025-06-18').text.includes(deep))
  const { text } = initializeFor({ capabilitiesText: `{"x":${deep}}`, clientInfoText: undefined })
  t.ok(text.includes(deep))
})

t.test('an initialize of our own is in the name of its clients', async (t) => {
  t.match(said(initializeFor(declaring({ roots: {} }))), {
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: { roots: {} },
      clientInfo: { name: 'm', version: '1' },
    },
  })
  t.same(said(initializeFor()).params, {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: implementation,
  })
})

t.test('a session client finds a modern server by its own initialize', async (t) => {
  const it = talk('stateless')
  const [asked] = texts(it.request(initialize('i', { roots: {} }), 1))
  t.match(asked, {
    id: 'i',
    method: 'server/discover',
    params: {
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': { name: 'c' },
        'io.modelcontextprotocol/clientCapabilities': { roots: {} },
      },
    },
  })
  t.same(Object.keys((asked as { params: object }).params), ['_meta'], 'and nothing else of it')
  const outputs = answer(it, 1, { resultType: 'complete', supportedVersions: [], capabilities: {} })
  t.match(only(outputs, 'negotiated'), [{ member: 'a', revision: '2025-06-18' }])
  t.match(texts(only(outputs, 'finish')), [{ id: 'i', result: { protocolVersion: '2025-06-18' } }])
})

t.test('a modern server that refuses server/discover refuses the session', async (t) => {
  const it = talk('stateless')
  it.request(initialize('i'), 1)
  const outputs = answerWith(it, 1, '"error":{"code":-32603,"message":"no"}')
  t.same(texts(outputs), [{ jsonrpc: '2.0', id: 'i', error: { code: -32603, message: 'no' } }])
})

t.test(
  'server/discover opens the session of a session server, and is answered from it',
  async (t) => {
    for (const dialect of ['sse', 'streamable'] as const) {
      const joining = {
        member: 'm',
        single: true,
        declared: declaring({ roots: {} }),
        pooled: true,
      }
      const it = talk(dialect, joining)
      const outputs = it.request(modern('d', 'server/discover'), 5)
      t.match(texts(outputs), [{ method: 'initialize', params: { capabilities: { roots: {} } } }])
      const opened = answer(it, sentAs(outputs, 'initialize'), {
        protocolVersion: '2025-11-25',
        capabilities: { prompts: {} },
      })
      t.match(texts(only(opened, 'finish')), [
        { id: 'd', result: { capabilities: { prompts: {} } } },
      ])
      const again = it.request(modern('e', 'server/discover'), 6)
      t.match(texts(again), [{ id: 'e', result: { capabilities: { prompts: {} } } }], 'at once')
      t.equal(it.conversation.exchanges.size, 0)
    }
  },
)

t.test('a backend without sessions is asked by initialize', async (t) => {
  const it = talk('rpc', { member: 'm', single: true, declared: declaring() })
  t.match(texts(it.request(modern('d', 'server/discover'), 5)), [{ id: 5, method: 'initialize' }])
  const outputs = answer(it, 5, { protocolVersion: '2025-06-18', capabilities: { tools: {} } })
  t.match(texts(outputs), [
    { id: 'd', result: { resultType: 'complete', capabilities: { tools: {} } } },
  ])
})

t.test('or by its lists, where it does not know initialize either', async (t) => {
  const it = talk('rpc', { member: 'm', single: true, declared: declaring() })
  it.request(modern('d', 'server/discover'), 5)
  const probes = answerWith(it, 5, '"error":{"code":-32601,"message":"method not found"}')
  t.match(texts(probes), [{ method: 'tools/list' }, { method: 'resources/list' }, {}])
  let last = probes
  for (const [index, { exchange = 0 }] of only(probes, 'send').entries()) {
    last = answerWith(it, exchange, index === 0 ? '"result":{}' : '"error":{"code":-32601}')
  }
  t.match(texts(last), [
    { id: 'd', result: { resultType: 'complete', capabilities: { tools: {} } } },
  ])
})
