// Requests of modern clients that wait for answers: on other replicas, for other callers, too many of them, for too long.
import t from 'tap'
import { startCountingBackend } from '../fixtures/counting-backend.ts'
import { startFleet } from '../fixtures/fleet.ts'
import type { SessionDialect } from '../fixtures/fleet.ts'
import { modernPost } from '../fixtures/modern-post.ts'
import type { ModernAnswer, ModernWishes } from '../fixtures/modern-post.ts'
import { startProxy } from '../fixtures/proxy.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const able: ModernWishes = { capabilities: { roots: {} } }
const ask = (key: string) => ({ name: 'ask', arguments: { key } })
const roots = { roots: [{ uri: 'file:///home/ann' }] }

const begin = (url: string, key: string, wishes: ModernWishes = able): Promise<ModernAnswer> =>
  modernPost(url, 'tools/call', ask(key), wishes)

/** What a client brings back: an answer to every question. */
const answers = ({ result }: ModernAnswer) => ({
  inputResponses: Object.fromEntries(
    Object.keys(result?.inputRequests ?? {}).map((key) => [key, roots]),
  ),
  requestState: result?.requestState,
})

const resume = (
  url: string,
  key: string,
  brought: object,
  wishes: ModernWishes = able,
): Promise<ModernAnswer> => modernPost(url, 'tools/call', { ...ask(key), ...brought }, wishes)

const refused = { status: 400, error: { code: -32602, message: /^requestState: / } }

for (const dialect of ['streamable', 'sse'] as const satisfies readonly SessionDialect[]) {
  t.test(
    `${dialect} backend: answers reach a parked request by way of another replica`,
    async (t) => {
      const { replicas, backend } = await startFleet(t, { dialect, size: 3 })
      const [a = '', b = '', c = ''] = replicas.map(({ url }) => `${url}/mcp`)
      const parked = await begin(a, 'one')
      t.match(parked, { status: 200, result: { resultType: 'input_required' } })
      t.match(Object.values(parked.result?.inputRequests ?? {}), [{ method: 'roots/list' }])
      const done = await resume(b, 'one', answers(parked))
      t.match(done, { status: 200, result: { resultType: 'complete' } })
      t.same(JSON.parse(done.result?.content?.[0]?.text ?? ''), roots)
      t.equal(backend.runs.get('one'), 1, 'it has run once')
      t.match(await resume(c, 'one', answers(parked)), refused, 'and its state is used up')
    },
  )
}

t.test('a request that is parked on a replica that dies is over, and says so', async (t) => {
  const { replicas } = await startFleet(t, { dialect: 'streamable', size: 2 })
  const [a = '', b = ''] = replicas.map(({ url }) => `${url}/mcp`)
  const parked = await begin(a, 'one')
  await replicas[0]?.stop('SIGKILL')
  const answer = await waitFor(
    async () => {
      const got = await resume(b, 'one', answers(parked))
      return got.error?.code === -32602 ? got : undefined
    },
    { what: 'the other replica to find it gone' },
  )
  t.match(answer, refused)
})

