import t from 'tap'
import { ProxyError } from '../../src/errors.ts'
import type { Outlet, Reply } from '../../src/frontends/exchange.ts'
import type { Sink } from '../../src/protocol/passing.ts'
import { Delivery } from '../../src/proxy/delivery.ts'
import type { MemberPort } from '../../src/proxy/live-options.ts'
import { keptOutlet, keptReply, note, res, stagedServices } from '../fixtures/conversing.ts'
import type { KeptOutlet, KeptReply } from '../fixtures/conversing.ts'

const requestTime = 10_000

/** A reply that takes bytes, and what it was given. */
interface TakingReply extends KeptReply {
  readonly lengths: (number | undefined)[]
  text: string
  ended: boolean
}

function takingReply(): TakingReply {
  const reply: TakingReply = Object.assign(keptReply(), {
    lengths: [],
    text: '',
    ended: false,
    pass(length: number | undefined): Sink {
      reply.lengths.push(length)
      return {
        write(chunk) {
          reply.text += Buffer.from(chunk).toString()
          return !reply.slow
        },
        onceDrained: (task) => reply.onceDrained(task),
        end: () => void (reply.ended = true),
      }
    },
  })
  return reply
}

/** What goes back to the one client session `a`. */
function stage(outlets: KeptOutlet[] = []) {
  const services = stagedServices(requestTime)
  const slow: (Reply | Outlet)[] = []
  const expired: number[] = []
  let running = 0
  const port: MemberPort = {
    outlets,
    headers: {},
    negotiated() {},
    exchangeStarted: () => void running++,
    exchangeEnded: () => void running--,
  }
  const delivery = new Delivery(services, 'shop', new Map([['a', port]]), (way) => slow.push(way))
  const owner = {
    expire: ({ number }: { number: number }) => void expired.push(number),
    abandon() {},
  }
  const begin = (number: number, reply?: Reply): void => {
    const idText = String(number)
    const waits = { lasting: false, origin: undefined }
    services.pending.add({
      number,
      member: 'a',
      method: 'tools/call',
      reply,
      idText,
      owner,
      ...waits,
    })
    services.metrics.exchangeStarted()
    port.exchangeStarted()
  }
  const outcomes = (outcome: string) => services.metric('exchanges_total', `outcome="${outcome}"`)
  return { services, delivery, begin, slow, expired, outcomes, running: () => running }
}

const bytes = (text: string): Buffer => Buffer.from(text)

t.test('a response that passes goes to its reply, and its end ends the exchange', async (t) => {
  const { delivery, begin, services, outcomes, running } = stage()
  const reply = takingReply()
  begin(7, reply)
  const order: string[] = []
  const sink = delivery.pass(7, 12, () => order.push(`passed, ended: ${reply.ended}`))
  t.same(reply.lengths, [12])
  t.equal(sink?.write(bytes('{"a":')), true)
  sink?.write(bytes('1}'))
  t.equal(reply.text, '{"a":1}')
  t.same(order, [])
  t.equal(services.pending.size, 1)
  t.equal(running(), 1)
  services.clock.advance(2000)
  sink?.end()
  t.same(order, ['passed, ended: true'], 'once')
  t.equal(services.pending.size, 0)
  t.equal(running(), 0)
  t.equal(await outcomes('result'), 1)
  t.equal(await services.metric('exchanges_open'), 0)
  t.equal(await services.metric('exchange_seconds_sum'), 2)
})

t.test('a slow client is felt by whoever writes, and by nobody else', async (t) => {
  const { delivery, begin, slow } = stage()
  const reply = takingReply()
  begin(7, reply)
  const sink = delivery.pass(7, undefined, () => undefined)
  reply.slow = true
  t.equal(sink?.write(bytes('x')), false)
  let drained = 0
  sink?.onceDrained(() => drained++)
  t.equal(drained, 0)
  reply.drain()
  t.equal(drained, 1)
  t.same(slow, [], 'other exchanges of the backend session go on')
})

