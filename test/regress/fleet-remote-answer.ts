import t from 'tap'
import { RemoteAnswer } from '../../src/fleet/remote-answer.ts'

/** An answer to call 7, what it has sent, and what it has said to its frontend. */
function make() {
  const sent: { part: object; body: string | undefined }[] = []
  const told: string[] = []
  const answer = new RemoteAnswer(7, (part, body) => {
    sent.push({ part, body: body === undefined ? undefined : Buffer.from(body).toString() })
  })
  for (const name of ['finish', 'close', 'drain']) answer.on(name, () => void told.push(name))
  return { answer, sent, told }
}

t.test('a head that has waited is not sent to a client that has gone', async (t) => {
  const { answer, sent } = make()
  answer.writeHead(200)
  answer.gone()
  answer.flushHeaders()
  t.same(sent, [])
})
