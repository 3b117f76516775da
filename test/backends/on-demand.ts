import { Readable } from 'node:stream'
import t from 'tap'
import { onDemand } from '../../src/backends/on-demand.ts'

const bodyOf = (...chunks: string[]): Readable =>
  Readable.from(chunks.map((each) => Buffer.from(each)))

const read = async (stream: Readable): Promise<string> => {
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  return text
}

t.test(
  'a body is read by the first that reads, not by those that were given up before',
  async (t) => {
    const body = bodyOf('one ', 'two')
    const given = onDemand(body)
    given.on('error', () => undefined)
    given.destroy(new Error('no connection'))
    t.equal(body.destroyed, false)
    t.equal(await read(onDemand(body)), 'one two')
    await t.rejects(read(onDemand(body)), /sent before/)
  },
)

t.test('giving up in the middle, and an error of the body, go to the other side', async (t) => {
  const body = new Readable({ read() {} })
  const reader = onDemand(body)
  body.push('half')
  const half = new Promise((resolve) => reader.once('data', resolve))
  t.equal(String(await half), 'half')
  const gone = new Promise((resolve) => body.once('close', resolve))
  reader.destroy()
  await gone

  const broken = new Readable({ read() {} })
  const other = read(onDemand(broken))
  broken.push('half')
  setImmediate(() => broken.destroy(new Error('not JSON')))
  await t.rejects(other, /not JSON/)
})