t.test('nobody else, and nothing else, goes on with a parked request', async (t) => {
  const { replicas, backend } = await startFleet(t, { dialect: 'streamable', size: 2 })
  const [a = '', b = ''] = replicas.map(({ url }) => `${url}/mcp`)
  const ann = { ...able, headers: { authorization: 'Basic ann' } }
  const parked = await begin(a, 'one', ann)
  const brought = answers(parked)
  const state = String(brought.requestState)
  const changed = `${state.slice(0, -2)}${state.endsWith('A') ? 'B' : 'A'}${state.slice(-1)}`
  const other = await begin(a, 'two', ann)

  for (const url of [a, b]) {
    const attempts: Readonly<Record<string, Promise<ModernAnswer>>> = {
      'another caller': resume(url, 'one', brought, {
        ...able,
        headers: { authorization: 'Basic bob' },
      }),
      'no credentials': resume(url, 'one', brought),
      'other arguments': resume(url, 'two', brought, ann),
      'another tool': modernPost(
        url,
        'tools/call',
        { ...ask('one'), ...brought, name: 'count' },
        ann,
      ),
      'another method': modernPost(url, 'prompts/get', { ...ask('one'), ...brought }, ann),
      'a changed state': resume(url, 'one', { ...brought, requestState: changed }, ann),
      'more state': resume(url, 'one', { ...brought, requestState: `${state}AAAA` }, ann),
      'half of it': resume(url, 'one', { ...brought, requestState: state.slice(0, 40) }, ann),
      'a state of one’s own': resume(url, 'one', { ...brought, requestState: 'mine' }, ann),
      'no text': resume(url, 'one', { ...brought, requestState: 7 }, ann),
      'that of another': resume(
        url,
        'one',
        { ...brought, requestState: other.result?.requestState },
        ann,
      ),
    }
    for (const [what, attempt] of Object.entries(attempts)) t.match(await attempt, refused, what)
    const wrong = await resume(url, 'one', { ...brought, inputResponses: [] }, ann)
    t.match(wrong, { status: 400, error: { code: -32602 } }, 'answers that are none')
  }
  t.equal(backend.runs.get('one'), 1)

  const done = await resume(b, 'one', brought, ann)
  t.match(done, { status: 200, result: { resultType: 'complete' } }, 'it waits on all the same')
  t.match(await resume(a, 'one', brought, ann), refused, 'once')
})

t.test('an answer that is missing is asked for again, under a state of its own', async (t) => {
  const { replicas } = await startFleet(t, { dialect: 'streamable', size: 2 })
  const [a = '', b = ''] = replicas.map(({ url }) => `${url}/mcp`)
  const first = await begin(a, 'one')
  const again = await resume(b, 'one', { requestState: first.result?.requestState })
  t.match(again, { status: 200, result: { resultType: 'input_required' } })
  t.same(again.result?.inputRequests, first.result?.inputRequests)
  t.not(again.result?.requestState, first.result?.requestState)
  t.match(await resume(b, 'one', answers(first)), refused, 'the earlier one is over')
  t.match(await resume(a, 'one', answers(again)), { result: { resultType: 'complete' } })
})

t.test('1,000 parked requests are the most, and they expire', async (t) => {
  const most = 1000
  const backend = await startCountingBackend()
  t.teardown(() => backend.close())
  const proxy = await startProxy({
    config: { limits: { parked: most, parkTime: '20s', sessionsPerPrincipal: 2 * most } },
    routes: [
      {
        name: 'shop',
        path: '/mcp',
        backend: { url: `${backend.url}/mcp`, dialect: 'streamable' },
      },
    ],
  })
  t.teardown(() => proxy.stop())
  const url = `${proxy.url}/mcp`
  const parked: ModernAnswer[] = []
  const keys = Array.from({ length: most }, (_, index) => `k${index}`)
  const park = async (): Promise<void> => {
    for (let key = keys.pop(); key !== undefined; key = keys.pop())
      parked.push(await begin(url, key))
  }
  await Promise.all(Array.from({ length: 20 }, park))
  t.equal(parked.filter(({ result }) => result?.resultType === 'input_required').length, most)
  t.equal(new Set(parked.map(({ result }) => result?.requestState)).size, most)
  t.equal(await proxy.metric('causeway_parked_exchanges'), most)

  const more = await begin(url, 'more')
  t.match(more, { status: 503, error: { message: /limits\.parked/ } }, 'one more is refused')
  t.match(await begin(url, 'count', {}), { error: { code: -32021 } }, 'others are served')

  await waitFor(async () => (await proxy.metric('causeway_parked_exchanges')) === 0, {
    what: 'all of them to expire',
    timeout: 40_000,
  })
  const late = await resume(url, 'k0', answers(parked.at(-1) as ModernAnswer))
  t.match(late, refused)
})
