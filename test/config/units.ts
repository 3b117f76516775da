import t from 'tap'
import { durationPattern, sizePattern, toBytes, toMilliseconds } from '../../src/config/units.ts'

t.test('durations become milliseconds', async (t) => {
  const cases: Record<string, number> = {
    '500ms': 500,
    '15s': 15_000,
    '10m': 600_000,
    '1h': 3_600_000,
    '0': 0,
  }
  for (const [text, ms] of Object.entries(cases)) t.equal(toMilliseconds(text), ms, text)
  t.equal(toMilliseconds(0), 0)
})

t.test('sizes become bytes, by powers of 1000 and of 1024', async (t) => {
  const cases: Record<string, number> = {
    '1B': 1,
    '64KiB': 65_536,
    '16MiB': 16_777_216,
    '1GiB': 1_073_741_824,
    '2KB': 2000,
    '1MB': 1_000_000,
    '1GB': 1_000_000_000,
  }
  for (const [text, bytes] of Object.entries(cases)) t.equal(toBytes(text), bytes, text)
})

t.test('what has no unit, or another one, matches neither', async (t) => {
  for (const text of ['15', '1.5s', '-1s', '15 s', '1d', '1S', ' 1s', '']) {
    t.notMatch(text, durationPattern, text)
  }
  for (const text of ['15', '1mb', '1Mb', '1M', '1 MiB', '-1B']) t.notMatch(text, sizePattern, text)
})
