import t from 'tap'
import type { Test } from 'tap'
import type { Letter } from '../../src/fleet/letters.ts'
import { createMailbox, mailLifetime } from '../../src/fleet/mailbox.ts'
import { connectRedis, keyOf } from '../../src/sessions/redis.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { anyRedis } from '../fixtures/redis.ts'
import { waitFor } from '../fixtures/wait-for.ts'

const { url, prefix: common } = await anyRedis(t)
let fleets = 0
const newFleet = () => `${common}-${++fleets}`

interface Got {
  readonly from: string
  readonly letter: Letter
  readonly body: Buffer
}

function make(t: Test, prefix: string, replica: string, onLetter?: (got: Got) => void) {
  const clock = manualClock()
  const redis = connectRedis({ url, prefix })
  const reader = connectRedis({ url, prefix }, true)
  const got: Got[] = []
  const errors: unknown[] = []
  for (const connection of [redis, reader]) connection.on('error', () => undefined)
  const mailbox = createMailbox({
    redis,
    reader,
    prefix,
    replica,
    clock,
    onLetter(from, letter, body) {
      got.push({ from, letter, body })
      onLetter?.({ from, letter, body })
    },
    onError: (error) => void errors.push(error),
  })
  t.teardown(async () => {
    await mailbox.close()
    redis.disconnect()
  })
  const key = keyOf(prefix, 'mail', replica)
  return { mailbox, clock, redis, reader, got, errors, key }
}

const letter = (call: number): Letter => ({ type: 'gone', call })
const arrived = (got: readonly Got[], count: number) =>
  waitFor(() => got.length >= count, { what: `${count} letters` })

t.test('letters come in the order of their sending, with their bodies as bytes', async (t) => {
  const prefix = newFleet()
  const [one, two] = [make(t, prefix, 'one'), make(t, prefix, 'two')]
  const every = Uint8Array.from({ length: 256 }, (_, index) => index)
  const bodies = ['', 'ü\r\n', every, Buffer.from([0xff, 0x00, 0xc3])]
  const sent = bodies.map((body, index) => one.mailbox.send('two', letter(index), body))
  sent.push(one.mailbox.send('two', letter(bodies.length)))
  await Promise.all(sent)
  await arrived(two.got, sent.length)
  t.strictSame(
    two.got.map(({ from, letter, body }) => ({ from, letter, body: [...body] })),
    [...bodies, ''].map((body, index) => ({
      from: 'one',
      letter: letter(index),
      body: [...Buffer.from(body)],
    })),
  )
  t.same(one.got, [], 'and to nobody else')
})

t.test('many letters in one go and in several keep their order', async (t) => {
  const prefix = newFleet()
  const [one, two] = [make(t, prefix, 'one'), make(t, prefix, 'two')]
  const calls = Array.from({ length: 500 }, (_, index) => index)
  const sent: Promise<void>[] = []
  for (const call of calls) {
    sent.push(one.mailbox.send('two', letter(call)))
    if (call % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(sent)
  await arrived(two.got, calls.length)
  t.same(
    two.got.map(({ letter }) => letter.call),
    calls,
  )
})

t.test('a letter from before the reader began is read', async (t) => {
  const prefix = newFleet()
  const one = make(t, prefix, 'one')
  await one.mailbox.send('two', letter(1), 'early')
  const two = make(t, prefix, 'two')
  await one.mailbox.send('two', letter(2), 'late')
  await arrived(two.got, 2)
  t.same(
    two.got.map(({ body }) => body.toString()),
    ['early', 'late'],
  )
})

t.test('letters have an end, and go when they have been read', async (t) => {
  const prefix = newFleet()
  const one = make(t, prefix, 'one')
  await one.mailbox.send('two', letter(1))
  const key = keyOf(prefix, 'mail', 'two')
  const left = await one.redis.pttl(key)
  t.ok(left > mailLifetime - 5000 && left <= mailLifetime, `${left} ms`)
  await one.redis.pexpire(key, 10_000)
  await one.mailbox.send('two', letter(2))
  t.ok((await one.redis.pttl(key)) > 10_000, 'each letter renews it')
  t.equal(await one.redis.xlen(key), 2)
  const two = make(t, prefix, 'two')
  await arrived(two.got, 2)
  await waitFor(async () => (await one.redis.xlen(key)) === 0, { what: 'the letters to go' })
  for (const each of await one.redis.keys(`${prefix}:*`)) {
    t.ok((await one.redis.pttl(each)) > 0, each)
  }
})

t.test('a letter that cannot be read, or dealt with, holds up no other', async (t) => {
  const prefix = newFleet()
  const one = make(t, prefix, 'one')
  const two = make(t, prefix, 'two', (got) => {
    if (got.letter.call === 1) throw new Error('not this one')
  })
  await one.redis.xadd(two.key, '*', 'from', 'one', 'letter', '{', 'body', '')
  await one.redis.xadd(two.key, '*', 'other', 'fields')
  await one.mailbox.send('two', letter(1))
  await one.mailbox.send('two', letter(2))
  await arrived(two.got, 2)
  t.same(
    two.got.map(({ letter }) => letter.call),
    [1, 2],
  )
  t.match(two.errors, [SyntaxError, { message: 'not this one' }])
})

t.test('no letter is lost while the connection of the reader is', async (t) => {
  const prefix = newFleet()
  const [one, two] = [make(t, prefix, 'one'), make(t, prefix, 'two')]
  await one.mailbox.send('two', letter(1))
  await arrived(two.got, 1)
  two.reader.disconnect(true)
  await one.mailbox.send('two', letter(2))
  // Reading may have failed for a moment, after which it pauses.
  await waitFor(
    () => {
      two.clock.advance(200)
      return two.got.length >= 2
    },
    { what: 'the second letter' },
  )
  await one.mailbox.send('two', letter(3))
  await arrived(two.got, 3)
  t.same(
    two.got.map(({ letter }) => letter.call),
    [1, 2, 3],
    'and none comes twice',
  )
})

t.test('the close waits for the letters on their way', async (t) => {
  const prefix = newFleet()
  const one = make(t, prefix, 'one')
  let arrivals = 0
  t.equal(one.mailbox.sending, 0)
  for (const call of [1, 2]) void one.mailbox.send('two', letter(call)).then(() => arrivals++)
  t.equal(one.mailbox.sending, 2)
  await one.mailbox.close()
  t.equal(one.mailbox.sending, 0)
  t.equal(await one.redis.xlen(keyOf(prefix, 'mail', 'two')), 2)
  t.equal(arrivals, 2)
})

t.test('what is closed reads no more', async (t) => {
  const prefix = newFleet()
  const [one, two] = [make(t, prefix, 'one'), make(t, prefix, 'two')]
  await one.mailbox.send('two', letter(1))
  await arrived(two.got, 1)
  await waitFor(async () => (await one.redis.xlen(two.key)) === 0, { what: 'the letter to go' })
  await two.mailbox.close()
  await waitFor(() => two.reader.status === 'end', { what: 'the connection to end' })
  await one.mailbox.send('two', letter(2))
  t.equal(await one.redis.xlen(two.key), 1)
  t.equal(two.got.length, 1)
  t.same(two.errors, [])
})

t.test(
  'a letter that cannot be put there is refused, and does not hold up the close',
  async (t) => {
    const { mailbox, redis } = make(t, newFleet(), 'one')
    redis.disconnect()
    const failed = t.rejects(mailbox.send('two', letter(1)))
    await mailbox.close()
    await failed
    t.equal(mailbox.sending, 0)
  },
)
