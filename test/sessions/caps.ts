import t from 'tap'
import { idlest, noRoom } from '../../src/sessions/caps.ts'

t.test('the least recently used goes, unless it is held or does not suit', async (t) => {
  const entry = (turn: number, holds = 0) => ({ turn, holds })
  const entries = [entry(3), entry(1, 1), entry(2), entry(4)]
  t.equal(idlest(entries)?.turn, 2)
  t.equal(idlest(entries, ({ turn }) => turn > 2)?.turn, 3)
  t.equal(
    idlest(entries, ({ turn }) => turn > 4),
    undefined,
  )
  t.equal(idlest([entry(1, 1)]), undefined)
})

t.test('where nobody can go, the limit is named', async (t) => {
  t.match(noRoom('limits.sessions is 5'), {
    code: 'LIMIT_REACHED',
    retryAfter: 5,
    message: 'too many sessions: limits.sessions is 5, all in use',
  })
})
