// The `auth` of a route: who may come in, and what the backend is told of them. Rules between its keys stand in
// checks.ts.
import { z } from 'zod'
import { baseUrl, duration, headerMap, headerName, secretText } from './values.ts'

const time = (text: string, meaning: string) => duration().prefault(text).describe(meaning)

const scopes = (meaning: string) =>
  z
    .array(
      z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, {
        error: 'a scope is printable ASCII without spaces, quotes and backslashes',
      }),
    )
    .default([])
    .describe(meaning)

/** Kept as it is written: issuers are compared letter by letter (RFC 8414, section 3.3). */
const issuer = z.string().regex(/^https?:\/\/[^\s?#]+$/, {
  error: 'an issuer is an http or https URL without query and fragment',
})

const claimTemplate = z.string().min(1).meta({ kind: 'template of claims' })

const issuerSchema = z.strictObject({
  issuer: issuer.describe('The `iss` of its tokens, letter by letter.'),
  audience: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'Values of `aud` that are accepted. Default: the URL of the route as clients see it.',
    ),
  algorithms: z
    .array(
      z.enum([
        'RS256',
        'RS384',
        'RS512',
        'PS256',
        'PS384',
        'PS512',
        'ES256',
        'ES384',
        'ES512',
        'EdDSA',
        'HS256',
        'HS384',
        'HS512',
      ]),
    )
    .min(1)
    .default(['RS256', 'PS256', 'ES256', 'EdDSA'])
    .describe('Signatures that are accepted. HS256 and its like take a `secret`.'),
  jwksUrl: baseUrl().optional().describe('Where its keys are. Default: where its metadata says.'),
  secret: secretText.optional().describe('The shared secret of HS256, HS384 and HS512.'),
  clockTolerance: time('30s', 'How far its clock and ours may differ.'),
  requireAtJwt: z
    .boolean()
    .default(false)
    .describe('Accepts only tokens of the type at+jwt (RFC 9068).'),
})

const introspectionSchema = z.strictObject({
  url: baseUrl().describe('The introspection endpoint (RFC 7662).'),
  clientId: z.string().min(1).describe('Who we are there.'),
  clientSecret: secretText.describe('And the secret that shows it.'),
  issuer: issuer.describe('Whose tokens these are: part of who their users are here.'),
  audience: z
    .array(z.string().min(1))
    .default([])
    .describe('Values of `aud` or `client_id` that are accepted. Default: as for issuers.'),
})

const apiKeySchema = z.strictObject({
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, { error: 'a SHA-256 is 64 hexadecimal digits' })
    .describe('SHA-256 of the key.'),
  principal: z.string().min(1).describe('Who has it.'),
  scopes: scopes('What it is good for.'),
})

const idLookupSchema = z.strictObject({
  claim: z.string().min(1).default('sub').describe('The claim that is looked up.'),
  table: z
    .record(z.string(), z.string())
    .optional()
    .describe('Ids by the value of the claim, written out.'),
  url: z.string().optional().describe('Where to ask for it; `{value}` is the value of the claim.'),
  headers: headerMap().prefault({}).describe('Headers of that request.'),
  pointer: z
    .string()
    .regex(/^(?:\/.*)?$/, { error: 'a JSON pointer is empty or begins with "/"' })
    .default('/id')
    .describe('Where the id stands in the answer (RFC 6901).'),
  cacheTime: time('5m', 'How long an id that was found is used.'),
})

const credentialSchema = z.strictObject({
  type: z
    .enum(['none', 'headers', 'jwt', 'forward'])
    .default('none')
    .describe(
      '`none`: nothing, `headers`: the headers below, `jwt`: a token made for the backend, `forward`: the token of the client, which must have been issued for the backend too.',
    ),
  headers: headerMap().prefault({}).describe('With `headers`: the same for all.'),
  algorithm: z
    .enum(['HS256', 'RS256', 'ES256'])
    .default('HS256')
    .describe('With `jwt`: how it is signed.'),
  key: secretText.optional().describe('With `jwt`: the shared secret, or a private key in PEM.'),
  issuer: z.string().min(1).optional().describe('With `jwt`: its `iss`.'),
  audience: z.string().min(1).optional().describe('With `jwt`: its `aud`.'),
  subject: claimTemplate.default('{claims.sub}').describe('With `jwt`: its `sub`.'),
  claims: z
    .record(z.string(), claimTemplate)
    .default({})
    .describe('With `jwt`: further claims, as templates.'),
  lifetime: time('5m', 'With `jwt`: how long it is good.'),
})

export const authSchema = z.strictObject({
  type: z
    .enum(['none', 'relay', 'verify'])
    .default('none')
    .describe(
      '`none`: whoever comes is let in, and the backend judges. `relay`: the backend has an authorization server of its own, which clients are led to. `verify`: tokens of other authorization servers, or keys, are verified here.',
    ),
  scopes: scopes(
    'What every request needs (`verify`), or what clients are told to ask for (`relay`).',
  ),
  authorizationServer: issuer
    .optional()
    .describe(
      'With `relay`: the issuer of the backend’s authorization server. Default: found out.',
    ),
  as: z
    .enum(['own-origin', 'facade'])
    .default('own-origin')
    .describe(
      'With `relay`: clients use the authorization server where it is, or at our own address, where it cannot be reached otherwise.',
    ),
  shims: z
    .boolean()
    .default(true)
    .describe(
      'With `relay`: /authorize, /token, /register and /revoke at our root lead there too, for clients that invent them. One route of a file can have them.',
    ),
  optional: z
    .boolean()
    .default(false)
    .describe('With `relay`: requests without a token go to the backend.'),
  issuers: z.array(issuerSchema).prefault([]).describe('With `verify`: whose tokens are accepted.'),
  introspection: introspectionSchema
    .optional()
    .describe('With `verify`: where tokens that say nothing themselves are asked about.'),
  apiKeys: z.array(apiKeySchema).default([]).describe('With `verify`: static keys.'),
  tools: z
    .record(z.string(), scopes('What calls of this tool need besides.'))
    .default({})
    .describe('With `verify`: scopes by tool.'),
  implies: z
    .record(z.string(), scopes('What this scope includes.'))
    .default({})
    .describe('With `verify`: scopes that include others.'),
  headers: z
    .record(headerName, claimTemplate)
    .superRefine((headers, context) => {
      const names = Object.keys(headers).map((name) => name.toLowerCase())
      const twice = names.find((name, index) => names.indexOf(name) !== index)
      if (twice !== undefined) context.addIssue(`the header "${twice}" is set twice`)
    })
    .default({})
    .describe(
      'With `verify`: headers for the backend, such as `x-user-id: "{claims.sub}"`. `{principal}`, `{client}` and `{id}` may stand there too.',
    ),
  parameters: z
    .record(z.string(), claimTemplate)
    .default({})
    .describe(
      'With `verify`: parameters of the path that must be what the token says, such as `user: "{claims.sub}"`.',
    ),
  id: idLookupSchema.optional().describe('With `verify`: what `{id}` is.'),
  credential: credentialSchema
    .prefault({})
    .describe('With `verify`: what the backend gets instead of the token of the client.'),
})
