import t from 'tap'
import type { Test } from 'tap'
import { Posts } from '../../src/backends/posts.ts'
import type { PostHooks } from '../../src/backends/posts.ts'
import { sessionLost } from '../../src/backends/refusal.ts'
import { result } from '../../src/protocol/jsonrpc.ts'
import {
  answer,
  begin,
  call,
  ear,
  kit,
  note,
  reply,
  scripted,
  sending,
  target,
  until,
} from '../fixtures/scripted.ts'
import type { Answering } from '../fixtures/scripted.ts'

/** Posts to a backend that answers everything with this. */
async function stage(t: Test, body: string, how: Answering = {}, hooks: PostHooks = {}) {
  const backend = await scripted(t, (_seen, response) => answer(response, body, how))
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(`${backend.url}/mcp`), heard, options, hooks)
  t.teardown(() => posts.close())
  return { backend, heard, posts, options }
}

t.test('headers of the dialect go over those of the client', async (t) => {
  const { posts, backend } = await stage(
    t,
    reply(1),
    {},
    {
      headers: ({ kind }) => ({ 'x-user-id': `the ${kind}`, 'mcp-session-id': 's' }),
    },
  )
  await posts.send(call(1), sending)
  await posts.send(note(), sending)
  t.match(backend.seen, [
    { headers: { 'x-user-id': 'the request', 'mcp-session-id': 's' } },
    { headers: { 'x-user-id': 'the notification', 'mcp-session-id': 's' } },
  ])
})

t.test('the dialect hears of every answer but refused credentials', async (t) => {
  const statuses: number[] = []
  for (const status of [200, 202, 400, 401, 403, 500]) {
    const begun = (_: unknown, got: { status: number }) => void statuses.push(got.status)
    const { posts } = await stage(t, '', { status }, { begun })
    await posts.send(call(1), sending)
  }
  t.same(statuses, [200, 202, 400, 500])
})

t.test('the dialect says what a refusal means, unless it names the request', async (t) => {
  const words = 'session gone'
  const error = (id: number | null): string =>
    JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32600, message: words } })
  const asked: string[] = []
  const hooks: PostHooks = {
    refused(message, status, text) {
      asked.push(`${message.kind} ${status} ${text.includes(words)}`)
      return text.includes(words) ? sessionLost('shop', status) : undefined
    },
  }
  const lost = { error: { code: 'BACKEND_SESSION_LOST' }, mayHaveRun: false }
  for (const body of [words, error(null), error(7)]) {
    const { posts, heard } = await stage(t, body, { status: 404 }, hooks)
    t.match(await posts.send(call(1), sending), lost, body)
    t.match(await posts.send(note(), sending), lost)
    t.same(heard.messages, [])
  }
  asked.length = 0
  const { posts, heard } = await stage(t, error(1), { status: 404 }, hooks)
  t.equal(await posts.send(call(1), sending), undefined)
  t.same(heard.messages, [[error(1), call(1).text]])
  t.same(asked, [], 'it is not even asked')
  const other = await stage(t, 'busy', { status: 400 }, hooks)
  t.match(await other.posts.send(call(1), sending), { error: { code: 'BACKEND_REFUSED' } })
  t.equal(await other.posts.send(note(), sending), undefined)
  t.equal(other.heard.troubles.length, 1)
  t.same(asked, ['request 400 false', 'notification 400 false'])
})

t.test('an answer that lacks its response may be continued in another way', async (t) => {
  const stream = { type: 'text/event-stream' }
  const body = `id: e1\ndata: ${note('notifications/x').text}\n\n`
  const brought = await stage(t, body, stream, {
    async continued(message, got, deliver) {
      t.match(got, { form: 'stream', at: { lastEventId: 'e1' } })
      t.equal(message.text, call(1).text)
      deliver(result('1', { late: true }))
      return true
    },
  })
  t.equal(await brought.posts.send(call(1), sending), undefined)
  t.match(brought.heard.messages.at(-1), [/"late":true/, call(1).text])

  const not = await stage(t, body, stream, { continued: async () => false })
  t.match(await not.posts.send(call(1), sending), {
    mayHaveRun: true,
    error: { code: 'BACKEND_ANSWER_INVALID', message: /no response/ },
  })

  const whole = await stage(
    t,
    reply(1),
    {},
    { continued: () => Promise.reject(new Error('asked')) },
  )
  t.equal(await whole.posts.send(call(1), sending), undefined, 'a whole answer needs none')
})

t.test('a notification that is never answered is given up in the end', async (t) => {
  const backend = await scripted(t, () => undefined)
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(backend.url), heard, options)
  const sent = posts.send(note(), sending)
  const asked = posts.send(call(1), sending)
  await until(() => backend.seen.length === 2, 'both')
  options.clock.advance(90_000)
  t.equal(await sent, undefined)
  await until(() => backend.seen.some(({ closed }) => closed), 'it to close')
  t.same(
    backend.seen.map(({ body, closed }) => [body, closed]).sort(),
    [
      [call(1).text, false],
      [note().text, true],
    ].sort(),
    'a request has other limits',
  )
  posts.close()
  t.equal(await asked, undefined)
})

t.test('nothing is delivered of a request that was given up', async (t) => {
  let say = (): void => {}
  const backend = await scripted(t, (_seen, response) => {
    begin(response, ': hello\n\n', { type: 'text/event-stream' })
    say = () => void response.write(`data: ${reply(1)}\n\n`)
  })
  const options = kit(t)
  const heard = ear()
  const posts = new Posts(target(backend.url), heard, options)
  const message = call(1)
  const sent = posts.send(message, sending)
  await until(() => backend.seen.length === 1, 'the request')
  posts.abort(message)
  say()
  t.equal(await sent, undefined)
  await until(() => backend.seen[0]?.closed, 'the request to close')
  t.same(heard.messages, [])
})
