import { readFileSync } from 'node:fs'
import t from 'tap'
import { implementation } from '../src/version.ts'

t.test('the version given to others is that of the package', async (t) => {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  t.equal(implementation.version, JSON.parse(text).version)
})
