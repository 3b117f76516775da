import t from 'tap'
import type { Test } from 'tap'
import { startAdmin } from '../../src/admin/server.ts'
import type { Readiness } from '../../src/admin/server.ts'

const metrics = { contentType: 'text/plain; version=0.0.4', text: async () => 'a_total 1\n' }

const start = async (t: Test, ready: () => Readiness = () => ({ ready: true, reasons: [] })) => {
  const admin = await startAdmin({ host: '127.0.0.1', port: 0, ready, metrics })
  t.teardown(() => admin.close())
  return admin
}

t.test('health is 200 whatever readiness says', async (t) => {
  const admin = await start(t, () => ({ ready: false, reasons: ['stopping'] }))
  const answer = await fetch(`${admin.url}/healthz?probe=1`)
  t.equal(answer.status, 200)
  t.equal(await answer.text(), 'ok\n')
  t.equal(answer.headers.get('cache-control'), 'no-store')
})

t.test('readiness follows the proxy and says why not', async (t) => {
  let state: Readiness = { ready: true, reasons: [] }
  const admin = await start(t, () => state)
  t.equal((await fetch(`${admin.url}/readyz`)).status, 200)
  state = { ready: false, reasons: ['the proxy is stopping'] }
  const answer = await fetch(`${admin.url}/readyz`)
  t.equal(answer.status, 503)
  t.same(await answer.json(), { ready: false, reasons: ['the proxy is stopping'] })
})

t.test('metrics come with their content type', async (t) => {
  const admin = await start(t)
  const answer = await fetch(`${admin.url}/metrics`)
  t.equal(answer.headers.get('content-type'), metrics.contentType)
  t.equal(await answer.text(), 'a_total 1\n')
})

t.test('HEAD gets the headers and no body', async (t) => {
  const admin = await start(t)
  const answer = await fetch(`${admin.url}/metrics`, { method: 'HEAD' })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('content-length'), '10')
  t.equal(await answer.text(), '')
})

t.test('other paths are 404 and other methods 405 with Allow', async (t) => {
  const admin = await start(t)
  t.equal((await fetch(`${admin.url}/`)).status, 404)
  const refused = await fetch(`${admin.url}/healthz`, { method: 'POST', body: 'x' })
  t.equal(refused.status, 405)
  t.equal(refused.headers.get('allow'), 'GET, HEAD')
})

t.test('a page that throws is a 500 without its reason', async (t) => {
  const admin = await start(t, () => {
    throw new Error('SECRET')
  })
  const answer = await fetch(`${admin.url}/readyz`)
  t.equal(answer.status, 500)
  t.notMatch(await answer.text(), /SECRET/)
})

t.test('an address in use is one clear sentence', async (t) => {
  const admin = await start(t)
  const port = Number(new URL(admin.url).port)
  const again = startAdmin({
    host: '127.0.0.1',
    port,
    ready: () => ({ ready: true, reasons: [] }),
    metrics,
  })
  await t.rejects(again, {
    name: 'ProxyError',
    message: `admin: cannot listen on 127.0.0.1:${port}: the address is in use`,
  })
})

t.test('closing cuts connections that are kept alive', async (t) => {
  const admin = await startAdmin({
    host: '127.0.0.1',
    port: 0,
    ready: () => ({ ready: true, reasons: [] }),
    metrics,
  })
  await (await fetch(`${admin.url}/healthz`)).text()
  await admin.close()
  await t.rejects(fetch(`${admin.url}/healthz`))
})
