import t from 'tap'
import { nearest, suggestion } from '../../src/config/nearest.ts'

const known = ['url', 'dialect', 'headers', 'publicUrl', 'keepAlive', 'host', 'port']

t.test('a slip of the keyboard finds its word', async (t) => {
  const cases: Record<string, string | undefined> = {
    urll: 'url',
    hots: 'host',
    header: 'headers',
    public_url: 'publicUrl',
    'keep-alive': 'keepAlive',
    PORT: 'port',
    dialcet: 'dialect',
    something: undefined,
    x: undefined,
  }
  for (const [name, expected] of Object.entries(cases))
    t.equal(nearest(name, known), expected, name)
})

t.test('a suggestion is half a sentence, or nothing', async (t) => {
  t.equal(suggestion('urll', known), '; did you mean "url"?')
  t.equal(suggestion('something', known), '')
})
