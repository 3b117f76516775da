import t from 'tap'
import { createMetrics } from '../../src/telemetry/metrics.ts'

t.test('each event moves its own series', async (t) => {
  const metrics = createMetrics()
  metrics.requestEnded('a', 'sse', 'GET', 200)
  metrics.repaired('a', 'indented-field')
  metrics.repaired('a', 'indented-field', 4)
  metrics.messageDropped('a', 'no-home')
  metrics.backendConnected('a', 'failed')
  metrics.streamOpened('a', 'client')
  metrics.streamOpened('a', 'backend')
  metrics.streamClosed('a', 'backend')
  const text = await metrics.text()
  const expected = [
    'causeway_requests_total{route="a",dialect="sse",method="GET",status="200"} 1',
    'causeway_repairs_total{route="a",rule="indented-field"} 5',
    'causeway_dropped_messages_total{route="a",reason="no-home"} 1',
    'causeway_backend_connects_total{route="a",outcome="failed"} 1',
    'causeway_open_streams{route="a",side="client"} 1',
    'causeway_open_streams{route="a",side="backend"} 0',
  ]
  for (const line of expected) t.ok(text.split('\n').includes(line), line)
  t.match(text, /^process_cpu_seconds_total /m)
  t.match(metrics.contentType, 'text/plain')
})

t.test('an exchange is counted as open until it ends, and its time is kept', async (t) => {
  const metrics = createMetrics()
  metrics.exchangeStarted()
  metrics.exchangeStarted()
  t.match(await metrics.text(), /^causeway_exchanges_open 2$/m)
  metrics.exchangeEnded('a', 'tools/call', 'result', 0.2)
  const text = await metrics.text()
  t.match(text, /^causeway_exchanges_open 1$/m)
  t.match(text, /^causeway_exchanges_total\{route="a",method="tools\/call",outcome="result"\} 1$/m)
  t.match(text, /^causeway_exchange_seconds_bucket\{le="0.25",route="a"\} 1$/m)
  t.match(text, /^causeway_exchange_seconds_bucket\{le="0.1",route="a"\} 0$/m)
})

t.test('methods that nobody defines share one label', async (t) => {
  const metrics = createMetrics()
  for (let i = 0; i < 3; i++) {
    metrics.exchangeStarted()
    metrics.exchangeEnded('a', `made-up-${i}`, 'error', 1)
    metrics.requestEnded('a', 'none', `MADE-UP-${i}`, 405)
  }
  const text = await metrics.text()
  t.notMatch(text, /made-up/i)
  t.match(text, /^causeway_exchanges_total\{route="a",method="other",outcome="error"\} 3$/m)
  t.match(text, /method="other",status="405"\} 3$/m)
})

t.test('sessions are read when asked for, and 0 before that', async (t) => {
  const metrics = createMetrics()
  t.match(await metrics.text(), /^causeway_sessions 0$/m)
  let live = 3
  metrics.readSessionsFrom(() => live)
  t.match(await metrics.text(), /^causeway_sessions 3$/m)
  live = 7
  t.match(await metrics.text(), /^causeway_sessions 7$/m)
})

t.test('two sets of metrics in one process do not mix', async (t) => {
  const [one, other] = [createMetrics(), createMetrics()]
  one.messageDropped('a', 'no-home')
  t.notMatch(await other.text(), /reason="no-home"/)
})