t.test('every chunk gives the exchange another full time', async (t) => {
  const { delivery, begin, services, expired } = stage()
  begin(7, takingReply())
  const sink = delivery.pass(7, undefined, () => undefined)
  for (let chunk = 0; chunk < 5; chunk++) {
    services.clock.advance(requestTime - 1000)
    sink?.write(bytes('x'))
  }
  t.same(expired, [])
  services.clock.advance(requestTime)
  t.same(expired, [7], 'but not more than that')
})

t.test('where a response cannot pass, there is no place for it', async (t) => {
  const { delivery, begin, services } = stage([keptOutlet()])
  const never = (): void => void t.fail('nothing has passed')
  t.equal(delivery.pass(99, 1, never), undefined, 'nobody has asked for it')
  begin(1)
  t.equal(delivery.pass(1, 1, never), undefined, 'it belongs on the standing stream')
  const reply = keptReply()
  begin(2, reply)
  t.equal(delivery.pass(2, 1, never), undefined, 'its client must have it whole')
  t.equal(services.pending.size, 2, 'they wait as before')
  delivery.finish(2, res(2))
  t.equal(reply.finished.length, 1)
})

t.test('an exchange that fails half-way has failed, whatever still comes', async (t) => {
  const { delivery, begin, services, outcomes, running } = stage()
  for (const [number, code] of [
    [7, 'BACKEND_STREAM_ENDED'],
    [8, 'CANCELLED'],
  ] as const) {
    const reply = takingReply()
    begin(number, reply)
    const sink = delivery.pass(number, undefined, () => undefined)
    sink?.write(bytes('x'))
    delivery.fail(number, new ProxyError(code, 'no more'))
    t.match(reply.failed, [{ code }])
    t.equal(services.pending.size, 0)
    sink?.end()
    t.equal(running(), 0, 'it has ended once')
  }
  t.equal(await outcomes('failed'), 1)
  t.equal(await outcomes('cancelled'), 1)
  t.equal(await outcomes('result'), 0)
})

t.test(
  'a message goes to its exchange, else to the newest stream, else it is counted',
  async (t) => {
    const outlets = [keptOutlet(), keptOutlet()]
    const { delivery, begin, slow, services } = stage(outlets)
    const message = note('notifications/message')
    const reply = keptReply()
    begin(7, reply)
    delivery.deliver({ type: 'deliver', member: 'a', exchange: 7, message })
    t.same(reply.messages, [message])
    reply.slow = true
    delivery.deliver({ type: 'deliver', member: 'a', exchange: 7, message })
    t.same(slow, [reply])
    delivery.deliver({ type: 'deliver', member: 'a', exchange: undefined, message })
    t.equal(outlets[0]?.messages.length, 0)
    t.same(outlets[1]?.messages, [message])
    t.equal(await services.metric('dropped_messages_total'), 0)
    delivery.deliver({ type: 'deliver', member: 'b', exchange: undefined, message })
    t.equal(await services.metric('dropped_messages_total'), 1)
  },
)

t.test('without a reply, responses and failures go to the newest stream', async (t) => {
  const outlet = keptOutlet()
  const { delivery, begin, slow } = stage([outlet])
  for (const number of [1, 2, 3]) begin(number)
  outlet.slow = true
  delivery.finish(1, res(1))
  t.same(slow, [outlet])
  delivery.fail(2, new ProxyError('BACKEND_TIMEOUT', 'too slow'))
  delivery.fail(3, new ProxyError('CANCELLED', 'called off'))
  t.match(
    outlet.messages.map(({ text }) => JSON.parse(text)),
    [{ id: 1 }, { id: 2, error: { message: 'too slow' } }],
    'a request that is called off gets none',
  )
  delivery.finish(1, res(1))
  t.equal(outlet.messages.length, 2, 'and each is answered once')
})
