import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Admission } from '../../src/auth/guard.ts'
import { createRateLimits } from '../../src/auth/rate-limits.ts'
import { createAuthorization } from '../../src/proxy/authorization.ts'
import { createRouter } from '../../src/proxy/router.ts'
import { configured } from '../fixtures/configured.ts'
import { stagedServices } from '../fixtures/conversing.ts'

/** An answer that is only looked at for its end. */
function answer() {
  let destroyed = false
  const events = new EventEmitter()
  const response = Object.assign(events, { destroy: () => void (destroyed = true) })
  return { response: response as unknown as ServerResponse, isOver: () => destroyed, events }
}

function setUp() {
  const services = stagedServices()
  const config = configured({
    routes: [{ name: 'a', path: '/a', backend: { url: 'http://b.test' } }],
  })
  const limits = createRateLimits({})
  const route = createRouter(config.routes)
  return { services, authorization: createAuthorization({ config, services, limits, route }) }
}

const until = (expires: number | undefined): Admission => ({
  principal: 'ann',
  client: undefined,
  expires,
  parameters: {},
  permit() {},
  headers: async (inbound) => ({ ...inbound }),
})

t.test('an answer ends a minute after its credential', (t) => {
  const { services, authorization } = setUp()
  const { response, isOver } = answer()
  authorization.endWith(until(Date.now() + 10_000), response)
  services.clock.advance(60_000)
  t.equal(isOver(), false)
  services.clock.advance(11_000)
  t.equal(isOver(), true)
  t.end()
})

t.test('one that has ended by itself leaves no timer', (t) => {
  const { services, authorization } = setUp()
  const before = services.clock.due.length
  const { response, events } = answer()
  authorization.endWith(until(Date.now() + 10_000), response)
  t.equal(services.clock.due.length, before + 1)
  events.emit('close')
  t.equal(services.clock.due.length, before)
  t.end()
})

t.test('a credential without an end ends nothing', (t) => {
  const { services, authorization } = setUp()
  const before = services.clock.due.length
  authorization.endWith(until(undefined), answer().response)
  authorization.endWith(undefined, answer().response)
  t.equal(services.clock.due.length, before)
  t.end()
})
