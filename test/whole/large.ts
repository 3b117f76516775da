// Large messages through the proxy as its users run it: right to the byte, no faster than their reader takes them, and
// within a stated bound of resident memory.
import { setImmediate as nextTick } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { sseClient, streamableClient } from '../fixtures/clients.ts'
import { fillOf, progressOf, shaOf } from '../fixtures/large-backend.ts'
import type { LargeArguments, ProgressArguments } from '../fixtures/large-backend.ts'
import { callText, openCaller, openListener } from '../fixtures/large-client.ts'
import {
  countLeft,
  digestIn,
  isAnswer,
  megabyte,
  mib,
  runOf,
  standsStill,
  stillWorks,
  startLargeStage,
  within,
} from '../fixtures/large-stage.ts'
import type { Dialect } from '../fixtures/large-stage.ts'
import { startMatrixServer } from '../fixtures/matrix-server.ts'
import { digest, longText } from '../fixtures/matrix-service.ts'
import { waitFor } from '../fixtures/wait-for.ts'

// The file ends in half a minute where it is alone; it seldom is.
t.setTimeout(300_000)

/**
 * Bytes of resident memory over those of the idle process. Little of it is messages: what has been passed on stays until
 * the collector comes by.
 */
const bounds = {
  /** What passes in bytes, however large and however many. Measured: up to 90 MiB. */
  passing: 128 * megabyte,
  /** 80 MB in messages that are read one by one. Measured: 40 to 270 MiB; 320 for four times as much. */
  events: 384 * megabyte,
  /** 10 MB that are held, as bytes, as text and as values. Measured: 70 to 180 MiB. */
  heldArgument: 256 * megabyte,
  /** The same of 50 MB. Measured: 330 to 555 MiB. */
  heldResult: 768 * megabyte,
}

let seeds = 0

type Forms = Pick<LargeArguments, 'form' | 'idLast'>
const json: Forms = { form: 'json' }
const chunked: Forms = { form: 'chunked' }
const event: Forms = { form: 'event' }

/** How a result may come that is never held, and to whom. */
const ways: Readonly<
  Record<string, { readonly dialect: Dialect; readonly bare?: boolean } & Forms>
> = {
  'JSON of known length': { dialect: 'streamable', ...json },
  'JSON in chunks': { dialect: 'streamable', ...chunked },
  'JSON with its id at the end': { dialect: 'streamable', ...json, idLast: true },
  'an event': { dialect: 'streamable', ...event },
  'JSON from plain JSON-RPC': { dialect: 'rpc', ...json },
  'JSON from plain JSON-RPC for a caller without a session': {
    dialect: 'rpc',
    bare: true,
    ...json,
  },
}

const server = await startMatrixServer('streamable')
t.teardown(() => server.close())
/** With limits as they are by default; the proxy is to live through everything that needs no others. */
const stage = await startLargeStage(t, {}, [
  { name: 'sdk', path: '/sdk', backend: { url: server.url, dialect: 'streamable' } },
])

/** What an SDK makes of an answer of `large`. */
const isFill = (t: Test, text: string, { seed, size }: LargeArguments): void => {
  t.equal(shaOf([Buffer.from(text)]), shaOf([fillOf(seed, size)]))
}

