// The files under docker/ name the same ports, paths and times in several places, and nothing else holds them together.
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { formatProblem, loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

/** All documents of a YAML file; none may hold an error or a warning. */
function parse(path: string): unknown[] {
  return parseAllDocuments(read(path)).map((document) => {
    const [fault] = [...document.errors, ...document.warnings]
    if (fault !== undefined) throw fault
    return document.toJS() as unknown
  })
}

/** What lies at a path of keys and indexes; a missing one is an error that says where. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let here = value
  for (const [depth, key] of path.entries()) {
    const inner = (here as Record<string | number, unknown> | null | undefined)?.[key]
    if (inner === undefined) throw new Error(`nothing at ${path.slice(0, depth + 1).join('.')}`)
    here = inner
  }
  return here
}

const text = (value: unknown, ...path: readonly (string | number)[]): string =>
  String(at(value, ...path))
const list = (value: unknown, ...path: readonly (string | number)[]): readonly unknown[] => {
  const found = at(value, ...path)
  if (!Array.isArray(found)) throw new Error(`no list at ${path.join('.')}`)
  return found
}

/** The pattern's first group; without a match an error, so that no check passes over nothing. */
function find(source: string, pattern: RegExp): string {
  const found = pattern.exec(source)?.[1]
  if (found === undefined) throw new Error(`nothing matches ${pattern.source}`)
  return found
}

function load(t: Test, file: string, source: string, env: Record<string, string> = {}): Config {
  const result = loadConfig(source, file, env, () => 'secret\n')
  if (!result.ok) throw new Error(result.problems.map((one) => formatProblem(file, one)).join('\n'))
  t.ok(result.config.routes.length > 0)
  return result.config
}

/** Puts variables in as Compose does: `${NAME:-default}`, and `${NAME:?message}` for one that must be set. */
function interpolated(value: string, env: Readonly<Record<string, string>>): string {
  return value.replace(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name: string, kind, rest: string) => {
    const found = env[name]
    if (found !== undefined) return found
    if (kind === '-') return rest
    throw new Error(`${name} must be set: ${rest}`)
  })
}

const environment = (service: unknown, given: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries(at(service, 'environment') as Record<string, unknown>).map(([name, value]) => [
      name,
      interpolated(String(value), given),
    ]),
  )

/** `30s` in ms. */
const milliseconds = (duration: string): number => Number(find(duration, /^(\d+)s$/)) * 1000
/** What ends after `drainTime`: sessions are given away, the last letters read, connections closed. */
const farewell = 5000

