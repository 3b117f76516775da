// What once went wrong and must not again, third part: backends that fall silent, refuse, or forget a session while
// others are at work on it.
import t from 'tap'
import { manualClock } from '../fixtures/manual-clock.ts'
import { startScriptedSse } from '../fixtures/scripted-sse-backend.ts'
import type { Posted } from '../fixtures/scripted-sse-backend.ts'
import { answerIn, ask, call, opening, serve, turning } from '../fixtures/serving.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const nameIn = ({ message: { params } }: Posted): unknown => params?.['name']

t.test('a handshake of ours that is never answered does not block the route', async (t) => {
  const clock = manualClock()
  let first = true
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (posted.message.method !== 'initialize' || !first) return false
      first = false
      posted.accept()
      return true
    },
  })
  const { post } = await serve(t, backend.url, { clock, limits: { requestTime: '2s' } })
  let over = false
  const waiting = post(ask(1)).finally(() => (over = true))
  await waitFor(() => !first)
  await turning(clock, () => over, 'the request to be given up')
  t.match(answerIn(await waiting), { id: 1, error: {} })
  t.match(answerIn(await post(ask(2))), { id: 2, result: { tools: [] } })
  t.equal(backend.of('initialize').length, 2)
})

t.test('a stream refused with a body without an end does not block the route', async (t) => {
  const clock = manualClock()
  let refused = 0
  const backend = await startScriptedSse(t, {
    onGet(response) {
      if (refused > 0) return false
      refused++
      response.writeHead(500, { 'content-type': 'text/html' }).write('<html><title>oops</title>')
      return true
    },
  })
  const { post } = await serve(t, backend.url, { clock, limits: { requestTime: '20s' } })
  let over = false
  const waiting = post(ask(1)).finally(() => (over = true))
  await turning(clock, () => over, 'the request to be refused')
  t.match(answerIn(await waiting), { id: 1, error: {} })
  t.equal(refused, 1)
  t.match(answerIn(await post(ask(2))), { id: 2, result: { tools: [] } })
})

t.test('requests that wait for a session go on when another client opens it', async (t) => {
  const clock = manualClock()
  let dead = false
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (!dead || posted.message.method !== 'initialize') return false
      posted.refuse(500, '')
      return true
    },
  })
  const { openSession, metrics, post } = await serve(t, backend.url, {
    clock,
    backend: { stream: 'shared', wakeTime: 0 },
  })
  const ann = await openSession()
  await ann.listen()
  dead = true
  backend.dropStreams()
  const tries = () => backend.of('initialize').length
  await turning(clock, () => tries() >= 4, 'several attempts to restore the session')
  dead = false
  const waiting = ann.post(ask(2, 'prompts/list'))
  await waitFor(async () => (await metrics()).includes('exchanges_open 1'))
  t.match(answerIn(await post({ ...opening(), id: 'bob' })), { id: 'bob', result: {} })
  let over = false
  void waiting.finally(() => (over = true))
  await turning(clock, () => over, 'the request that waited to be answered')
  t.match(answerIn(await waiting), { id: 2, result: { method: 'prompts/list' } })
})

/** A backend that forgets its first session at the call `quick`; the answers to other calls on it are up to the test. */
async function forgetful(t: Parameters<typeof startScriptedSse>[0]) {
  let first: string | undefined
  const held = new Map<unknown, Posted>()
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      first ??= posted.session
      if (posted.message.method !== 'tools/call') return false
      const isOld = posted.session === first
      if (isOld && nameIn(posted) === 'quick') posted.refuse(404, 'session not found')
      else if (isOld || nameIn(posted) === 'long') held.set(nameIn(posted), posted)
      else return false
      return true
    },
  })
  return { backend, held: (name: string) => waitFor(() => held.get(name), { what: name }) }
}

t.test('a late refusal of a lost session fails nothing on the one after it', async (t) => {
  const { backend, held } = await forgetful(t)
  const { openSession } = await serve(t, backend.url)
  const client = await openSession()
  const tardy = client.post(call(2, 'tardy'))
  const late = await held('tardy')
  t.match(answerIn(await client.post(call(3, 'quick'))), { id: 3, result: {} })
  const long = client.post(call(4, 'long'))
  const running = await held('long')
  t.not(running.session, late.session)
  late.refuse(404, 'session not found')
  t.match(
    answerIn(await tardy),
    { id: 2, result: {} },
    'it is sent again, since it cannot have run',
  )
  running.accept()
  running.answer()
  t.match(answerIn(await long), { id: 4, result: {} })
  t.equal(backend.of('initialize').length, 2, 'one session was lost, so one was restored')
  t.equal(backend.of('tools/call').filter((each) => nameIn(each) === 'long').length, 1)
})

t.test('what is taken on a session given up meanwhile fails, instead of waiting', async (t) => {
  const { backend, held } = await forgetful(t)
  const { openSession } = await serve(t, backend.url)
  const client = await openSession()
  const slow = client.post(call(2, 'slow'))
  const taken = await held('slow')
  t.match(answerIn(await client.post(call(3, 'quick'))), { id: 3, result: {} })
  taken.accept()
  t.match(answerIn(await slow), { id: 2, error: {} }, 'it may have run, so it is not sent again')
  t.equal(backend.of('tools/call').filter((each) => nameIn(each) === 'slow').length, 1)
})

t.test('a read whose POST hangs while the stream ends is sent once more', async (t) => {
  const backend = await startScriptedSse(t, {
    onPost: ({ message }) =>
      message.method === 'tools/list' && backend.of('tools/list').length === 1,
  })
  const { openSession } = await serve(t, backend.url)
  const client = await openSession()
  const reading = client.post(ask(2))
  await waitFor(() => backend.of('tools/list').length === 1)
  backend.dropStreams()
  t.match(answerIn(await reading), { id: 2, result: { tools: [] } })
  t.equal(backend.of('tools/list').length, 2)
})
