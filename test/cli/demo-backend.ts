import t from 'tap'
import { startDemoBackend } from '../../src/cli/demo-backend.ts'
import { post, readStream } from '../../src/cli/demo-client.ts'

t.test('the stream of the backend is broken in the way that the demo shows', async (t) => {
  const backend = await startDemoBackend()
  t.teardown(() => backend.close())
  const stream = await readStream(`${backend.url}/sse`, (text) => text.includes('heartbeat'))
  t.match(
    stream,
    /^event: endpoint\n {10}data: \/messages\?session_id=[\da-f]{32}\n\nevent: heartbeat\n {10}data: \{/,
  )
  const answer = await post(`${backend.url}/sse`, { jsonrpc: '2.0', id: 1, method: 'initialize' })
  t.equal(answer.status, 405)
})

t.test('the backend answers on its stream, and only to a session that it knows', async (t) => {
  const backend = await startDemoBackend()
  t.teardown(() => backend.close())
  let posted: Promise<unknown> | undefined
  const ask = async (path: string) => {
    const call = { name: 'echo', arguments: { text: 'hello' } }
    for (const message of [
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: call },
      { jsonrpc: '2.0', id: 2, method: 'nothing/known' },
    ]) {
      t.equal((await post(`${backend.url}${path}`, message)).status, 202)
    }
  }
  const stream = await readStream(`${backend.url}/sse`, (text) => {
    const path = /data: (\/messages\S+)\n/.exec(text)?.[1]
    if (path !== undefined) posted ??= ask(path)
    return text.includes('"id":2')
  })
  await posted
  t.match(stream, '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}')
  t.match(stream, /"id":2,"error":\{"code":-32601/)
  t.equal(stream.match(/event: message/g)?.length, 2, 'a notification has no answer')
  const lost = await post(`${backend.url}/messages?session_id=none`, { jsonrpc: '2.0', id: 1 })
  t.equal(lost.status, 404)
})
