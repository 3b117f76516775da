import t from 'tap'
import {
  dialects,
  isAtLeast,
  isRevision,
  newestRevision,
  revisions,
} from '../../src/protocol/dialects.ts'

t.test('what each dialect can do', async (t) => {
  t.match(dialects, {
    // All answers come on the one stream of the session.
    sse: { handshake: true, oneStream: true, serverRequests: true, cancel: 'message' },
    streamable: { handshake: true, oneStream: false, serverRequests: true, cancel: 'message' },
    // A POST and its answer are all there is.
    rpc: { handshake: false, oneStream: false, serverRequests: false, cancel: 'close' },
  })
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
