import t from 'tap'
import { passLarge } from '../../src/backends/large.ts'
import type { PassOptions } from '../../src/backends/large.ts'
import { request } from '../../src/protocol/jsonrpc.ts'
import type { Sink } from '../../src/protocol/passing.ts'
import { everyByte, randomCuts, whole } from '../fixtures/split.ts'

/** What a sink was given, and how often it was opened and ended. */
interface Kept {
  opened: number
  ended: number
  text: string
  slow: boolean
  readonly waiting: (() => void)[]
  readonly sink: Sink
}

function keeping(): Kept {
  const it: Kept = {
    opened: 0,
    ended: 0,
    text: '',
    slow: false,
    waiting: [],
    sink: {
      write(chunk) {
        it.text += Buffer.from(chunk).toString('latin1')
        return !it.slow
      },
      onceDrained: (task) => void it.waiting.push(task),
      end: () => void it.ended++,
    },
  }
  return it
}

interface Options {
  readonly idText?: string
  readonly record?: PassOptions['record']
  /** False: nobody wants the text in bytes. */
  readonly wanted?: boolean
}

/** Offers a text that begins so, in response to a request. */
function offer(head: readonly Uint8Array[], options: Options = {}) {
  const { idText = '7', record = 'none', wanted = true } = options
  const kept = keeping()
  const open = (): Sink | undefined => {
    kept.opened++
    return wanted ? kept.sink : undefined
  }
  const sink = passLarge(request(idText, 'tools/call'), head, { route: 'shop', record, open })
  return { kept, sink }
}

const bytesOf = (text: string): Uint8Array[] => whole(Buffer.from(text))

t.test('a text may pass whose head shows a result under the very id', async (t) => {
  const heads: [head: string, idText: string][] = [
    ['{"jsonrpc":"2.0","id":7,"result":{"a":"', '7'],
    ['{"id":7,"jsonrpc":"2.0","result":[', '7'],
    [' \n{ "jsonrpc" : "2.0" , "id" : 7 , "result" : "x', '7'],
    ['{"jsonrpc":"2.0","id":"a","result":{"id":8,"error":1,"method":2},"x', '"a"'],
    ['{"jsonrpc":"2.0","id":"é☃","result":1', '"é☃"'],
    ['{"jsonrpc":"2.0","id":"7","result":{', '"7"'],
  ]
  for (const [head, idText] of heads) {
    for (const cut of [whole, everyByte, randomCuts]) {
      const { sink, kept } = offer(cut(Buffer.from(head)), { idText })
      t.ok(sink, head)
      t.equal(kept.opened, 1)
      t.equal(kept.text, '', 'whoever offers it writes its head too')
    }
  }
})

t.test('all others are to be read whole, and nobody is asked for a place', async (t) => {
  const heads: Record<string, string> = {
    'of a request': '{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"',
    'of a notification': '{"jsonrpc":"2.0","method":"x","params":{"a":"',
    'of an error': '{"jsonrpc":"2.0","id":7,"error":{"data":"',
    'with an error beside the result': '{"jsonrpc":"2.0","id":7,"error":null,"result":{"a":"',
    'with a method beside the result': '{"jsonrpc":"2.0","id":7,"method":"x","result":{"a":"',
    'with no result yet': '{"jsonrpc":"2.0","id":7,"x":{"result":"',
    'under another id': '{"jsonrpc":"2.0","id":8,"result":{"a":"',
    'under an id of another type': '{"jsonrpc":"2.0","id":"7","result":{"a":"',
    'under an id that reads alike': '{"jsonrpc":"2.0","id":7.0,"result":{"a":"',
    'with a member nobody knows': '{"jsonrpc":"2.0","took":1,"id":7,"result":{"a":"',
    'under an empty id': '{"jsonrpc":"2.0","id":null,"result":{"a":"',
    'under an id that is none': '{"jsonrpc":"2.0","id":{"id":7},"result":{"a":"',
    'of an array': '[{"jsonrpc":"2.0","id":7,"result":{"a":"',
    'of no JSON': 'data: {"jsonrpc":"2.0","id":7,"result":{"a":"',
    'behind a byte order mark': '\uFEFF{"jsonrpc":"2.0","id":7,"result":{"a":"',
    'that has come to its end': '{"jsonrpc":"2.0","id":7,"result":{}}  ',
  }
  for (const [name, head] of Object.entries(heads)) {
    for (const record of ['good', 'bad', 'none'] as const) {
      const { sink, kept } = offer(bytesOf(head), { record })
      t.equal(sink, undefined, `${name}, record: ${record}`)
      t.equal(kept.opened, 0)
    }
  }
})

