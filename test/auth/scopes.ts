import t from 'tap'
import { missingScopes, scopesOf } from '../../src/auth/scopes.ts'

t.test('all scopes that are missing are listed at once, in order and once each', async (t) => {
  t.strictSame(missingScopes(['a', 'b', 'c'], ['b']), ['a', 'c'])
  t.strictSame(missingScopes(['c', 'a', 'c'], []), ['c', 'a'])
  t.strictSame(missingScopes(['a'], ['a', 'b']), [])
  t.strictSame(missingScopes([], []), [])
  t.strictSame(missingScopes(['read'], ['Read', 'read:all', 'rea']), ['read'])
})

t.test('a scope implies others, and what those imply', async (t) => {
  const hierarchy = { admin: ['write', 'audit'], write: ['read'], read: ['list'] }
  t.strictSame(missingScopes(['list', 'audit', 'read'], ['admin'], hierarchy), [])
  t.strictSame(missingScopes(['admin', 'write', 'list'], ['write'], hierarchy), ['admin'])
  t.strictSame(missingScopes(['write', 'read'], ['list'], hierarchy), ['write', 'read'])
})

t.test('a hierarchy that runs in circles comes to an end', async (t) => {
  const hierarchy = { a: ['b'], b: ['c', 'b'], c: ['a'] }
  for (const granted of ['a', 'b', 'c']) {
    t.strictSame(missingScopes(['a', 'b', 'c', 'd'], [granted], hierarchy), ['d'])
  }
})

t.test('a scope named like a property of every object is one like any other', async (t) => {
  for (const name of ['constructor', '__proto__', 'toString']) {
    t.strictSame(missingScopes([name, 'a'], [name], { b: ['a'] }), ['a'])
    t.strictSame(missingScopes([name], ['a'], { b: ['a'] }), [name])
  }
})

const claims: Record<string, [Parameters<typeof scopesOf>[0], string[]]> = {
  'scope as text': [{ scope: 'a b:c' }, ['a', 'b:c']],
  'scope with too many spaces, and twice the same': [{ scope: ' a  b a ' }, ['a', 'b']],
  'scope as an array': [{ scope: ['a', 'b'] }, ['a', 'b']],
  'scp as text': [{ scp: 'a b' }, ['a', 'b']],
  'scp as an array': [{ scp: ['a', 'b', 'a'] }, ['a', 'b']],
  permissions: [{ permissions: ['a', 'b'] }, ['a', 'b']],
  'scope before permissions': [{ permissions: ['a', 'b'], scope: 'a' }, ['a']],
  'an empty scope before permissions': [{ scope: '', permissions: ['a'] }, []],
  'what is no text in an array': [{ scp: ['a', 1, null, ['b'], ''] }, ['a']],
  'neither text nor array': [{ scope: 7 }, []],
  'no such claim': [{ sub: 'a' }, []],
}
for (const [name, [given, scopes]] of Object.entries(claims)) {
  t.test(`scopes of claims: ${name}`, async (t) => {
    t.strictSame(scopesOf(given), scopes)
  })
}
