import t from 'tap'
import { bearerIn } from '../../src/auth/bearer.ts'

const of = (authorization: string | undefined, query = ''): string | undefined =>
  bearerIn(authorization === undefined ? {} : { authorization }, query)

t.test('one bearer token is found, and none where there is no header', async (t) => {
  t.equal(of(undefined), undefined)
  for (const header of ['Bearer abc', 'bearer abc', 'BEARER   abc', 'Bearer abc  ']) {
    t.equal(of(header), 'abc', header)
  }
  const characters = `${'a-._~+/'.repeat(9)}==`
  t.equal(of(`Bearer ${characters}`), characters)
})

t.test('a token of 16 KiB is read, a longer one is none', async (t) => {
  t.equal(of(`Bearer ${'a'.repeat(16_384)}`)?.length, 16_384)
  t.throws(() => of(`Bearer ${'a'.repeat(16_385)}`), { code: 'TOKEN_INVALID' })
})

t.test('what is not one token is refused, never taken for none', async (t) => {
  for (const header of [
    '',
    'Bearer',
    'Bearer ',
    'Bearerabc',
    'Basic YTpi',
    'Bearer a b',
    'Bearer a, Bearer b',
    'Bearer a,Bearer',
    'abc',
    'Bearer é',
    'Bearer a\tb',
    'Bearer\tabc',
    'Bearer a\r\nx: y',
    'Bearer a\0',
    'xBearer abc',
  ]) {
    t.throws(() => of(header), { code: 'TOKEN_INVALID', status: 401 }, JSON.stringify(header))
  }
})

t.test('nothing of the token stands in the message', async (t) => {
  try {
    of('Bearer secret secret')
    t.fail('is refused')
  } catch (error) {
    t.notMatch(String(error), /secret/)
  }
})

t.test('a token in the URL is refused, even beside a good header', async (t) => {
  for (const query of ['access_token=abc', 'a=b&access_token=', 'access%5Ftoken=abc']) {
    t.throws(() => of('Bearer abc', query), { code: 'TOKEN_INVALID' }, query)
    t.throws(() => of(undefined, query), { code: 'TOKEN_INVALID' }, query)
  }
  for (const query of ['', 'a=access_token', 'my_access_token=x'])
    t.equal(of('Bearer a', query), 'a')
})
