import t from 'tap'
import type { Caller } from '../../src/frontends/exchange.ts'
import type { Json, JsonObject, Request } from '../../src/protocol/jsonrpc.ts'
import type { Live } from '../../src/proxy/live.ts'
import { createParks, inOrder, originOf, tooManyParked } from '../../src/proxy/parks.ts'
import type { Parks } from '../../src/proxy/parks.ts'
import { createRequestStates, keyLength } from '../../src/proxy/request-state.ts'
import { caller, req } from '../fixtures/conversing.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

const states = createRequestStates(() => Buffer.alloc(keyLength, 'a secret'))
const ann = caller({ parameters: { shop: '1' } })
const first: JsonObject = { name: 'add', arguments: { a: 1, b: [{ c: 2, d: 3 }] } }
const asking = (params: JsonObject = first, method = 'tools/call'): Request =>
  req(1, method, { ...params, _meta: { progressToken: 1 } })
const back = (requestState: Json | undefined, params: JsonObject = first, method = 'tools/call') =>
  req(2, method, { ...params, _meta: { x: 1 }, requestState, inputResponses: { q1: {} } })

/** The parks of a replica, and what was given up. */
function setUp(limits = { parked: 3, parkTime: 10_000 }, replica = 'r1') {
  const clock = manualClock()
  const givenUp: [number, string][] = []
  const live = {
    get current() {
      return live
    },
    giveUp: (number: number, why: string) => void givenUp.push([number, why]),
  } as unknown as Live
  const parks = createParks({ clock, states, limits, replica })
  const add = (number = 7, round = 1, who: Caller = ann, message = asking()): string => {
    const state = parks.add({ number, live, member: 'single', round }, originOf(who, message))
    if (state === undefined) throw new Error('too many wait')
    return state
  }
  const refuses = (message: Request, who: Caller = ann, by: Parks = parks): boolean => {
    try {
      by.take(who, message)
      return false
    } catch (error) {
      return (error as { code?: string }).code === 'PARAMS_INVALID'
    }
  }
  return { clock, live, parks, add, refuses, givenUp }
}

t.test('who comes back with its state goes on where it was', async (t) => {
  const { parks, live, add } = setUp()
  const state = add()
  t.equal(parks.size, 1)
  t.match(parks.take(ann, back(state)), { number: 7, live, member: 'single', round: 1 })
  t.equal(parks.size, 0)
})

t.test('a state is good for once', async (t) => {
  const { parks, add, refuses } = setUp()
  const state = add()
  parks.take(ann, back(state))
  t.ok(refuses(back(state)))
})

t.test('what of a request may differ when it comes back', async (t) => {
  const same: [string, Request, Caller][] = [
    ['id, _meta and answers', back('', first), ann],
    [
      'the order of members',
      back('', { arguments: { b: [{ d: 3, c: 2 }], a: 1 }, name: 'add' }),
      ann,
    ],
    ['another address', back('', first), { ...ann, address: '127.0.0.9' }],
    [
      'another token of the same user',
      back('', first),
      caller({ ...ann, headers: { ...ann.headers, authorization: 'Bearer two' } }),
    ],
    [
      'copies of arguments in headers',
      back('', first),
      caller({ ...ann, headers: { ...ann.headers, 'mcp-param-a': '1' } }),
    ],
  ]
  for (const [name, message, who] of same) {
    const { parks, add } = setUp()
    const token: Record<string, string> =
      'authorization' in who.headers ? { authorization: 'Bearer one' } : {}
    const state = add(7, 1, caller({ ...ann, headers: { ...ann.headers, ...token } }))
    const params = { ...(message.value['params'] as JsonObject), requestState: state }
    t.equal(parks.take(who, req(9, 'tools/call', params)).number, 7, name)
  }
})

t.test('another caller or another request gets nothing, and takes nothing away', async (t) => {
  const cases: [string, (state: string) => Request, Caller?][] = [
    ['another user', back, caller({ ...ann, headers: { 'x-user-id': 'bob' } })],
    ['nobody', back, caller({ ...ann, headers: {} })],
    [
      'one who has come by a token',
      back,
      caller({ ...ann, headers: { ...ann.headers, authorization: 'Bearer x' } }),
    ],
    ['another route', back, caller({ ...ann, route: 'other' })],
    ['other parameters of the route', back, caller({ ...ann, parameters: { shop: '2' } })],
    ['another method', (state) => back(state, first, 'prompts/get')],
    ['another tool', (state) => back(state, { ...first, name: 'sub' })],
    ['other arguments', (state) => back(state, { ...first, arguments: { a: 2 } })],
    ['more arguments', (state) => back(state, { ...first, extra: null })],
    ['fewer arguments', (state) => back(state, { name: 'add' })],
    ['another order of a list', (state) => back(state, { ...first, arguments: [2, 1] })],
    ['no state', () => back(undefined)],
    ['no text', () => back(7)],
    ['nothing in it', () => back('')],
    ['a list with it', (state) => back([state])],
    ['a forged state', (state) => back(`${state.slice(0, -4)}AAAA`)],
    ['another spelling', (state) => back(`${state}=`)],
  ]
  for (const [name, message, who = ann] of cases) {
    const { parks, add, refuses } = setUp()
    const state = add()
    t.ok(refuses(message(state), who), name)
    t.equal(parks.take(ann, back(state)).number, 7, `${name}: it still waits for its own`)
  }
})

