// A client that loses its stream and comes back with `Last-Event-ID`: it hears everything of that stream once and in
// order, nothing of another, or is told that it cannot (2025-11-25, Transports, "Resumability and Redelivery").
import t from 'tap'
import { fetchRaw, openStream } from '../fixtures/http.ts'
import type { RawStream } from '../fixtures/http.ts'
import { startScriptedSse } from '../fixtures/scripted-sse-backend.ts'
import type { Posted } from '../fixtures/scripted-sse-backend.ts'
import { ask, call, serve, tell } from '../fixtures/serving.ts'
import type { Client } from '../fixtures/serving.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const idsOf = ({ events }: RawStream): string[] =>
  events.flatMap(({ lines }) => lines.flatMap((line) => /^id: (.+)$/.exec(line)?.[1] ?? []))
const countsOf = ({ events }: RawStream): number[] =>
  events.flatMap(({ data }) => {
    const found = /"count":(\d+)/.exec(data)?.[1]
    return found === undefined ? [] : [Number(found)]
  })

/** A client with a standing stream, and what makes the backend say numbered things there. */
async function stage(t: Parameters<typeof startScriptedSse>[0], limits: object = {}) {
  const calls: Posted[] = []
  const backend = await startScriptedSse(t, {
    onPost(posted) {
      if (posted.message.method !== 'tools/call') return false
      posted.accept()
      calls.push(posted)
      return true
    },
  })
  const serving = await serve(t, backend.url, { limits: { ...limits } })
  const client = await serving.openSession({ revision: '2025-11-25' })
  let count = 0
  const write = (value: object): void => {
    for (const stream of backend.streams.values())
      stream.write(`data: ${JSON.stringify(value)}\n\n`)
  }
  const say = (times: number): void => {
    for (let time = 0; time < times; time++)
      write(tell('notifications/message', { count: ++count }))
  }
  /** Says something to a client that has gone, and waits until the proxy has it. */
  const sayToNobody = async (): Promise<void> => {
    await waitFor(
      async () =>
        /causeway_open_streams\{[^}]*side="client"[^}]*\} 0/.test(await serving.metrics()),
      {
        what: 'the stream to be gone',
      },
    )
    say(1)
    // Where there is nobody else to ask, a ping is answered by the proxy itself.
    write(ask('ping behind it', 'ping'))
    await waitFor(() => backend.posted.some(({ message }) => message.id === 'ping behind it'))
  }
  const comeBack = async (id: string, who: Client = client): Promise<RawStream> => {
    const headers = { ...who.headers, 'last-event-id': id }
    const stream = await openStream(serving.url, { headers })
    t.teardown(() => stream.destroy())
    return stream
  }
  return { ...serving, calls, client, say, sayToNobody, comeBack }
}

t.test('what was missed is replayed, and then the stream is live again', async (t) => {
  const { client, say, sayToNobody, comeBack } = await stage(t)
  const first = await client.listen()
  say(4)
  await waitFor(() => countsOf(first).length === 4)
  first.destroy()
  await sayToNobody()
  // The stream began with a priming event, so the third id is that of the second message.
  const again = await comeBack(idsOf(first)[2] ?? '')
  await waitFor(() => countsOf(again).length === 3)
  say(2)
  await waitFor(() => countsOf(again).length >= 5)
  t.same(countsOf(again), [3, 4, 5, 6, 7])
  const ids = [...new Set([...idsOf(first), ...idsOf(again)])]
  t.equal(ids.length, 8, 'every event has an id of its own, also when it comes twice')
})

t.test('a client that comes back takes the place of its old connection', async (t) => {
  const { client, say, comeBack } = await stage(t)
  const first = await client.listen()
  say(1)
  await waitFor(() => countsOf(first).length === 1)
  const again = await comeBack(idsOf(first).at(-1) ?? '')
  await waitFor(() => first.ended === 'end', { what: 'the old connection to end' })
  say(2)
  await waitFor(() => countsOf(again).length === 2)
  t.same([countsOf(first), countsOf(again)], [[1], [2, 3]])
})

t.test('a client that cannot have all that it missed is told so', async (t) => {
  const { client, say, comeBack, url } = await stage(t, { replayEvents: 3 })
  const first = await client.listen()
  say(5)
  await waitFor(() => countsOf(first).length === 5)
  const last = idsOf(first)[1] ?? ''
  for (const id of [last, last.replace(/-\d+$/, '-99'), 'nobody-1', 'nonsense']) {
    const gone = await fetchRaw(url, {
      headers: { ...client.headers, accept: 'text/event-stream', 'last-event-id': id },
    })
    t.equal(gone.status, 400, id)
    t.match(JSON.parse(gone.body), { error: { message: /no longer kept|no stream/ } })
  }
  t.equal(first.ended, 'no', 'and the stream that stands is left alone')
  const again = await comeBack(last.replace(/-\d+$/, '-2'))
  await waitFor(() => countsOf(again).length === 3)
  t.same(countsOf(again), [3, 4, 5], 'what is kept can be had')
})

t.test('no client hears the stream of another', async (t) => {
  const { client, say, openSession, url } = await stage(t)
  const first = await client.listen()
  say(2)
  await waitFor(() => countsOf(first).length === 2)
  const other = await openSession({ revision: '2025-11-25' })
  const refused = await fetchRaw(url, {
    headers: {
      ...other.headers,
      accept: 'text/event-stream',
      'last-event-id': idsOf(first)[0] ?? '',
    },
  })
  t.equal(refused.status, 400)
  t.notMatch(refused.body, /"count"/)
})

t.test('the answer to a call is found again on the call’s own stream', async (t) => {
  const { client, calls, comeBack, url } = await stage(t)
  const going = new AbortController()
  const answer = await openCall()
  going.abort()
  const standing = await client.listen()
  calls[0]?.answer({ done: true })
  const again = await comeBack(idsOf(answer).at(-1) ?? '')
  const last = await again.find(({ data }) => data.includes('"done":true'))
  t.match(JSON.parse(last.data), { id: 7, result: { done: true } })
  await waitFor(() => again.ended === 'end', { what: 'the stream to end with its response' })
  t.equal(again.events.length, 1, 'what the client had does not come again')
  t.notOk(standing.events.some(({ data }) => data.includes('"done"')))

  async function openCall(): Promise<RawStream> {
    const opening = openStream(url, {
      method: 'POST',
      headers: {
        ...client.headers,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify(call(7, 'slow', { _meta: { progressToken: 'p' } })),
      signal: going.signal,
    })
    const { say: tellIt, message } = await waitFor(() => calls[0])
    tellIt(tell('notifications/progress', { progressToken: message.id, progress: 1 }))
    const stream = await opening
    await stream.find(({ data }) => data.includes('notifications/progress'))
    return stream
  }
})
