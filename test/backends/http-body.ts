import t from 'tap'
import { HttpBody } from '../../src/backends/http-body.ts'

/** A body, what its source was told, and what its reader has heard. */
function body() {
  const told: string[] = []
  const it = new HttpBody({
    abort: (error: Error) => void told.push(`abort ${error.message}`),
    pause: () => void told.push('pause'),
    resume: () => void told.push('resume'),
  })
  const heard: string[] = []
  const listen = (): void => {
    it.on('data', (chunk: Uint8Array) => void heard.push(Buffer.from(chunk).toString()))
    for (const event of ['end', 'close']) it.on(event, () => void heard.push(`(${event})`))
    it.on('error', (error: Error) => void heard.push(`(${error.message})`))
  }
  const push = (...texts: string[]) => texts.forEach((text) => it.push(Buffer.from(text)))
  return { it, told, heard, listen, push }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('chunks of one turn come as one', async (t) => {
  const { it, heard, listen, push } = body()
  listen()
  push('a', 'b')
  await turn()
  push('c')
  await turn()
  push('d')
  it.end()
  await turn()
  t.same(heard, ['ab', 'c', 'd', '(end)', '(close)'])
})

t.test('what came before it broke off is heard', async (t) => {
  const { it, heard, listen, push } = body()
  listen()
  push('a', 'b')
  it.fail(new Error('reset'))
  await turn()
  t.same(heard, ['ab', '(reset)', '(close)'])
})

t.test('while it is paused nothing comes, and the source waits', async (t) => {
  const { it, told, heard, listen, push } = body()
  listen()
  it.pause()
  push('a')
  push('b')
  await turn()
  t.same(heard, [])
  t.same(told, ['pause'])
  it.resume()
  await turn()
  t.same(heard, ['ab'])
  t.same(told, ['pause', 'resume'])
})

t.test('a reader that pauses in the middle is not given the end', async (t) => {
  const { it, heard, push } = body()
  it.on('data', (chunk: Uint8Array) => {
    heard.push(Buffer.from(chunk).toString())
    it.pause()
  })
  it.on('end', () => void heard.push('(end)'))
  push('a')
  it.end()
  await turn()
  t.same(heard, ['a'])
  it.resume()
  await turn()
  t.same(heard, ['a', '(end)'])
})

t.test('a body that has come before anybody listens can be taken whole, once', async (t) => {
  const { it, told, heard, push } = body()
  push('a', 'b')
  t.equal(it.takeWhole(), undefined, 'its end has not come')
  it.end()
  t.same(it.takeWhole()?.map(String), ['a', 'b'])
  t.equal(it.takeWhole(), undefined)
  t.equal(it.readableEnded, true)
  it.destroy()
  await turn()
  t.same(told, [])
  t.same(heard, [])
})

t.test('nobody listens: the source waits after 64 KiB, and an error ends nothing', async (t) => {
  const { it, told, push } = body()
  push('x'.repeat(65_536))
  t.same(told, [])
  push('x')
  t.same(told, ['pause'])
  it.destroy(new Error('given up'))
  await turn()
  t.same(told, ['pause', 'abort given up'])
})
