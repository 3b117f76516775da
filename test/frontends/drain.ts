import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { Drain } from '../../src/frontends/drain.ts'

t.test(
  'a client that does not keep up is known by its first full write, and tasks wait for it',
  async (t) => {
    const keeper = { now: 5, add: () => () => {}, close() {} }
    const response = Object.assign(new EventEmitter(), { write: (data: string) => data !== 'full' })
    const drain = new Drain(response as unknown as ServerResponse, keeper)
    const done: string[] = []
    t.equal(drain.write('some'), true)
    drain.onceDrained(() => done.push('at once'))
    t.equal(drain.write('full'), false)
    keeper.now = 9
    t.equal(drain.write('full'), false)
    t.equal(drain.write('some'), false, 'until it has caught up')
    t.equal(drain.blockedSince, 5)
    drain.onceDrained(() => done.push('later'))
    t.same(done, ['at once'])
    response.emit('drain')
    t.same(done, ['at once', 'later'])
    t.equal(drain.blockedSince, undefined)
    drain.wake()
    t.equal(done.length, 2, 'each task once')
  },
)
