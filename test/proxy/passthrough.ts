import { createHash } from 'node:crypto'
import { createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { createPassthrough } from '../../src/proxy/passthrough.ts'
import type { PassthroughOptions } from '../../src/proxy/passthrough.ts'

const log = pino({ level: 'silent' })

const listen = async (t: Test, handler: RequestListener): Promise<{ server: Server; url: URL }> => {
  const server = createServer(handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`) }
}

interface Setup {
  readonly base?: string
  readonly options?: Partial<PassthroughOptions>
}

/** A proxy with nothing but a passthrough route, and the backend behind it. */
const setUp = async (t: Test, backend: RequestListener, { base = '/', ...more }: Setup = {}) => {
  const { server, url: origin } = await listen(t, backend)
  const target = new URL(base, origin)
  const passthrough = createPassthrough(
    { name: 'api', passthrough: target.href },
    { log, ...more.options },
  )
  t.teardown(() => passthrough.close())
  const front = await listen(t, (request, response) => passthrough.handle(request, response))
  front.server.on('upgrade', (request, socket, head) => passthrough.upgrade(request, socket, head))
  return { url: front.url, origin, backend: server, passthrough }
}

const echo: RequestListener = (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { method, url, headers } = request
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(chunks).toString() }))
  })
}

interface Echo {
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string>
  readonly body: string
}

/** Writes raw bytes and reads until the other side closes or `until` has come. */
const raw = (url: URL, text: string, until: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(url.port), url.hostname, () => socket.write(text))
    let seen = ''
    const done = () => {
      socket.destroy()
      resolve(seen)
    }
    socket.on('data', (chunk) => {
      seen += chunk.toString()
      if (until.test(seen)) done()
    })
    socket.on('end', done)
    socket.on('error', reject)
  })

t.test('the full path and query are kept, behind the path of the target', async (t) => {
  const cases = [
    { base: '/', path: '/api/x?y=1&y=2', seen: '/api/x?y=1&y=2' },
    { base: '/base', path: '/api/x?y=1', seen: '/base/api/x?y=1' },
    { base: '/base/', path: '/api/a%2Fb/', seen: '/base/api/a%2Fb/' },
  ]
  for (const { base, path, seen } of cases) {
    const { url } = await setUp(t, echo, { base })
    const answer = (await (await fetch(new URL(path, url))).json()) as Echo
    t.equal(answer.url, seen, `${base} + ${path}`)
  }
})

t.test('methods, bodies and end-to-end headers pass unchanged', async (t) => {
  const { url, origin } = await setUp(t, echo)
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    const body = method === 'GET' ? undefined : `body of ${method}`
    const headers = { authorization: 'Bearer t', 'x-own': 'a' }
    const answer = (await (await fetch(url, { method, headers, body })).json()) as Echo
    t.match(answer, { method, body: body ?? '', headers })
    t.equal(answer.headers['host'], origin.host, 'the Host is that of the backend')
  }
})

t.test('hop-by-hop headers and everything named in Connection stay behind', async (t) => {
  const { url } = await setUp(t, echo)
  const request =
    'GET /x HTTP/1.1\r\nHost: client.example\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n' +
    'Keep-Alive: timeout=9\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nX-Public: 2\r\n\r\n'
  const text = await raw(url, request, /\}$/)
  const { headers } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as Echo
  for (const name of ['x-private', 'keep-alive', 'te', 'proxy-authorization']) {
    t.notOk(name in headers, name)
  }
  t.equal(headers['x-public'], '2')
})

t.test('forwarding headers are rebuilt, never believed', async (t) => {
  const claimed = {
    'x-forwarded-for': '6.6.6.6',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'gopher',
    x_forwarded_for: '6.6.6.6',
    'x-real-ip': '6.6.6.6',
    forwarded: 'for=6.6.6.6',
  }
  const bare = await setUp(t, echo)
  const one = (await (await fetch(bare.url, { headers: claimed })).json()) as Echo
  t.notMatch(JSON.stringify(one.headers), /6\.6\.6\.6|evil|gopher/)
  t.match(one.headers, { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
  t.equal(one.headers['x-forwarded-host'], bare.url.host)

  const publicUrl = 'https://mcp.example.com'
  const known = await setUp(t, echo, { options: { publicUrl } })
  const two = (await (await fetch(known.url, { headers: claimed })).json()) as Echo
  t.match(two.headers, { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'mcp.example.com' })
})

t.test(
  'status, repeated headers and the body of an answer pass, hop-by-hop headers do not',
  async (t) => {
    const { url } = await setUp(t, (_, response) => {
      response.writeHead(
        418,
        'Teapot',
        [
          ['Set-Cookie', 'a=1'],
          ['Set-Cookie', 'b=2'],
          ['Connection', 'X-Private'],
          ['X-Private', '1'],
          ['Keep-Alive', 'timeout=77'],
          ['X-Own', 'yes'],
        ].flat(),
      )
      response.end('short and stout')
    })
    const answer = await fetch(url)
    t.equal(answer.status, 418)
    t.equal(answer.statusText, 'Teapot')
    t.same(answer.headers.getSetCookie(), ['a=1', 'b=2'])
    t.equal(answer.headers.get('x-own'), 'yes')
    t.equal(answer.headers.get('x-private'), null)
    t.notMatch(answer.headers.get('keep-alive') ?? '', '77')
    t.equal(await answer.text(), 'short and stout')
  },
)

t.test(
  'an idle event stream opens before its first event, and events come one by one',
  async (t) => {
    let stream: ServerResponse | undefined
    const { url } = await setUp(t, (_, response) => {
      stream = response.writeHead(200, { 'content-type': 'text/event-stream' })
      stream.flushHeaders()
    })
    const answer = await fetch(url)
    t.equal(answer.headers.get('content-type'), 'text/event-stream')
    const reader = answer.body?.getReader()
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      stream?.write(event)
      const { value } = (await reader?.read()) ?? {}
      t.equal(Buffer.from(value ?? []).toString(), event)
    }
    stream?.end()
    t.equal((await reader?.read())?.done, true)
  },
)

t.test(
  'a request body is streamed: the backend reads its start before its end is sent',
  async (t) => {
    let started: (() => void) | undefined
    const begun = new Promise<void>((resolve) => (started = resolve))
    const { url } = await setUp(t, (request, response) => {
      request.once('data', () => started?.())
      echo(request, response)
    })
    const request = httpRequest(url, { method: 'POST' })
    request.write('first,')
    await begun
    request.end('second')
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    t.equal((JSON.parse(Buffer.concat(chunks).toString()) as Echo).body, 'first,second')
  },
)

t.test('big bodies arrive whole in both directions', async (t) => {
  const { url } = await setUp(t, (request, response) => void request.pipe(response))
  const body = Buffer.alloc(20 * 1024 * 1024, 'causeway')
  const answer = Buffer.from(
    await (await fetch(url, { method: 'POST', body, duplex: 'half' })).arrayBuffer(),
  )
  t.ok(answer.equals(body))
})

t.test('a client that goes away takes its request to the backend with it', async (t) => {
  let gone: (() => void) | undefined
  const closed = new Promise<void>((resolve) => (gone = resolve))
  const { url } = await setUp(t, (_, response) => {
    response.on('close', () => gone?.())
    response.writeHead(200).flushHeaders()
  })
  const abort = new AbortController()
  await fetch(url, { signal: abort.signal })
  abort.abort()
  await closed
  t.pass('the backend saw the connection close')
})

t.test('a client that goes away before the answer does so too', async (t) => {
  let gone: (() => void) | undefined
  const abort = new AbortController()
  const closed = new Promise<void>((resolve) => (gone = resolve))
  const { url } = await setUp(t, (_, response) => {
    response.on('close', () => gone?.())
    abort.abort()
  })
  await t.rejects(fetch(url, { signal: abort.signal }))
  await closed
})

t.test('a dead backend is a 502 in JSON', async (t) => {
  const { url, backend } = await setUp(t, echo)
  backend.close()
  await once(backend, 'close')
  for (const method of ['GET', 'POST']) {
    const answer = await fetch(url, { method })
    t.equal(answer.status, 502)
    t.same(await answer.json(), { error: 'backend of route "api" cannot be reached or broke off' })
  }
})

t.test('a backend that breaks off before its answer is a 502 too', async (t) => {
  const { url } = await setUp(t, (request) => request.socket.destroy())
  t.equal((await fetch(url)).status, 502)
})

t.test('a backend that breaks off inside its answer ends the answer unfinished', async (t) => {
  const { url } = await setUp(t, (_, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('half', () => response.destroy())
  })
  await t.rejects(fetch(url).then((answer) => answer.text()))
})

t.test('connections to the backend are kept and used again', async (t) => {
  const ports = new Set<number | undefined>()
  const { url } = await setUp(t, (request, response) => {
    ports.add(request.socket.remotePort)
    response.end('ok')
  })
  for (let i = 0; i < 3; i++) await (await fetch(url)).text()
  t.equal(ports.size, 1)
})

t.test('a redirect to the backend leads to the proxy instead', async (t) => {
  const publicUrl = 'https://mcp.example.com/'
  let location = ''
  const redirect: RequestListener = (_, response) =>
    void response.writeHead(302, { location }).end()
  const bare = await setUp(t, redirect, { base: '/base' })
  const known = await setUp(t, redirect, { base: '/base', options: { publicUrl } })
  const cases: [location: string, seen: string, seenWithPublicUrl: string][] = [
    ['ORIGIN/base/api/y?z#f', '/api/y?z#f', 'https://mcp.example.com/api/y?z#f'],
    ['/base/api/y', '/api/y', 'https://mcp.example.com/api/y'],
    ['/base', '/', 'https://mcp.example.com/'],
    ['ORIGIN/elsewhere', 'ORIGIN/elsewhere', 'ORIGIN/elsewhere'],
    ['/basement', '/basement', '/basement'],
    ['next', 'next', 'next'],
    ['https://login.example/x', 'https://login.example/x', 'https://login.example/x'],
    ['//login.example/x', '//login.example/x', '//login.example/x'],
  ]
  for (const [from, seen, seenPublic] of cases) {
    for (const [side, wanted] of [
      [bare, seen],
      [known, seenPublic],
    ] as const) {
      location = from.replace('ORIGIN', side.origin.origin)
      const answer = await fetch(side.url, { redirect: 'manual' })
      t.equal(answer.headers.get('location'), wanted.replace('ORIGIN', side.origin.origin), from)
    }
  }
})

t.test('paths that climb out of the route are refused', async (t) => {
  let reached = 0
  const { url } = await setUp(t, (_, response) => {
    reached++
    response.end()
  })
  for (const path of [
    '/api/../admin',
    '/api/%2e%2E/admin',
    '/api/..',
    '/api\\..\\admin',
    '/./api',
  ]) {
    const text = await raw(url, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`, /\}$/)
    t.match(text, /^HTTP\/1.1 400 /, path)
  }
  t.equal(reached, 0)
  const fine = await fetch(new URL('/api/a..b/...?q=/../', url))
  t.equal(fine.status, 200)
})