const dockerfile = read('docker/Dockerfile')
const nginx = read('docker/nginx.conf').replace(/#.*$/gm, '')
const image = {
  config: find(dockerfile, /^CMD .*"(\/[^"]+\.yaml)"\]$/m),
  port: Number(find(dockerfile, /^EXPOSE (\d+)$/m)),
  health: new URL(find(dockerfile, /fetch\('([^']+)'\)/)),
}
const backend = { BACKEND_URL: 'https://backend.example.com/mcp' }

function hardened(t: Test, service: unknown): void {
  t.equal(at(service, 'read_only'), true)
  t.same(at(service, 'cap_drop'), ['ALL'])
  t.same(at(service, 'security_opt'), ['no-new-privileges:true'])
}

/** The file of ours that a service reads as its configuration. */
function mounted(service: unknown): string {
  const volume = list(service, 'volumes').find((one) => String(one).includes(image.config))
  const [source = '', target, mode] = String(volume).split(':')
  if (target !== image.config || mode !== 'ro') throw new Error(`not read there: ${String(volume)}`)
  return posix.join('docker', source)
}

/** That the image's health check, asked inside the container, finds the admin listener. */
function healthy(t: Test, { admin }: Config): void {
  if (admin === false) throw new Error('no admin listener')
  t.equal(admin.port, Number(image.health.port))
  t.ok(['0.0.0.0', image.health.hostname].includes(admin.host), admin.host)
}

t.test('all YAML of docker/ is sound', async (t) => {
  const files = readdirSync(new URL('docker/', root)).filter((name) => name.endsWith('.yaml'))
  t.strictSame(files.sort(), ['causeway.yaml', 'compose.yaml', 'kubernetes.yaml', 'sidecar.yaml'])
  for (const name of files) t.ok(parse(`docker/${name}`).every(Boolean), name)
})

t.test('compose.yaml: replicas behind nginx', async (t) => {
  const [compose] = parse('docker/compose.yaml')
  const causeway = at(compose, 'services', 'causeway')
  t.throws(() => environment(causeway, {}), /BACKEND_URL must be set/)
  const env = environment(causeway, backend)
  const config = load(t, 'causeway.yaml', read(mounted(causeway)), env)
  t.match(config.store, { type: 'redis', url: /^redis:\/\/redis:6379/ })
  t.ok(at(compose, 'services', 'redis', 'healthcheck', 'test'))
  t.equal(config.listen.host, '0.0.0.0')
  t.ok(Number(at(causeway, 'deploy', 'replicas')) > 1)
  t.ok(config.drainTime + farewell <= milliseconds(text(causeway, 'stop_grace_period')))
  healthy(t, config)
  for (const name of ['redis', 'causeway', 'nginx']) hardened(t, at(compose, 'services', name))

  const balancer = at(compose, 'services', 'nginx')
  t.match(at(balancer, 'volumes'), ['./nginx.conf:/etc/nginx/nginx.conf:ro'])
  const published = find(nginx, /^\s*listen (\d+);/m)
  t.same(at(balancer, 'ports'), [`8080:${published}`])
  t.match(config.publicUrl, /:8080$/, 'as clients reach it')
  const [, host, port] = /^\s*server (\w+):(\d+) resolve;/m.exec(nginx) ?? []
  t.ok(Object.hasOwn(at(compose, 'services') as object, host ?? ''), 'the upstream is a service')
  t.equal(Number(port), config.listen.port)
  t.equal(image.port, config.listen.port)
  t.equal(find(nginx, /client_max_body_size (\d+)m;/), String(config.limits.body / 1024 ** 2))
  t.ok(Number(find(nginx, /proxy_read_timeout (\d+)h;/)) * 3_600_000 >= config.limits.requestTime)
})

t.test('nginx.conf: nothing is kept back, kept together or sent twice', async (t) => {
  t.match(nginx, /^\s*proxy_buffering off;/m)
  t.match(nginx, /^\s*proxy_request_buffering on;/m)
  t.match(nginx, /^\s*proxy_http_version 1\.1;/m)
  t.match(nginx, /^\s*resolver 127\.0\.0\.11 /m)
  t.match(nginx, /^\s*zone /m, 'which resolve needs')
  t.match(nginx, /map \$http_upgrade \$connection_upgrade \{\s*default upgrade;\s*'' '';\s*\}/)
  t.match(nginx, /^\s*proxy_set_header Connection \$connection_upgrade;/m)
  t.equal(find(nginx, /^\s*proxy_next_upstream ([^;]+);/m), 'error timeout')
  t.notMatch(nginx, /ip_hash|sticky|hash |non_idempotent/)
  const idle = Number(find(nginx, /keepalive_timeout (\d+)s;/)) * 1000
  const server = read('src/proxy/server.ts')
  const ours = Number(find(server, /keepAliveTimeout = ([\d_]+)/).replace('_', ''))
  t.ok(idle < ours, 'a connection is not closed as it is used')
})

t.test('sidecar.yaml: one beside one', async (t) => {
  const [compose] = parse('docker/sidecar.yaml')
  const causeway = at(compose, 'services', 'causeway')
  const config = load(t, 'sidecar.yaml', read(mounted(causeway)), environment(causeway, {}))
  t.equal(config.store.type, 'memory')
  t.equal(at(causeway, 'network_mode'), 'service:backend')
  t.same(at(compose, 'services', 'backend', 'ports'), [`8080:${config.listen.port}`])
  t.throws(() => interpolated(text(compose, 'services', 'backend', 'image'), {}), /must be set/)
  t.ok(config.drainTime + farewell <= milliseconds(text(causeway, 'stop_grace_period')))
  healthy(t, config)
  hardened(t, causeway)
})

t.test('kubernetes.yaml', async (t) => {
  const objects = parse('docker/kubernetes.yaml')
  const kind = (name: string): unknown => objects.find((one) => at(one, 'kind') === name)
  t.strictSame(
    objects.map((one) => text(one, 'kind')),
    ['ConfigMap', 'Deployment', 'Service', 'PodDisruptionBudget'],
  )
  const deployment = kind('Deployment')
  const pod = at(deployment, 'spec', 'template', 'spec')
  const container = at(pod, 'containers', 0)
  /** The name of what a volume is made of, and where the container has it. */
  const volume = (type: 'configMap' | 'secret', key: string): [string, string] => {
    const found = list(pod, 'volumes').find((one) => Object.hasOwn(one as object, type))
    const mount = list(container, 'volumeMounts').find(
      (one) => text(one, 'name') === text(found, 'name'),
    )
    return [text(found, type, key), text(mount, 'mountPath')]
  }

  const [map, folder] = volume('configMap', 'name')
  t.equal(map, text(kind('ConfigMap'), 'metadata', 'name'))
  t.equal(folder, posix.dirname(image.config))
  const source = text(kind('ConfigMap'), 'data', posix.basename(image.config))
  const config = load(t, image.config, source)
  t.match(config.store, { type: 'redis', password: 'secret' })
  const [, secrets] = volume('secret', 'secretName')
  t.equal(posix.dirname(find(source, /password: \{ file: (\S+) \}/)), secrets)

  t.ok(config.drainTime + farewell <= Number(at(pod, 'terminationGracePeriodSeconds')) * 1000)
  t.equal(at(deployment, 'spec', 'strategy', 'rollingUpdate', 'maxUnavailable'), 0)
  t.equal(at(deployment, 'spec', 'replicas'), 3)

  const portOf = (name: unknown): unknown =>
    at(
      list(container, 'ports').find((one) => text(one, 'name') === name),
      'containerPort',
    )
  if (config.admin === false) throw new Error('no admin listener')
  t.match(config.admin, { host: '0.0.0.0' }, 'probes come from outside the pod')
  t.match(config.listen, { host: '0.0.0.0' })
  for (const [probe, path] of [
    ['readinessProbe', '/readyz'],
    ['livenessProbe', '/healthz'],
  ] as const) {
    t.equal(at(container, probe, 'httpGet', 'path'), path)
    t.equal(portOf(at(container, probe, 'httpGet', 'port')), config.admin.port)
  }
  const service = kind('Service')
  t.equal(list(service, 'spec', 'ports').length, 1, 'the admin listener is not for everybody')
  t.equal(portOf(at(service, 'spec', 'ports', 0, 'targetPort')), config.listen.port)
  t.equal(at(service, 'spec', 'sessionAffinity'), 'None')

  const labels = at(deployment, 'spec', 'template', 'metadata', 'labels')
  t.same(at(deployment, 'spec', 'selector', 'matchLabels'), labels)
  t.same(at(service, 'spec', 'selector'), labels)
  t.same(at(kind('PodDisruptionBudget'), 'spec', 'selector', 'matchLabels'), labels)

  t.match(at(pod, 'securityContext'), { runAsNonRoot: true, runAsUser: 1000 })
  t.match(dockerfile, /^USER node$/m, 'which is user 1000 of the node images')
  t.match(at(container, 'securityContext'), {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
})
