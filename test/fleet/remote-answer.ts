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

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
const head = {
  type: 'head',
  call: 7,
  status: 200,
  headers: { 'content-type': 'text/plain' },
} as const
const data = { type: 'data', call: 7 } as const

t.test('a small answer travels in one part', async (t) => {
  const { answer, sent } = make()
  const headers = { 'content-type': 'text/plain', 'content-length': 2 }
  answer.writeHead(404, headers)
  t.equal(answer.headersSent, true)
  t.equal(answer.statusCode, 404)
  t.same(sent, [], 'the head waits for what follows')
  headers['content-length'] = 3
  answer.end('no')
  t.strictSame(sent, [
    {
      part: {
        type: 'head',
        call: 7,
        status: 404,
        headers: { 'content-type': 'text/plain', 'content-length': 2 },
        end: true,
      },
      body: 'no',
    },
  ])
})

t.test('an answer without a body is one part as well', async (t) => {
  const { answer, sent } = make()
  answer.writeHead(202).end()
  t.strictSame(sent, [
    { part: { type: 'head', call: 7, status: 202, headers: {}, end: true }, body: '' },
  ])
})

t.test('the head goes alone when it is asked to, and only once', async (t) => {
  const { answer, sent } = make()
  answer.flushHeaders()
  t.same(sent, [], 'there is none yet')
  answer.writeHead(200, head.headers)
  answer.flushHeaders()
  answer.flushHeaders()
  t.strictSame(sent, [{ part: { ...head, end: false }, body: '' }])
  answer.write('a')
  answer.end('b')
  t.strictSame(sent.slice(1), [
    { part: { ...data, end: false }, body: 'a' },
    { part: { ...data, end: true }, body: 'b' },
  ])
})

t.test('the beginning of a stream goes with the head, text or bytes', async (t) => {
  const { answer, sent } = make()
  answer.writeHead(200, head.headers)
  answer.write(Buffer.from('ü'))
  t.equal(answer.writableLength, 2)
  answer.write('ü')
  t.equal(answer.writableLength, 4, 'bytes are counted, not characters')
  t.strictSame(sent, [
    { part: { ...head, end: false }, body: 'ü' },
    { part: { ...data, end: false }, body: 'ü' },
  ])
})

t.test('a client that does not keep up is waited for', async (t) => {
  const { answer, told } = make()
  answer.writeHead(200)
  t.equal(answer.write('x'.repeat(65_536)), true, '64 KiB may be under way')
  t.equal(answer.write('x'), false)
  t.equal(answer.write('x'), false)
  answer.read(1)
  t.equal(answer.write(''), false, 'one byte too many is left')
  t.same(told, [])
  answer.read(1)
  t.same(told, ['drain'])
  t.equal(answer.write(''), true)
  answer.read(65_536)
  t.same(told, ['drain'], 'it is told once')
  t.equal(answer.writableLength, 0)
})

t.test('the end is told once, after whoever ended it has gone on', async (t) => {
  const { answer, sent, told } = make()
  answer.writeHead(200).end('x')
  t.equal(answer.writableEnded, true)
  t.equal(answer.destroyed, false)
  t.same(told, [])
  answer.end('y')
  t.equal(answer.write('z'), true)
  await turn()
  t.same(told, ['finish', 'close'])
  t.equal(answer.destroyed, true)
  answer.end('y')
  answer.destroy()
  answer.gone()
  await turn()
  t.same(told, ['finish', 'close'])
  t.equal(sent.length, 1)
})

t.test('an answer that is broken off says so once', async (t) => {
  const { answer, sent, told } = make()
  answer.writeHead(200, head.headers)
  answer.flushHeaders()
  answer.destroy()
  answer.destroy()
  t.same(told, ['close'])
  t.equal(answer.destroyed, true)
  answer.write('x')
  answer.end('x')
  await turn()
  t.same(told, ['close'])
  t.strictSame(sent.slice(1), [{ part: { type: 'cut', call: 7 }, body: undefined }])
})

t.test('nothing is sent to a client that has gone', async (t) => {
  const { answer, sent, told } = make()
  answer.writeHead(200, head.headers)
  answer.write('x')
  answer.gone()
  answer.gone()
  t.same(told, ['close'])
  t.equal(answer.write('y'), true, 'nobody need wait for it')
  answer.end('z')
  answer.destroy()
  await turn()
  t.same(told, ['close'])
  t.equal(answer.writableEnded, false, 'it did not come to its end')
  t.equal(sent.length, 1)
})

t.test('a head that has waited is not sent to a client that has gone', async (t) => {
  const { answer, sent } = make()
  answer.writeHead(200)
  answer.gone()
  answer.flushHeaders()
  t.same(sent, [])
})