t.test('a body without a length cannot smuggle a second request', async (t) => {
  const paths: (string | undefined)[] = []
  const { url } = await setUp(t, (request, response) => {
    paths.push(request.url)
    echo(request, response)
  })
  const inner = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
  const chunked = (method: string) =>
    `${method} /outer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n` +
    `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`
  for (const method of ['DELETE', 'OPTIONS']) {
    t.match(await raw(url, chunked(method), /\}$/), /^HTTP\/1.1 411 /, method)
  }
  for (const method of ['GET', 'POST']) {
    const text = await raw(url, chunked(method), /\}$/)
    t.match(text, JSON.stringify(inner).slice(1, -1), `${method} has its body`)
  }
  t.same(paths, ['/outer', '/outer'])
})

t.test('Expect: 100-continue is answered here and not passed on', async (t) => {
  const { url } = await setUp(t, echo)
  const request = httpRequest(url, { method: 'POST', headers: { expect: '100-continue' } })
  request.flushHeaders()
  await once(request, 'continue')
  request.end('body')
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  const answer = JSON.parse(Buffer.concat(chunks).toString()) as Echo
  t.equal(answer.body, 'body')
  t.notOk('expect' in answer.headers)
})

/** A WebSocket server that gives every short text frame back: RFC 6455, sections 4.2.2 and 5.2. */
const echoFrames = (server: Server, sockets: Set<Socket>): void => {
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash('sha1').update(key).digest('base64')
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    socket.on('data', (frame: Buffer) => {
      const length = (frame[1] ?? 0) & 0x7f
      const mask = frame.subarray(2, 6)
      const payload = frame.subarray(6, 6 + length).map((byte, i) => byte ^ (mask[i % 4] ?? 0))
      socket.write(Buffer.concat([Buffer.from([frame[0] ?? 0, length]), payload]))
    })
  })
}

