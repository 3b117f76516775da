import t from 'tap'
import type { BackendSession } from '../../src/backends/backend.ts'
import { Links } from '../../src/proxy/links.ts'
import { stagedDialect, stagedServices, target } from '../fixtures/conversing.ts'
import type { StagedSession } from '../fixtures/conversing.ts'

function setUp(services = stagedServices()) {
  let disconnected = 0
  const links = new Links({
    route: 'shop',
    metrics: services.metrics,
    onDisconnected: () => void disconnected++,
  })
  const dialect = stagedDialect()
  const open = (): StagedSession => {
    dialect.open(target, {}, { message() {}, trouble() {}, gone() {} })
    links.add(dialect.last)
    return dialect.last
  }
  const streams = () => services.metric('open_streams', 'side="backend"')
  return { links, open, services, streams, disconnected: () => disconnected }
}

const same = (all: Iterable<BackendSession>, ...expected: BackendSession[]): boolean => {
  const given = [...all]
  return given.length === expected.length && expected.every((each) => given.includes(each))
}

t.test('a session that is given up is closed at once where nothing is on its way', async (t) => {
  const { links, open, disconnected } = setUp()
  const one = open()
  t.ok(same(links.open, one))
  t.equal(links.retire(one), true, 'it was the last one')
  t.equal(one.closed, true)
  t.equal(links.open.length, 0)
  t.equal(disconnected(), 1)
  t.equal(links.retire(one), false, 'but only once')
})

t.test('what is on its way ends first', async (t) => {
  const { links, open, disconnected } = setUp()
  const one = open()
  links.begin(one)
  links.begin(one)
  links.retire(one)
  t.equal(disconnected(), 1, 'what it announced no longer holds')
  t.equal(links.open.length, 0)
  t.ok(same(links.all, one), 'a request on it can still be called off')
  links.end(one)
  t.equal(one.closed, false)
  links.end(one)
  t.equal(one.closed, true)
  t.equal(links.all.size, 0)
})

t.test('a session that is not given up stays when its sends have ended', async (t) => {
  const { links, open } = setUp()
  const one = open()
  links.begin(one)
  links.end(one)
  t.equal(one.closed, false)
  t.ok(same(links.all, one))
  links.retire(one)
  t.equal(one.closed, true)
})

t.test('generations tell what was sent before all were given up', async (t) => {
  const { links, open } = setUp()
  const [one, two] = [open(), open()]
  const { generation } = links
  t.equal(links.retire(one), false, 'another one is open')
  t.equal(links.generation, generation)
  t.equal(links.retire(two), true)
  t.ok(links.generation > generation)
  const next = links.generation
  const busy = open()
  links.begin(busy)
  open()
  links.retireAll()
  t.ok(links.generation > next)
  t.equal(links.open.length, 0)
  t.equal(busy.closed, false, 'what is on its way ends first')
  links.end(busy)
  t.equal(busy.closed, true)
})

t.test('giving all up counts even where none is open', async (t) => {
  const { links } = setUp()
  const { generation } = links
  links.retireAll()
  t.ok(links.generation > generation)
})

t.test('closing waits for nothing', async (t) => {
  const { links, open } = setUp()
  const [one, two] = [open(), open()]
  links.begin(one)
  links.close()
  t.same([one.closed, two.closed], [true, true])
  t.equal(links.open.length, 0)
})

t.test('a stream that stands is counted once, until it has gone', async (t) => {
  const { links, open, services, streams } = setUp()
  const one = open()
  links.connected(one)
  links.connected(one)
  t.equal(await streams(), 1)
  t.equal(await services.metric('backend_connects_total', 'outcome="ok"'), 1)
  links.begin(one)
  links.retire(one)
  t.equal(await streams(), 0)
  links.end(one)
  t.equal(await streams(), 0)
  links.retire(open())
  t.equal(await streams(), 0, 'one that never stood is none')
})

t.test('sessions are taken over with what is on their way and their streams', async (t) => {
  const services = stagedServices()
  const ours = setUp(services)
  const other = setUp(services)
  const own = ours.open()
  const theirs = other.open()
  other.links.connected(theirs)
  other.links.begin(theirs)
  ours.links.absorb(other.links)
  t.equal(ours.links.open[0], theirs)
  t.equal(ours.links.open[1], own, 'what we sent to before is still sent to')
  t.equal(other.links.open.length, 0)
  other.links.close()
  t.equal(theirs.closed, false)
  t.equal(ours.links.retire(theirs), false)
  t.equal(theirs.closed, false, 'a send is on its way')
  t.equal(await ours.streams(), 0)
  ours.links.end(theirs)
  t.equal(theirs.closed, true)
})
