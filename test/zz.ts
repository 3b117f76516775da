import { createServer } from 'node:http'
import { startProxy } from './fixtures/proxy.ts'
import { readFileSync } from 'node:fs'
const mb = Number(process.argv[2] ?? 50)
const big = 'x'.repeat(mb * 1024 * 1024)
const server = createServer((req, res) => {
  let body=''; req.setEncoding('utf8'); req.on('data', c => body += c); req.on('end', () => {
    if (req.method !== 'POST') return res.writeHead(405).end()
    const m = JSON.parse(body)
    if (m.id === undefined) return res.writeHead(202).end()
    const head = { 'mcp-session-id': 'abc' }
    if (m.method === 'initialize') return res.writeHead(200, {...head, 'content-type':'application/json'}).end(JSON.stringify({jsonrpc:'2.0', id:m.id, result:{protocolVersion:'2025-06-18', capabilities:{tools:{}}, serverInfo:{name:'x',version:'1'}}}))
    const text = JSON.stringify({ result: { content: [{ type:'text', text: big }] }, jsonrpc:'2.0', id: m.id })
    if (m.params.name === 'json') res.writeHead(200, {'content-type':'application/json','content-length':text.length}).end(text)
    else { res.writeHead(200, {'content-type':'text/event-stream'}); res.write('event: message\ndata: '); res.write(text); res.end('\n\n') }
  })
})
await new Promise<void>(r => server.listen(0, '127.0.0.1', r))
const url = `http://127.0.0.1:${(server.address() as any).port}/mcp`
const proxy = await startProxy({ routes: [{ name:'a', path:'/mcp', backend:{ url, dialect: 'streamable' } }], config: { limits: { event: '100MiB', body: '100MiB' } } })
const rss = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${proxy.pid}/status`,'utf8'))![1])/1024
const post = async (m: any, sid?: string) => fetch(proxy.url + '/mcp', { method:'POST', headers: { 'content-type':'application/json', accept:'application/json, text/event-stream', ...(sid && {'mcp-session-id': sid}) }, body: JSON.stringify(m) })
const init = await post({jsonrpc:'2.0', id:1, method:'initialize', params:{protocolVersion:'2025-06-18', capabilities:{}, clientInfo:{name:'a',version:'1'}}})
const sid = init.headers.get('mcp-session-id')!
await init.text(); await post({jsonrpc:'2.0', method:'notifications/initialized'}, sid)
console.log('idle', rss())
for (const name of ['json','sse','json','sse']) {
  const t = performance.now()
  const r = await post({jsonrpc:'2.0', id: 7, method:'tools/call', params:{name, arguments:{}}}, sid)
  let n = 0; for await (const c of r.body!) n += c.length
  console.log(name, r.status, r.headers.get('content-type'), r.headers.get('content-length'), n, Math.round(performance.now()-t), 'ms peak', rss())
}
console.log(proxy.logs().slice(-3))
await proxy.stop(); server.close(); server.closeAllConnections()
