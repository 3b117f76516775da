// Rules between the keys of `auth`, and between those of several routes.
import type { Finding } from './document.ts'

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What means something with one type only. */
const keysOf = {
  relay: ['authorizationServer', 'as', 'shims', 'optional'],
  verify: [
    'issuers',
    'introspection',
    'apiKeys',
    'tools',
    'implies',
    'headers',
    'parameters',
    'id',
    'credential',
  ],
} as const

/** `written`: the whole configuration, as it was written. */
export function checkAuth(written: Readonly<Record<string, unknown>>): readonly Finding[] {
  const { routes, publicUrl } = written
  const findings: Finding[] = []
  let shimmed: number | undefined
  for (const [index, route] of (Array.isArray(routes) ? routes : []).entries()) {
    const auth: unknown = isRecord(route) ? route['auth'] : undefined
    if (!isRecord(auth)) continue
    const path = ['routes', index, 'auth']
    const type = auth['type'] ?? 'none'
    for (const [meant, keys] of Object.entries(keysOf)) {
      if (meant === type) continue
      for (const key of keys.filter((each) => auth[each] !== undefined)) {
        const message = `"${key}" means something only with "type: ${meant}"`
        findings.push({ path: [...path, key], key: true, message })
      }
    }
    if (type === 'none') {
      const { scopes } = auth
      if (Array.isArray(scopes) && scopes.length > 0) {
        const message = '"scopes" means something only with "type: relay" or "type: verify"'
        findings.push({ path: [...path, 'scopes'], key: true, message })
      }
      continue
    }
    if (publicUrl === undefined) {
      const message = 'needs "publicUrl": clients are told the URL of what they ask for'
      findings.push({ path, message })
    }
    if (type === 'verify' && !verifies(auth)) {
      const message = 'needs "issuers", "introspection" or "apiKeys": nobody could come in'
      findings.push({ path, message })
    }
    for (const name of unusedParameters(route, auth)) {
      const message = `"{${name}}" stands neither in the path of the route nor in its backend`
      findings.push({ path: [...path, 'parameters', name], key: true, message })
    }
    if (auth['as'] === 'facade' && auth['shims'] === false) {
      const message = '"as: facade" needs the endpoints at our root; leave out "shims: false"'
      findings.push({ path: [...path, 'shims'], key: true, message })
    }
    const pattern: unknown = isRecord(route) ? route['path'] : undefined
    if (auth['as'] === 'facade' && typeof pattern === 'string' && pattern.includes('{')) {
      const message = '"as: facade" stands for one resource; the path of the route has parameters'
      findings.push({ path: [...path, 'as'], message })
    }
    if (type !== 'relay' || auth['shims'] === false) continue
    if (shimmed === undefined) shimmed = index
    else {
      const message = `routes[${shimmed}] has the endpoints at the root already; set "shims: false" here or there`
      findings.push({ path, message })
    }
  }
  return findings
}

const verifies = (auth: Readonly<Record<string, unknown>>): boolean =>
  auth['introspection'] !== undefined ||
  ['issuers', 'apiKeys'].some((key) => {
    const list = auth[key]
    return Array.isArray(list) && list.length > 0
  })

/** Parameters that nothing has a place for: a check that its operator believes in would never be made. */
function unusedParameters(route: unknown, auth: Readonly<Record<string, unknown>>): string[] {
  if (!isRecord(route) || !isRecord(auth['parameters'])) return []
  const backend = isRecord(route['backend']) ? route['backend'] : {}
  const headers = isRecord(backend['headers']) ? Object.values(backend['headers']) : []
  const places = [route['path'], backend['url'], ...headers]
  return Object.keys(auth['parameters']).filter(
    (name) => !places.some((text) => typeof text === 'string' && text.includes(`{${name}}`)),
  )
}
