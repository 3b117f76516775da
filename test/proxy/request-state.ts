import { createCipheriv, randomBytes } from 'node:crypto'
import t from 'tap'
import { createRequestStates, keyLength } from '../../src/proxy/request-state.ts'
import type { ParkClaims } from '../../src/proxy/request-state.ts'

const key = randomBytes(keyLength)
const states = createRequestStates(() => key)
const claims: ParkClaims = {
  replica: 'r1',
  exchange: 7,
  round: 1,
  principal: 'who-asks',
  request: 'what-for',
}

t.test('what is sealed is opened with the same key, on any replica', async (t) => {
  t.same(states.open(states.seal(claims)), claims)
  const other = createRequestStates(() => Buffer.from(key))
  t.same(other.open(states.seal(claims)), claims)
})

t.test('it tells its bearer nothing, and is never the same twice', async (t) => {
  const one = states.seal(claims)
  t.match(one, /^[\w-]+$/, 'one word that any client can carry')
  t.not(states.seal(claims), one)
  const bytes = Buffer.from(one, 'base64url').toString('latin1')
  for (const word of ['replica', 'r1', 'who-asks', 'what-for']) t.notOk(bytes.includes(word), word)
})

t.test('the key is asked for each time, because it may come late', async (t) => {
  let late = randomBytes(keyLength)
  const changing = createRequestStates(() => late)
  const before = changing.seal(claims)
  late = key
  t.equal(changing.open(before), undefined)
  t.same(changing.open(states.seal(claims)), claims)
})

t.test('another key opens nothing', async (t) => {
  const stranger = createRequestStates(() => randomBytes(keyLength))
  t.equal(stranger.open(states.seal(claims)), undefined)
  t.equal(states.open(stranger.seal(claims)), undefined)
})

t.test('a change anywhere opens nothing', async (t) => {
  const bytes = Buffer.from(states.seal(claims), 'base64url')
  let opened = 0
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    if (states.open(changed.toString('base64url')) !== undefined) opened++
  }
  t.equal(opened, 0)
})

t.test('a part, or more than the whole, opens nothing', async (t) => {
  const bytes = Buffer.from(states.seal(claims), 'base64url')
  let opened = 0
  for (let length = 0; length < bytes.length; length++) {
    if (states.open(bytes.subarray(0, length).toString('base64url')) !== undefined) opened++
  }
  t.equal(opened, 0)
  t.equal(states.open(Buffer.concat([bytes, Buffer.from('x')]).toString('base64url')), undefined)
  t.equal(states.open(Buffer.concat([bytes, bytes]).toString('base64url')), undefined)
})

t.test('another spelling of the same bytes opens nothing', async (t) => {
  // One length in three has bits to spare in its last letter, and one in three none at all.
  for (const replica of ['r', 'rr', 'rrr']) {
    const state = states.seal({ ...claims, replica })
    t.same(states.open(state), { ...claims, replica })
    const bytes = Buffer.from(state, 'base64url')
    const others = [
      `${state}=`,
      `${state}==`,
      ` ${state}`,
      `${state}\n`,
      `${state.slice(0, 5)} ${state.slice(5)}`,
      `${state}\u00e9`,
      ...[...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].map(
        (letter) => state.slice(0, -1) + letter,
      ),
    ].filter((each) => each !== state)
    const same = others.filter((each) => Buffer.from(each, 'base64url').equals(bytes))
    t.ok(same.length >= 6, 'these are the same bytes to a decoder')
    for (const other of others) t.equal(states.open(other), undefined, other)
    const standard = bytes.toString('base64')
    if (standard !== state) t.equal(states.open(standard), undefined)
  }
})

t.test('what is no state at all opens nothing', async (t) => {
  for (const text of ['', '.', 'AAAA', 'null', '{}', 'x'.repeat(100_000), '\u{1f600}']) {
    t.equal(states.open(text), undefined, text.slice(0, 20))
  }
})

t.test('what the same key has sealed for another purpose opens nothing', async (t) => {
  for (const purpose of [undefined, 'causeway something else']) {
    const nonce = randomBytes(12)
    const sealing = createCipheriv('aes-256-gcm', key, nonce)
    if (purpose !== undefined) sealing.setAAD(Buffer.from(purpose))
    const text = Buffer.concat([sealing.update(JSON.stringify(claims)), sealing.final()])
    const state = Buffer.concat([nonce, sealing.getAuthTag(), text]).toString('base64url')
    t.equal(states.open(state), undefined)
  }
})
