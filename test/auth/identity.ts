import t from 'tap'
import {
  identityHeader,
  identityParameter,
  identityTemplate,
  identityText,
  parseIdentityTemplate,
} from '../../src/auth/identity.ts'
import type { Identity } from '../../src/auth/identity.ts'
import type { JsonObject } from '../../src/protocol/jsonrpc.ts'

const who = (claims: JsonObject = {}, more: Partial<Identity> = {}): Identity => ({
  principal: 'https://as.example.com|user-1',
  clientId: 'client-1',
  scopes: [],
  expires: undefined,
  claims: { sub: 'user-1', ...claims },
  ...more,
})
const made = (text: string) => identityTemplate(text, 'headers.x')

t.test('each name stands for what the credential says', async (t) => {
  const someone = who(
    {
      email: 'a@example.com',
      verified: true,
      number: 42,
      zero: 0,
      user: { id: { internal: 'deep' } },
      'https://example.com/tenant': 'acme',
      a: { 'b.c': 'quoted' },
      'cognito:username': 'colon',
    },
    { id: 'internal-1' },
  )
  const cases = {
    '{claims.sub}': 'user-1',
    '{principal}': 'https://as.example.com|user-1',
    '{client}': 'client-1',
    '{id}': 'internal-1',
    '{claims.email} of {client}': 'a@example.com of client-1',
    '{claims.verified}': 'true',
    '{claims.number}{claims.zero}': '420',
    '{claims.user.id.internal}': 'deep',
    "{claims.'https://example.com/tenant'}": 'acme',
    "{claims.a.'b.c'}": 'quoted',
    '{claims.cognito:username}': 'colon',
    '{{claims.sub}}': '{claims.sub}',
    plain: 'plain',
  }
  for (const [text, wanted] of Object.entries(cases)) {
    t.equal(identityText(made(text), someone), wanted, text)
  }
})

t.test('a faulty template is told with its place', async (t) => {
  const cases: Record<string, RegExp> = {
    'ab{': /^character 3: "\{" is never closed/,
    'ab}c': /^character 3: "\}" closes nothing/,
    'a {claim.sub}': /^character 3: "\{claim\.sub\}" is none of/,
    '{claims}': /^character 1: .*is none of/,
    '{claims.}': /^character 1: /,
    '{claims.a..b}': /^character 1: /,
    "{claims.'open}": /^character 1: /,
    '{ID}': /^character 1: /,
    '{}': /^character 1: /,
    'x\r\ny': /^character 2: .*control/,
    'x\ud800': /^character 2: not well-formed/,
  }
  for (const [text, wanted] of Object.entries(cases)) {
    const parsed = parseIdentityTemplate(text)
    t.match(parsed.ok ? 'accepted' : parsed.reason, wanted, JSON.stringify(text))
  }
  t.throws(() => identityTemplate('{', 'headers.x'), {
    code: 'CONFIG_INVALID',
    message: /^headers\.x: character 1/,
  })
})

t.test('a template says whether it needs an id map', async (t) => {
  t.equal(made('{id}').usesId, true)
  t.equal(made('{claims.id}').usesId, false)
  t.throws(() => identityText(made('{id}'), who()), { code: 'CONFIG_INVALID' })
})

t.test('a missing claim is named, and nothing of the token shown', async (t) => {
  const someone = who(
    {
      nothing: null,
      empty: '',
      list: ['SECRET'],
      object: { a: 'SECRET' },
      part: 1.5,
      text: 'SECRET',
    },
    { clientId: undefined },
  )
  const cases: Record<string, RegExp> = {
    '{claims.email}': /lacks the claim "email"/,
    '{claims.nothing}': /lacks the claim "nothing"/,
    '{claims.empty}': /lacks the claim "empty"/,
    '{claims.text.length}': /lacks the claim "text\.length"/,
    '{claims.list.0}': /lacks the claim "list\.0"/,
    '{claims.list.length}': /lacks/,
    '{claims.list}': /"list" is neither text nor/,
    '{claims.object}': /"object" is neither text nor/,
    '{claims.part}': /"part" is neither text nor/,
    '{client}': /lacks its client/,
  }
  for (const [text, wanted] of Object.entries(cases)) {
    t.throws(
      () => identityText(made(text), someone),
      { code: 'TOKEN_INVALID', message: wanted },
      text,
    )
    t.throws(() => identityHeader(made(text), someone), { code: 'TOKEN_INVALID' })
    try {
      identityText(made(text), someone)
    } catch (error) {
      t.notMatch((error as Error).message, /SECRET/)
    }
  }
})

