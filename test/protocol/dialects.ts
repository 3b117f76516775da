import t from 'tap'
import {
  dialects,
  isAtLeast,
  isModern,
  isRevision,
  modernRevision,
  newestRevision,
  revisions,
  servedRevisions,
} from '../../src/protocol/dialects.ts'

t.test('what each dialect can do', async (t) => {
  t.match(dialects, {
    // All answers come on the one stream of the session.
    sse: { handshake: true, oneStream: true, serverRequests: true, cancel: 'message' },
    streamable: { handshake: true, oneStream: false, serverRequests: true, cancel: 'message' },
    // Each request says who asks; what the server asks is part of its result.
    stateless: { handshake: false, oneStream: false, serverRequests: false, cancel: 'close' },
    // A POST and its answer are all there is.
    rpc: { handshake: false, oneStream: false, serverRequests: false, cancel: 'close' },
  })
})

t.test('one dialect alone carries everything in its requests', async (t) => {
  const modern = Object.entries(dialects).filter(([, { modern }]) => modern)
  t.same(
    modern.map(([name]) => name),
    ['stateless'],
  )
})

t.test('the revision without initialize is served, and is none of those with it', async (t) => {
  t.equal(modernRevision, '2026-07-28')
  t.notOk(isRevision(modernRevision))
  t.same(servedRevisions, ['2026-07-28', '2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'])
})

t.test('a revision without initialize is told by its date, known or not', async (t) => {
  for (const modern of ['2026-07-28', '2026-08-01', '2099-01-01', '2026-07-28-rc1']) {
    t.equal(isModern(modern), true, modern)
  }
  const others = [
    '2026-07-27',
    '2025-11-25',
    'draft',
    'DRAFT-2026-v1',
    '3',
    '2026-08',
    '',
    ' 2099-01-01',
  ]
  for (const other of [...others, 20260728, undefined, null, ['2026-07-28']]) {
    t.equal(isModern(other), false, String(other))
  }
})

t.test('revisions are known, oldest first', async (t) => {
  t.same([...revisions].sort(), revisions)
  t.equal(newestRevision, revisions.at(-1))
  for (const revision of revisions) t.ok(isRevision(revision), revision)
  for (const other of ['1.0', '2099-01-01', '', undefined, 20241105, null]) {
    t.notOk(isRevision(other), String(other))
  }
})

t.test('revisions are compared by their date', async (t) => {
  t.ok(isAtLeast('2025-06-18', '2025-06-18'))
  t.ok(isAtLeast('2025-11-25', '2025-06-18'))
  t.ok(isAtLeast('2099-01-01', '2025-11-25'), 'one that is yet to come')
  t.notOk(isAtLeast('2025-03-26', '2025-06-18'))
})