t.test('what the head does not show is believed of a backend that has been faithful', async (t) => {
  for (const head of [
    '{"result":{"a":"',
    '{"jsonrpc":"2.0","result":{"a":"',
    '{"id":7,"result":{"a":"',
  ]) {
    t.equal(offer(bytesOf(head), { record: 'none' }).sink, undefined, head)
    t.ok(offer(bytesOf(head), { record: 'good' }).sink, head)
    t.equal(offer(bytesOf(head), { record: 'bad' }).sink, undefined, head)
  }
})

t.test('where nobody takes it, it is to be read whole', async (t) => {
  const { sink, kept } = offer(bytesOf('{"jsonrpc":"2.0","id":7,"result":{'), { wanted: false })
  t.equal(sink, undefined)
  t.equal(kept.opened, 1)
})

t.test('it goes on as it came, and ends if it was what it seemed to be', async (t) => {
  const texts: [head: string, rest: string, idText: string][] = [
    ['{"jsonrpc":"2.0","id":7,"result":', '{"a":"é\\"}"}}', '7'],
    ['{"jsonrpc":"2.0","result":', '[1],"id":"a"} \r\n', '"a"'],
    ['{"result":', '[1],"jsonrpc":"2.0","id":"a"}', '"a"'],
  ]
  for (const [head, rest, idText] of texts) {
    for (const cut of [whole, everyByte, randomCuts]) {
      const { sink, kept } = offer(bytesOf(head), { idText, record: 'good' })
      for (const chunk of cut(Buffer.from(head + rest))) t.equal(sink?.write(chunk), true)
      t.equal(kept.ended, 0)
      sink?.end()
      t.equal(kept.ended, 1)
      t.equal(Buffer.from(kept.text, 'latin1').toString(), head + rest)
    }
  }
})

t.test('one that turns out otherwise never comes to its end', async (t) => {
  const head = '{"jsonrpc":"2.0","result":{}'
  const wrongs: [rest: string, message: RegExp][] = [
    [',"id":8}', /route "shop" sent a large answer under another id/],
    [',"id":"7"}', /under another id/],
    [',"id":null}', /under another id/],
    ['}', /under another id/],
    [',"id":7,"id":8}', /under another id/],
    [',"id":7', /no JSON object/],
    [',"id":7}]', /no JSON object/],
    [',"id":7}{"id":7}', /no JSON object/],
    ['"', /no JSON object/],
  ]
  for (const [rest, message] of wrongs) {
    const { sink, kept } = offer(bytesOf(head), { record: 'good' })
    sink?.write(Buffer.from(head))
    sink?.write(Buffer.from(rest))
    t.throws(() => sink?.end(), { code: 'BACKEND_ANSWER_INVALID', message }, rest)
    t.equal(kept.ended, 0, rest)
    t.equal(kept.text, (head + rest).slice(0, -1), 'nor has anybody had the whole of it')
  }
})

t.test('its last byte waits until the whole has proved to be right', async (t) => {
  const { sink, kept } = offer(bytesOf('{"jsonrpc":"2.0","id":7,"result":{'))
  let text = ''
  for (const piece of ['{"jsonrpc":"2.0","id":7,"result":', '{', '', '}', '', '}']) {
    text += piece
    sink?.write(Buffer.from(piece))
    t.equal(kept.text, text.slice(0, -1), JSON.stringify(piece))
  }
  sink?.end()
  t.equal(kept.text, text)
})

t.test('a slow taker is slow for whoever writes', async (t) => {
  const { sink, kept } = offer(bytesOf('{"jsonrpc":"2.0","id":7,"result":{'))
  kept.slow = true
  t.equal(sink?.write(Buffer.from('{')), false)
  let drained = 0
  sink?.onceDrained(() => drained++)
  t.equal(drained, 0)
  for (const task of kept.waiting) task()
  t.equal(drained, 1)
})
