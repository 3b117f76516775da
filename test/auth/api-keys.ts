import { createHash } from 'node:crypto'
import t from 'tap'
import { createApiKeyVerifier } from '../../src/auth/api-keys.ts'

const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex')

t.test('a key is known by its digest and brings its principal and scopes', async (t) => {
  const verifier = createApiKeyVerifier({
    keys: [
      { sha256: sha256('first'), principal: 'ci', scopes: ['read'] },
      { sha256: sha256('second').toUpperCase(), principal: 'bot', scopes: [] },
      { sha256: sha256('third'), principal: 'ci', scopes: ['write'] },
    ],
  })
  const common = { clientId: undefined, claims: {}, expires: undefined }
  t.strictSame(await verifier.verify('first'), {
    principal: 'api-key|ci',
    scopes: ['read'],
    ...common,
  })
  t.strictSame(await verifier.verify('second'), {
    principal: 'api-key|bot',
    scopes: [],
    ...common,
  })
  t.strictSame((await verifier.verify('third'))?.scopes, ['write'])
})

t.test('any other key is none of them', async (t) => {
  const verifier = createApiKeyVerifier({
    keys: [{ sha256: sha256('first'), principal: 'ci', scopes: [] }],
  })
  for (const key of ['', 'First', 'first ', 'firs', sha256('first'), 'ü'.repeat(20_000)]) {
    t.equal(await verifier.verify(key), undefined, key.slice(0, 10))
  }
  t.equal(await createApiKeyVerifier({ keys: [] }).verify('first'), undefined)
})

const wrong: Record<string, [string, string]> = {
  'too short': ['abcd', 'ci'],
  'not hexadecimal': ['g'.repeat(64), 'ci'],
  'a key instead of its digest': ['sk-live-1234', 'ci'],
  'no principal': [sha256('other'), ''],
  'listed before, in other letters': [sha256('first').toUpperCase(), 'other'],
}
for (const [name, [digest, principal]] of Object.entries(wrong)) {
  t.test(`a configured key is refused: ${name}`, async (t) => {
    const keys = [
      { sha256: sha256('first'), principal: 'ci', scopes: [] },
      { sha256: digest, principal, scopes: [] },
    ]
    const error = t.throws(() => createApiKeyVerifier({ keys }), { code: 'CONFIG_INVALID' })
    t.notMatch(String(error), digest, 'the message does not show it')
  })
}