t.test('a state of an earlier round is over', async (t) => {
  const { parks, add, refuses } = setUp()
  const one = add(7, 1)
  parks.take(ann, back(one))
  const two = add(7, 2)
  t.ok(refuses(back(one)), 'though its exchange waits again')
  t.equal(parks.take(ann, back(two)).round, 2)
})

t.test('a state of another exchange brings back that one only', async (t) => {
  const { parks, add } = setUp()
  const [one, two] = [add(1), add(2)]
  t.equal(parks.take(ann, back(two)).number, 2)
  t.equal(parks.take(ann, back(one)).number, 1)
})

t.test('what was sealed with another key is nobody’s', async (t) => {
  const { parks, live, refuses } = setUp()
  const strange = createRequestStates(() => Buffer.alloc(keyLength, 'another'))
  const other = createParks({
    clock: manualClock(),
    states: strange,
    limits: { parked: 3, parkTime: 10_000 },
    replica: 'r1',
  })
  const park = { number: 7, live, member: 'single', round: 1 }
  const state = other.add(park, originOf(ann, asking()))
  t.ok(refuses(back(state)))
  t.equal(parks.elsewhere(back(state)), undefined)
})

t.test('no more may wait than the limit says', async (t) => {
  const { parks, live, add } = setUp()
  const state = add(1)
  add(2)
  add(3)
  const park = { number: 4, live, member: 'single', round: 1 }
  t.equal(parks.add(park, originOf(ann, asking())), undefined)
  t.equal(parks.size, 3)
  parks.take(ann, back(state))
  t.ok(parks.add(park, originOf(ann, asking())))
  t.match(tooManyParked(), { code: 'LIMIT_REACHED', status: 503, message: /limits\.parked/ })
})

t.test('what waits too long is given up', async (t) => {
  const { clock, parks, add, refuses, givenUp } = setUp()
  const one = add(1)
  clock.advance(5000)
  const two = add(2)
  clock.advance(4999)
  t.same(givenUp, [])
  clock.advance(1)
  t.match(givenUp, [[1, /limits\.parkTime, 10000 ms/]])
  t.ok(refuses(back(one)))
  t.equal(parks.take(ann, back(two)).number, 2)
  clock.advance(60_000)
  t.equal(givenUp.length, 1, 'what was taken is not')
})

t.test('its time is over at its end, not when somebody looks', async (t) => {
  const { clock, add, refuses, givenUp } = setUp({ parked: 3, parkTime: 1500 })
  const state = add()
  clock.advance(1500)
  t.same(givenUp, [], 'nobody has looked yet')
  t.ok(refuses(back(state)))
  clock.advance(500)
  t.equal(givenUp.length, 1, 'its backend hears of it all the same')
})

t.test('an exchange is given up by the conversation that serves it now', async (t) => {
  const { clock, live, parks, givenUp } = setUp()
  const merged = { current: live } as unknown as Live
  parks.add({ number: 5, live: merged, member: 'single', round: 1 }, originOf(ann, asking()))
  clock.advance(10_000)
  t.match(givenUp, [[5, /parkTime/]])
})

t.test('a short time is looked after more often', async (t) => {
  const { clock, add, givenUp } = setUp({ parked: 3, parkTime: 50 })
  add()
  clock.advance(100)
  t.equal(givenUp.length, 1)
})

t.test('a state leads to the replica where its request waits', async (t) => {
  const one = setUp(undefined, 'r1')
  const two = setUp(undefined, 'r2')
  const state = one.add()
  t.equal(two.parks.elsewhere(back(state)), 'r1')
  t.equal(one.parks.elsewhere(back(state)), undefined)
  t.ok(two.refuses(back(state)), 'and is good for nothing on another')
  for (const odd of [undefined, 7, '', `${state}=`, `${state.slice(0, -4)}AAAA`]) {
    t.equal(two.parks.elsewhere(back(odd)), undefined, String(odd))
  }
  t.equal(one.parks.take(ann, back(state)).number, 7)
})

t.test('the same number on another replica is another request', async (t) => {
  const one = setUp(undefined, 'r1')
  const two = setUp(undefined, 'r2')
  const state = one.add(7)
  two.add(7)
  t.ok(two.refuses(back(state)))
  t.equal(two.parks.size, 1)
})

t.test('closing gives nothing up and waits for nothing', async (t) => {
  const { clock, parks, add, refuses, givenUp } = setUp()
  const state = add()
  parks.close()
  t.equal(parks.size, 0)
  t.ok(refuses(back(state)))
  clock.advance(60_000)
  t.same(givenUp, [])
  t.equal(clock.waiting, 0)
})

t.test('JSON is put in order by the names of members', async (t) => {
  const deep = '['.repeat(50_000) + ']'.repeat(50_000)
  const cases: [string, string][] = [
    ['{"b":1, "a":{"d":2,"c":[3,{"f":4,"e":5}]}}', '{"a":{"c":[3,{"e":5,"f":4}],"d":2},"b":1}'],
    ['[2, 1]', '[2,1]'],
    ['"text"', '"text"'],
    ['null', 'null'],
    ['{"__proto__":{"b":1,"a":2}}', '{"__proto__":{"a":2,"b":1}}'],
    ['{"toJSON":"x","a":1}', '{"a":1,"toJSON":"x"}'],
    [deep, deep],
  ]
  for (const [text, expected] of cases) t.ok(inOrder(text) === expected, text.slice(0, 50))
})