t.test('what every object inherits is no claim', async (t) => {
  const names = [
    '__proto__',
    'constructor',
    'toString',
    'constructor.name',
    '__proto__.constructor',
  ]
  for (const name of names) {
    t.throws(
      () => identityText(made(`{claims.${name}}`), who()),
      { code: 'TOKEN_INVALID', message: /lacks/ },
      name,
    )
  }
  const own = JSON.parse('{"__proto__":"own","constructor":{"name":"own too"}}') as JsonObject
  const someone: Identity = { ...who(), claims: own }
  t.equal(identityText(made('{claims.__proto__}'), someone), 'own')
  t.equal(identityText(made('{claims.constructor.name}'), someone), 'own too')
})

t.test('a number that has lost digits is no id', async (t) => {
  const one = JSON.parse('{"sub":9007199254740993}') as JsonObject
  t.throws(() => identityText(made('{claims.sub}'), who(one)), { code: 'TOKEN_INVALID' })
  t.equal(identityText(made('{claims.sub}'), who({ sub: 9007199254740991 })), '9007199254740991')
})

t.test('a value that no header or path could carry is refused', async (t) => {
  const long = who({ sub: 'x'.repeat(1025) })
  t.throws(() => identityText(made('{claims.sub}'), long), {
    code: 'TOKEN_INVALID',
    message: /1025 characters, more than 1024/,
  })
  t.equal(identityText(made('{claims.sub}'), who({ sub: 'x'.repeat(1024) })).length, 1024)
  for (const use of [identityText, identityHeader, identityParameter]) {
    t.throws(() => use(made('{claims.sub}'), who({ sub: 'a\ud800' })), { code: 'TOKEN_INVALID' })
  }
})

t.test('no value ends a header', async (t) => {
  for (const bad of ['\r\nx-user-id: admin', '\n', '\r', '\0', '\x1b[2J', '\x7f', '\x85', '\t']) {
    for (const sub of [`a${bad}`, `${bad}a`]) {
      const make = () => identityHeader(made('{claims.sub}'), who({ sub }))
      t.throws(
        make,
        { code: 'TOKEN_INVALID', message: /"sub" holds a control/ },
        JSON.stringify(sub),
      )
    }
  }
})

t.test(
  'what is not ASCII is percent-encoded in headers, and no two values become one',
  async (t) => {
    const cases = {
      Zoë: 'Zo%C3%AB',
      用户: '%E7%94%A8%E6%88%B7',
      '😀': '%F0%9F%98%80',
      '\u2028': '%E2%80%A8',
      '100%': '100%25',
      'Zo%C3%AB': 'Zo%25C3%25AB',
      ' a b ': '%20a b%20',
      'a,b;c="d"': 'a,b;c="d"',
    }
    for (const [sub, wanted] of Object.entries(cases)) {
      t.equal(identityHeader(made('{claims.sub}'), who({ sub })), wanted, sub)
    }
    t.equal(identityHeader(made('ë 5% {claims.sub}'), who()), '%C3%AB 5% user-1')
  },
)

t.test('a parameter of a path is one plain segment', async (t) => {
  const use = (sub: string) => identityParameter(made('{claims.sub}'), who({ sub }))
  for (const good of ['user-1', 'A_b.c', '...a', 'x'.repeat(128), '__proto__'])
    t.equal(use(good), good)
  const bad = ['.', '..', '...', '../admin', 'a/b', 'a\\b', '%2e%2e', 'a%2fb', 'a?b', 'a#b', 'a b']
  for (const sub of [...bad, 'a;b', 'a\n', '\na', 'ë', 'a@b', 'x'.repeat(129), 'a|b', 'a:b']) {
    t.throws(
      () => use(sub),
      { code: 'TOKEN_INVALID', message: /"\{claims\.sub\}"/ },
      JSON.stringify(sub),
    )
  }
  t.equal(identityParameter(made('u-{claims.sub}'), who({ sub: '..' })), 'u-..')
  t.throws(() => identityParameter(made('.{claims.sub}'), who({ sub: '.' })), {
    code: 'TOKEN_INVALID',
  })
  t.throws(() => identityParameter(made('{principal}'), who()), { code: 'TOKEN_INVALID' })
})
