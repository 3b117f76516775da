import t from 'tap'
import type { Test } from 'tap'
import { Hosting } from '../../src/fleet/hosting.ts'
import type { ToClient, VisitLetter } from '../../src/fleet/letters.ts'
import type { Visit } from '../../src/frontends/exchange.ts'
import { manualClock } from '../fixtures/manual-clock.ts'

interface Sent {
  readonly to: string
  readonly letter: ToClient
  readonly body: string | undefined
}

/** Another replica's requests come in here; what is sent back is kept. */
function make(t: Test) {
  const clock = manualClock()
  const sent: Sent[] = []
  const served: { readonly visit: Visit; readonly dialect: string }[] = []
  const gone = new Set<string>()
  const state = {
    hosts: (id: string): boolean | Promise<boolean> => id === 'here',
    /** Which letters cannot be sent. */
    fails: (_letter: ToClient): boolean => false,
    lives: async (id: string): Promise<boolean> => !gone.has(id),
  }
  const hosting = new Hosting({
    clock,
    async send(to, letter, body) {
      if (state.fails(letter)) throw new Error('away')
      sent.push({ to, letter, body: body === undefined ? undefined : Buffer.from(body).toString() })
    },
    lives: (id) => state.lives(id),
    hosts: (id) => state.hosts(id),
    principalOf: (headers) => `who sent ${headers['authorization']}`,
    serve: (visit, dialect) => void served.push({ visit, dialect }),
  })
  t.teardown(() => hosting.close())
  return {
    hosting,
    clock,
    sent,
    served,
    gone,
    state,
    letters: () => sent.map(({ letter }) => letter),
    visit(letter: Partial<VisitLetter> = {}, body = '', from = 'other') {
      hosting.receive(from, { ...visitLetter, ...letter }, Buffer.from(body))
      return served.at(-1)?.visit.response
    },
  }
}

const visitLetter: VisitLetter = {
  type: 'visit',
  call: 7,
  dialect: 'streamable',
  method: 'GET',
  headers: { accept: 'text/event-stream', 'last-event-id': '3' },
  caller: {
    route: 'shop',
    parameters: { city: 'Ulm' },
    headers: { authorization: 'x' },
    address: '127.0.0.9',
  },
  sessionId: 'here',
  messagesPath: '/mcp',
}
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

t.test('a client that leaves while its session is being taken over is not served', async (t) => {
  const { visit, served, state, hosting } = make(t)
  state.hosts = async () => true
  visit()
  hosting.receive('other', { type: 'gone', call: 7 }, Buffer.alloc(0))
  await turn()
  t.ok(served.length === 0 || served[0]?.visit.response.destroyed, 'served to nobody')
})
t.test('a visit that comes twice is served once', async (t) => {
  const { visit, served } = make(t)
  visit()
  visit()
  t.equal(served.length, 1)
})
t.test('a body that is no message is answered', async (t) => {
  const { visit, sent } = make(t)
  t.doesNotThrow(() => visit({ method: 'POST' }, ''))
  await turn()
  t.equal(sent.length, 1)
})
