import t from 'tap'
import { createAudit } from '../../src/telemetry/audit.ts'
import type { AuditConfig, AuditEntry } from '../../src/telemetry/audit.ts'
import { createLog } from '../../src/telemetry/log.ts'

const entry: AuditEntry = {
  principal: 'https://as.example.com|user-1',
  client: 'client-1',
  route: 'memory',
  method: 'tools/call',
  tool: 'search',
  decision: 'allowed',
  duration: 1.6,
}

/** What a trail has written. */
function trail(form: AuditConfig['principal'] = 'digest') {
  const written: string[] = []
  const stream = { write: (line: string) => void written.push(line) }
  const audit = createAudit(createLog({ level: 'info', format: 'json', stream }), {
    principal: form,
  })
  return {
    written,
    line(some: Partial<AuditEntry> = {}): Record<string, unknown> {
      audit({ ...entry, ...some })
      return JSON.parse(written.at(-1) ?? '') as Record<string, unknown>
    },
  }
}

t.test('a decision is one line', async (t) => {
  const { line, written } = trail()
  const { time, ...rest } = line()
  t.type(time, 'string')
  t.match(rest['principal'], /^[\w-]{12}$/)
  t.strictSame(rest, {
    level: 'info',
    msg: 'audit',
    principal: rest['principal'],
    client: 'client-1',
    route: 'memory',
    method: 'tools/call',
    tool: 'search',
    decision: 'allowed',
    ms: 2,
  })
  t.equal(written.length, 1)
  t.match(line({ decision: 'refused', code: 'SCOPE_INSUFFICIENT' }), {
    decision: 'refused',
    code: 'SCOPE_INSUFFICIENT',
  })
})

t.test('what is not known is not written', async (t) => {
  const nobody = { principal: undefined, client: undefined, method: undefined, tool: undefined }
  const line = trail().line({ ...nobody, decision: 'refused', code: 'TOKEN_MISSING' })
  t.strictSame(Object.keys(line).sort(), [
    'code',
    'decision',
    'level',
    'ms',
    'msg',
    'route',
    'time',
  ])
})

t.test('a principal is told from others, and shown only if that is wanted', async (t) => {
  const { line, written } = trail()
  const one = line()['principal']
  t.equal(line()['principal'], one)
  t.not(line({ principal: 'https://as.example.com|user-2' })['principal'], one)
  t.notMatch(written.join(''), /user-|as\.example/)
  t.equal(trail('clear').line()['principal'], 'https://as.example.com|user-1')
})

t.test('a field that is none of the trail is left out', async (t) => {
  const more = { token: 'SECRET', sessionId: 'SECRET', headers: { authorization: 'SECRET' } }
  const { line, written } = trail('clear')
  t.notOk(['token', 'sessionId', 'headers'].some((name) => name in line({ ...more } as object)))
  t.notMatch(written.join(''), /SECRET/)
})

t.test('what looks like a credential is not shown, wherever it stands', async (t) => {
  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTRUNSRVQifQ.c2lnbmF0dXJl'
  for (const bad of [jwt, `a ${jwt} b`, `Bearer ${'SECRET'}`, 'basic SECRET', 'BEARER  SECRET']) {
    for (const name of ['principal', 'client', 'method', 'tool']) {
      const { line } = trail('clear')
      const text = String(line({ [name]: bad })[name])
      t.match(text, /\[redacted\]/, `${name}: ${bad}`)
      t.notMatch(text, /SECRET|eyJ|c2ln/)
    }
  }
  const cut = `${'x'.repeat(120)} ${jwt}`
  t.notMatch(trail().line({ tool: cut })['tool'], /eyJ/, 'nor a part of it')
  const clientId = 'https://user:SECRET@c.example/client.json?code=SECRET#SECRET'
  t.equal(trail().line({ client: clientId })['client'], 'https://c.example/client.json')
})

t.test('text of a client is printable and has an end', async (t) => {
  const { line, written } = trail()
  t.equal(line({ tool: 'a\r\nb\x1b[2J\u202e\0' })['tool'], 'a??b?[2J??')
  t.equal(written.length, 1)
  t.equal(written[0]?.split('\n').length, 2, 'one line')
  t.equal(String(line({ tool: 'x'.repeat(100_000) })['tool']).length, 131)
  t.equal(line({ tool: '__proto__', method: 'constructor' })['tool'], '__proto__')
})
