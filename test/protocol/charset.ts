import t from 'tap'
import { charsetOf, isUtf8 } from '../../src/protocol/charset.ts'

t.test('the charset of a body is the declared one, else that of JSON', async (t) => {
  const cases: [contentType: string | undefined, charset: string, utf8: boolean][] = [
    [undefined, 'utf-8', true],
    ['application/json', 'utf-8', true],
    ['application/json; charset=UTF-8', 'UTF-8', true],
    ['application/json;charset="utf8"', 'utf8', true],
    ['text/plain; Charset = iso-8859-1; x=1', 'iso-8859-1', false],
    ['a/b;charset=big5', 'big5', false],
  ]
  for (const [contentType, charset, utf8] of cases) {
    t.equal(charsetOf(contentType), charset, String(contentType))
    t.equal(isUtf8(contentType), utf8, String(contentType))
  }
})
