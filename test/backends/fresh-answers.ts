import t from 'tap'
import { FreshAnswers } from '../../src/backends/fresh-answers.ts'
import { failure, result } from '../../src/protocol/jsonrpc.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'
import { principalOf } from '../../src/proxy/edge.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { target } from '../fixtures/scripted.ts'

const shop = target('http://backend.test/mcp')
const ann = { authorization: 'Bearer ann' }
const bob = { authorization: 'Bearer bob' }
const list = (over: JsonObject = {}) =>
  result('1', { resultType: 'complete', ttlMs: 1000, cacheScope: 'private', ...over })

const setUp = () => {
  const clock = manualClock(5000)
  return { clock, fresh: new FreshAnswers({ clock, principalOf }) }
}

t.test('a private answer is for whoever it was given to', async (t) => {
  const { fresh } = setUp()
  fresh.keep(shop, ann, 'tools/list', list())
  t.ok(fresh.find(shop, ann, 'tools/list'))
  t.ok(fresh.find(shop, { ...ann, 'user-agent': 'x' }, 'tools/list'), 'by what says who asks')
  for (const other of [bob, {}, { ...ann, 'x-user-id': 'eve' }]) {
    t.equal(fresh.find(shop, other, 'tools/list'), undefined, JSON.stringify(other))
  }
})

t.test('what does not say that it is public is private', async (t) => {
  for (const cacheScope of ['private', undefined, 'Public', 'everybody', null, 7, ['public']]) {
    const { fresh } = setUp()
    fresh.keep(shop, ann, 'tools/list', list({ cacheScope }))
    t.ok(fresh.find(shop, ann, 'tools/list'), String(cacheScope))
    t.equal(fresh.find(shop, bob, 'tools/list'), undefined, String(cacheScope))
  }
})

t.test('a public answer is for everybody, of one backend and one question', async (t) => {
  const { fresh } = setUp()
  const shared = list({ cacheScope: 'public' })
  fresh.keep(shop, ann, 'tools/list', shared)
  t.equal(fresh.find(shop, bob, 'tools/list'), shared)
  t.equal(fresh.find(target('http://backend.test/other'), ann, 'tools/list'), undefined)
  t.equal(fresh.find(target('http://backend.test/mcp?user=bob'), ann, 'tools/list'), undefined)
  t.equal(fresh.find(shop, ann, 'server/discover'), undefined)
  t.equal(fresh.find(shop, ann, 'tools/list "2"'), undefined)
})

t.test('an answer is fresh for as long as it says', async (t) => {
  const { fresh, clock } = setUp()
  fresh.keep(shop, ann, 'a', list())
  fresh.keep(shop, ann, 'b', list({ ttlMs: 5, cacheScope: 'public' }))
  fresh.keep(shop, ann, 'c', list({ ttlMs: 1e15 }))
  clock.advance(5)
  t.equal(fresh.find(shop, ann, 'b'), undefined)
  clock.advance(994)
  t.ok(fresh.find(shop, ann, 'a'))
  clock.advance(1)
  t.equal(fresh.find(shop, ann, 'a'), undefined, 'and not a moment longer')
  clock.advance(3_600_000 - 1001)
  t.ok(fresh.find(shop, ann, 'c'))
  clock.advance(1)
  t.equal(fresh.find(shop, ann, 'c'), undefined, 'but never longer than an hour')
})

t.test('what is not said to be fresh, or is no whole result, is not kept', async (t) => {
  const { fresh } = setUp()
  const others = [
    list({ ttlMs: 0 }),
    list({ ttlMs: -1000 }),
    list({ ttlMs: '1000' }),
    list({ ttlMs: undefined }),
    list({ ttlMs: null }),
    list({ resultType: 'input_required' }),
    list({ resultType: undefined }),
    failure('1', -32603, 'no', { ttlMs: 1000, resultType: 'complete' }),
  ]
  for (const other of others) {
    fresh.keep(shop, ann, 'tools/list', other)
    t.equal(fresh.find(shop, ann, 'tools/list'), undefined, other.text)
  }
})

t.test('the latest answer is the one that counts', async (t) => {
  const { fresh, clock } = setUp()
  fresh.keep(shop, ann, 'a', list())
  clock.advance(900)
  const second = list({ n: 2 })
  fresh.keep(shop, ann, 'a', second)
  clock.advance(900)
  t.equal(fresh.find(shop, ann, 'a'), second)
})

t.test('what is forgotten is forgotten for everybody, with all its pages', async (t) => {
  const { fresh } = setUp()
  const other = target('http://backend.test/other')
  fresh.keep(shop, ann, 'tools/list', list())
  fresh.keep(shop, bob, 'tools/list', list())
  fresh.keep(shop, ann, 'tools/list "2"', list({ cacheScope: 'public' }))
  fresh.keep(shop, ann, 'server/discover', list())
  fresh.keep(other, ann, 'tools/list', list())
  fresh.forget(shop, 'tools/list')
  t.equal(fresh.find(shop, ann, 'tools/list'), undefined)
  t.equal(fresh.find(shop, bob, 'tools/list'), undefined)
  t.equal(fresh.find(shop, bob, 'tools/list "2"'), undefined)
  t.ok(fresh.find(shop, ann, 'server/discover'))
  t.ok(fresh.find(other, ann, 'tools/list'))
})

t.test('no more than a thousand are kept: the oldest go', async (t) => {
  const { fresh } = setUp()
  for (let count = 0; count < 1000; count++) fresh.keep(shop, ann, `k${count}`, list())
  fresh.keep(shop, ann, 'k0', list())
  t.ok(fresh.find(shop, ann, 'k1'))
  fresh.keep(shop, ann, 'one more', list())
  t.equal(fresh.find(shop, ann, 'k1'), undefined)
  for (const kept of ['k0', 'k2', 'one more']) t.ok(fresh.find(shop, ann, kept), kept)
})
