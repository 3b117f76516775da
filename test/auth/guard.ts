import t from 'tap'
import { challenged, missing, named } from '../../src/auth/guard.ts'
import { ProxyError } from '../../src/errors.ts'

const resource = 'https://mcp.example.com/mcp'
const metadata = 'https://mcp.example.com/.well-known/oauth-protected-resource/mcp'

t.test('a challenge changes nothing else of an error', async (t) => {
  const cause = new Error('why')
  const error = new ProxyError('SCOPE_INSUFFICIENT', 'no', {
    cause,
    retryAfter: 7,
    status: 418,
    headers: { allow: 'GET', 'www-authenticate': 'Basic' },
  })
  const told = challenged(error, resource, { error: 'insufficient_scope', scopes: ['a'] })
  t.match(told, {
    code: 'SCOPE_INSUFFICIENT',
    message: 'no',
    cause,
    retryAfter: 7,
    status: 418,
  })
  t.same(told.headers, {
    allow: 'GET',
    'www-authenticate': `Bearer resource_metadata="${metadata}", scope="a", error="insufficient_scope"`,
  })
})

t.test('who brings no token is told where they are, and of no error', async (t) => {
  const { status, code, headers } = missing(resource, ['use'])
  t.match({ status, code }, { status: 401, code: 'TOKEN_MISSING' })
  t.equal(headers['www-authenticate'], `Bearer resource_metadata="${metadata}", scope="use"`)
})

t.test('the principal is added, whatever stood there', async (t) => {
  const inbound = { 'x-causeway-principal': 'eve', accept: 'a' }
  t.same(named(inbound, { principal: 'ann' }), { 'x-causeway-principal': 'ann', accept: 'a' })
  t.equal(inbound['x-causeway-principal'], 'eve')
})