t.test('WebSockets pass both ways, and end together', async (t) => {
  const { url, backend, passthrough } = await setUp(t, echo)
  const sockets = new Set<Socket>()
  echoFrames(backend, sockets)
  const open = async () => {
    const socket = new WebSocket(`ws://${url.host}/api/live?room=1`)
    await once(socket, 'open')
    return socket
  }
  const first = await open()
  for (const text of ['hello', 'again']) {
    first.send(text)
    const [event] = (await once(first, 'message')) as [MessageEvent]
    t.equal(event.data, text)
  }
  t.equal(sockets.size, 1)
  const closed = once(first, 'close')
  for (const socket of sockets) socket.destroy()
  await closed
  t.pass('the client is closed when the backend closes')

  const second = await open()
  const cut = once(second, 'close')
  passthrough.close()
  await cut
  t.pass('closing the passthrough closes its WebSockets')
})

t.test('a WebSocket to a dead backend is a 502, other upgrades are a 501', async (t) => {
  const { url, backend } = await setUp(t, echo)
  backend.close()
  await once(backend, 'close')
  const upgradeTo = (protocol: string) =>
    raw(
      url,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
      /\}$/,
    )
  t.match(await upgradeTo('websocket'), /^HTTP\/1.1 502 [^]*cannot be reached/)
  t.match(await upgradeTo('h2c'), /^HTTP\/1.1 501 /)
})

t.test('a backend that refuses the upgrade has its answer passed on', async (t) => {
  const { url } = await setUp(t, (_, response) => void response.writeHead(403).end('no'))
  const request = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
  t.match(await raw(url, request, /no/), /^HTTP\/1.1 403 [^]*no/)
})