t.test('results that pass in bytes', async (t) => {
  for (const [name, way] of Object.entries(ways)) {
    await t.test(`50 MB: ${name}`, async (t) => {
      const caller = await stage.caller(way)
      const args = { seed: ++seeds, size: 50 * megabyte, ...way }
      await within(t, stage, bounds.passing, async () => {
        const answer = await caller.call('big-1', 'large', args)
        await isAnswer(t, answer, args, 'big-1')
        t.equal(answer.headers['content-length'] !== undefined, way.form === 'json')
      })
    })

    await t.test(`the first bytes come while the rest is held back: ${name}`, async (t) => {
      const caller = await stage.caller(way)
      const args = { seed: ++seeds, size: 20 * megabyte, holdAt: megabyte, ...way }
      const answer = await caller.call(7, 'large', args)
      const done = isAnswer(t, answer, args, 7)
      const run = await runOf(stage, args.seed)
      const framing = way.form === 'event' ? 'event: message\ndata: '.length : 0
      // The last byte waits for the verdict on the whole.
      const held = 1
      await waitFor(() => run.written >= megabyte && answer.bytes >= run.written - framing - held, {
        timeout: 20_000,
        what: 'all that the backend has written',
      })
      t.notOk(run.done)
      run.goOn()
      await done
    })
  }

  for (const form of [json, event]) {
    await t.test(`50 MB as ${form.form}, read by an SDK`, async (t) => {
      const client = await streamableClient.connect(stage.to('streamable'), { timeout: 60_000 })
      const args = { seed: ++seeds, size: 50 * megabyte, ...form }
      await within(t, stage, bounds.passing, async () => {
        isFill(t, await client.callTool('large', args), args)
      })
      await client.close()
    })

    await t.test(`160 MB as ${form.form} wait at the backend for their reader`, async (t) => {
      const caller = await openCaller(stage.to('streamable'))
      const args = { seed: ++seeds, size: 160 * megabyte, ...form }
      await within(t, stage, bounds.passing, async () => {
        const answer = await caller.call(1, 'large', args)
        const run = await runOf(stage, args.seed)
        await standsStill(stage, () => run.written)
        t.ok(run.blocked, 'the backend cannot write')
        t.ok(run.written < args.size / 2, `it was held back after ${mib(run.written)}`)
        await isAnswer(t, answer, args, 1)
      })
    })
  }

  await t.test('20 results of 5 MB at once, each to its own session', async (t) => {
    const callers = await Promise.all(
      Array.from({ length: 20 }, () => openCaller(stage.to('streamable'))),
    )
    await within(t, stage, bounds.passing, async () => {
      await Promise.all(
        callers.map(async (caller, index) => {
          // All ask under the same id.
          const form = [json, chunked, event][index % 3]
          const args = { seed: ++seeds, size: 5 * megabyte, ...form }
          await isAnswer(t, await caller.call(1, 'large', args), args, 1)
        }),
      )
    })
  })
})

/** How a backend can break off in the middle of a result of 20 MB. */
const breaks: Readonly<Record<string, { readonly dialect: Dialect } & Partial<LargeArguments>>> = {
  'cuts JSON of known length': { dialect: 'streamable', ...json, breakBy: 'cut' },
  'cuts JSON in chunks': { dialect: 'streamable', ...chunked, breakBy: 'cut' },
  'ends JSON in chunks too early': { dialect: 'streamable', ...chunked, breakBy: 'end' },
  'cuts an event': { dialect: 'streamable', ...event, breakBy: 'cut' },
  'ends an event too early': { dialect: 'streamable', ...event, breakBy: 'end' },
  'cuts plain JSON-RPC': { dialect: 'rpc', ...json, breakBy: 'cut' },
  'ends plain JSON-RPC too early': { dialect: 'rpc', ...chunked, breakBy: 'end' },
}

t.test('a backend that breaks off gives nobody half an answer for a whole one', async (t) => {
  for (const [name, { dialect, ...rest }] of Object.entries(breaks)) {
    await t.test(name, async (t) => {
      const caller = await stage.caller({ dialect })
      const args = { seed: ++seeds, size: 20 * megabyte, breakAt: 5 * megabyte, ...rest }
      const { bytes, whole } = await (await caller.call(1, 'large', args)).digest()
      t.ok(bytes > megabyte && bytes <= 6 * megabyte, `it had begun, with ${bytes} bytes`)
      t.notOk(whole, 'the client sees that it has broken off')
      await stillWorks(t, caller)
    })
  }

  for (const form of [chunked, event]) {
    await t.test(`turns out to have answered another request, as ${form.form}`, async (t) => {
      const caller = await stage.caller({ dialect: 'streamable' })
      const args = { seed: ++seeds, size: 20 * megabyte, idLast: true, answerAs: 2, ...form }
      const { whole } = await (await caller.call(1, 'large', args)).digest()
      t.notOk(whole, 'the client sees that it has not been answered')
      await stillWorks(t, caller)
    })
  }

  await t.test('an SDK fails its call, and calls again', async (t) => {
    const client = await streamableClient.connect(stage.to('streamable'))
    const args = { seed: ++seeds, size: 20 * megabyte, breakAt: 5 * megabyte }
    await t.rejects(client.callTool('large', args))
    const small = { seed: ++seeds, size: 10 }
    t.equal(await client.callTool('large', small), fillOf(small.seed, 10).toString())
    await client.close()
  })
})

