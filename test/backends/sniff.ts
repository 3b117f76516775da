import t from 'tap'
import { createSniffer, sniff, sniffWhole } from '../../src/backends/sniff.ts'

const bom = '\u00ef\u00bb\u00bf'

t.test('the first bytes tell what a body is, whatever its content type says', async (t) => {
  const cases = [
    ['event: message\n', 'text/plain', 'stream'],
    ['data:{', 'application/json', 'stream'],
    [': connected', 'text/html', 'stream'],
    ['id: 4', '', 'stream'],
    ['retry: 10', '', 'stream'],
    ['\n\n          data: {', '', 'stream'],
    [`${bom}event: x`, '', 'stream'],
    ['Event: endpoint', '', 'stream'],
    ['{"jsonrpc"', 'text/event-stream', 'json'],
    [`${bom}[{`, 'text/html', 'json'],
    [' <!DOCTYPE html>', 'application/json', 'html'],
  ] as const
  for (const [head, type, form] of cases) t.equal(sniff(head, type, false), form, head)
})

t.test(
  'bytes that tell nothing leave it to the content type, once there are enough of them',
  async (t) => {
    t.equal(sniff('da', 'text/plain', false), undefined)
    t.equal(sniff('', 'text/event-stream', false), undefined)
    t.equal(sniff('  \n', '', false), undefined)
    t.equal(sniff('Accepted', '', true), 'text')
    t.equal(sniff('Accepted\n', '', false), 'text')
    t.equal(sniff('null', 'application/json', true), 'json')
    t.equal(sniff('odd: field\n', 'Text/Event-Stream; charset=UTF-8', false), 'stream')
    t.equal(sniff('x'.repeat(512), '', false), 'text')
    t.equal(sniff(' ', 'text/event-stream', true), 'empty')
    t.equal(sniff('', 'application/json', true), 'empty')
  },
)

t.test('a sniffer keeps every chunk that it has seen', async (t) => {
  const sniffer = createSniffer('')
  for (const byte of 'dat') t.equal(sniffer.take(Buffer.from(byte)), undefined)
  t.equal(sniffer.take(Buffer.from('a: {}\n\n')), 'stream')
  t.equal(Buffer.concat(sniffer.held).toString(), 'data: {}\n\n')
})

t.test('a body that has come whole is judged by the same', async (t) => {
  const chunks = (...texts: string[]) => texts.map((text) => Buffer.from(text))
  t.equal(sniffWhole(chunks('{"a":1}'), 'text/plain'), 'json')
  t.equal(sniffWhole(chunks('[', ']'), ''), 'json')
  t.equal(sniffWhole(chunks(' \n', '{}'), ''), 'json')
  t.equal(sniffWhole(chunks('data: {}\n\n'), 'application/json'), 'stream')
  t.equal(sniffWhole(chunks('<p>'), ''), 'html')
  t.equal(sniffWhole(chunks('Accepted'), ''), 'text')
  t.equal(sniffWhole([], 'application/json'), 'empty')
})