t.test('a client that vanishes in the middle of 160 MB leaves nothing behind', async (t) => {
  for (const form of [json, chunked, event]) {
    await t.test(`as ${form.form}`, async (t) => {
      const caller = await stage.caller({ dialect: 'streamable' })
      const left = await countLeft(stage)
      const args = { seed: ++seeds, size: 160 * megabyte, ...form }
      const answer = await caller.call(1, 'large', args)
      const run = await runOf(stage, args.seed)
      await standsStill(stage, () => run.written)
      answer.destroy()
      await waitFor(() => run.closed, { timeout: 20_000, what: 'the end of the backend request' })
      t.notOk(run.done)
      await stillWorks(t, caller)
      await left(t)
    })
  }
})

t.test('20 MB to an SDK from an SDK, and 10 MB back', async (t) => {
  const client = await streamableClient.connect(`${stage.proxy.url}/sdk`, { timeout: 60_000 })
  t.teardown(() => client.close())
  const text = longText(20 * megabyte)
  await within(t, stage, bounds.passing, async () => {
    // Its event has an id, and one without data before it (2025-11-25, Transports, "Resumability and Redelivery").
    t.equal(digest(await client.callTool('long', { length: text.length })), digest(text))
    const argument = text.slice(0, 10 * megabyte)
    t.equal(await client.callTool('digest', { text: argument }), digest(argument))
  })
})

/** The body of a call of `digest`, spelled as no JSON library would. */
const digestCall = (size: number): readonly Buffer[] => [
  Buffer.from('{"jsonrpc": "2.0", "id":"up", "method":"tools/call", "params":'),
  Buffer.from('{"name":"digest","arguments":{"n":1.0,"é\\"":"'),
  fillOf(++seeds, size),
  Buffer.from('"}} }'),
]

/** Where an argument goes; `held` where its request cannot pass in bytes. */
const targets = {
  'to Streamable HTTP': { dialect: 'streamable', held: false },
  'to plain JSON-RPC': { dialect: 'rpc', held: false },
  'from a caller without a session': { dialect: 'rpc', bare: true, held: true },
  'to SSE, under another id': { dialect: 'sse', held: true },
} as const

t.test('an argument of 10 MB', async (t) => {
  for (const [name, way] of Object.entries(targets)) {
    for (const sized of [true, false]) {
      await t.test(`${name}, ${sized ? 'of known length' : 'in chunks'}`, async (t) => {
        const caller = await stage.caller(way)
        const body = digestCall(10 * megabyte)
        const bound = way.held ? bounds.heldArgument : bounds.passing
        await within(t, stage, bound, async () => {
          const seen = await digestIn(await caller.upload(body, { sized }).answer)
          if (way.dialect === 'sse') {
            const text = Buffer.concat(body)
            t.equal(seen.paramsSha, shaOf([text.subarray(text.indexOf('"params"'))]))
          } else {
            t.equal(seen.sha, shaOf(body), 'byte for byte what the client wrote')
            const known = sized || way.held
            t.equal(seen.length, known ? String(Buffer.concat(body).length) : null)
          }
        })
      })
    }
  }
})

t.test('an argument of 100 MB, with limits.body raised', async (t) => {
  const stage = await startLargeStage(t, { body: '128MiB', bodyTime: '2m' })
  for (const sized of [true, false]) {
    const name = `waits at its client for the backend, ${sized ? 'of known length' : 'in chunks'}`
    await t.test(name, async (t) => {
      const caller = await stage.caller({ dialect: 'streamable' })
      const body = digestCall(100 * megabyte)
      await within(t, stage, bounds.passing, async () => {
        const readOn = stage.backend.stopReading()
        const upload = caller.upload(body, { sized })
        await standsStill(stage, () => upload.written)
        t.ok(upload.blocked, 'the client cannot write')
        t.ok(upload.written < 80 * megabyte, `it was held back after ${mib(upload.written)}`)
        readOn()
        t.equal((await digestIn(await upload.answer)).sha, shaOf(body))
      })
    })
  }

  await t.test('leaves nothing behind when its client vanishes in the middle', async (t) => {
    const caller = await stage.caller({ dialect: 'streamable' })
    const left = await countLeft(stage)
    const readOn = stage.backend.stopReading()
    const upload = caller.upload(digestCall(100 * megabyte), { sized: true })
    await standsStill(stage, () => upload.written)
    const broken = t.rejects(upload.answer)
    upload.destroy()
    await broken
    readOn()
    await stillWorks(t, caller)
    await left(t)
  })
})

/** Opens a session, calls `progress` and hears what comes, 64 KiB in a tick, once `gate` is open. */
const hearers: Readonly<
  Record<
    'streamable' | 'sse',
    (
      url: string,
      args: ProgressArguments,
      take: (text: string) => void,
      gate: () => Promise<unknown>,
    ) => Promise<() => void>
  >
> = {
  async streamable(url, args, take, gate) {
    const caller = await openCaller(url)
    const answer = await caller.call('end', 'progress', args, { progressToken: 'mine' })
    answer.events(take, gate).catch(() => {})
    return () => answer.destroy()
  },
  async sse(url, args, take, gate) {
    let open = true
    const listener = await openListener(url, take, () => (open ? nextTick() : gate()))
    open = false
    await listener.post(callText('end', 'progress', args, { progressToken: 'mine' }))
    return () => listener.close()
  },
}

t.test('10,000 progress notifications at full speed into a slow client', async (t) => {
  for (const from of ['streamable', 'sse'] as const) {
    for (const [to, hear] of Object.entries(hearers)) {
      await t.test(`from ${from} to ${to}`, async (t) => {
        const args = { seed: ++seeds, count: 10_000, size: 8192 }
        await within(t, stage, bounds.events, async () => {
          let readOn = (): void => {}
          const gate = new Promise<void>((resolve) => (readOn = resolve))
          let heard = 0
          const wrong: string[] = []
          let result = ''
          const take = (text: string): void => {
            if (heard === args.count) result += text
            else if (text !== progressOf(args, 'mine', ++heard)) wrong.push(text.slice(0, 100))
          }
          const close = await hear(stage.to(from), args, take, () => gate.then(() => nextTick()))
          const run = await runOf(stage, args.seed)
          await standsStill(stage, () => run.written)
          t.ok(run.blocked, 'the backend cannot write')
          t.ok(run.steps < args.count, `it was held back after ${run.steps} notifications`)
          t.ok(heard < args.count / 10, `the client has read ${heard}`)
          readOn()
          await waitFor(() => result, { timeout: 60_000, what: 'the result' })
          t.equal(heard, args.count)
          t.strictSame(wrong, [])
          t.strictSame(JSON.parse(result), { jsonrpc: '2.0', id: 'end', result: { content: [] } })
          close()
        })
      })
    }
  }
})

/** Who cannot have a result as it comes: its id changes on the way, or its client hears everything on one stream. */
const holders = {
  'from a backend whose ids are replaced': { dialect: 'sse' },
  'from a backend session that callers without a session share': {
    dialect: 'streamable',
    bare: true,
  },
  'from Streamable HTTP to an SDK over SSE': { dialect: 'streamable', sdk: true },
  'from SSE to an SDK over SSE': { dialect: 'sse', sdk: true },
} as const

t.test('a result of 50 MB that must be held, with limits.event raised', async (t) => {
  for (const [name, way] of Object.entries(holders)) {
    await t.test(name, async (t) => {
      // A process for each: what one has left to the collector would count for the next.
      const stage = await startLargeStage(t, { event: '64MiB' })
      const args = { seed: ++seeds, size: 50 * megabyte, ...json }
      if ('sdk' in way) {
        const client = await sseClient.connect(stage.to(way.dialect), { timeout: 60_000 })
        await within(t, stage, bounds.heldResult, async () => {
          isFill(t, await client.callTool('large', args), args)
        })
        await client.close()
      } else {
        const caller = await stage.caller(way)
        await within(t, stage, bounds.heldResult, async () => {
          await isAnswer(t, await caller.call('mine', 'large', args), args, 'mine')
        })
      }
    })
  }
})
