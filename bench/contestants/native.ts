// nginx and HAProxy, as Debian packages them: one worker, keep-alive on both sides, no log and no buffering of answers.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { start } from '../processes.ts'
import { programVersion } from '../versions.ts'
import { waitFor } from '../wait-for.ts'
import { backendPaths } from './contestant.ts'
import type { Contestant, Setting } from './contestant.ts'
import { freePort, listens } from './ports.ts'

interface Program {
  readonly name: string
  readonly versionFlag: string
  readonly config: (port: number, setting: Setting) => string
  readonly args: (file: string, setting: Setting) => string[]
}

function native(program: Program): Contestant {
  const { name } = program
  const version = programVersion(name, program.versionFlag)
  return {
    name,
    version: version ?? 'absent',
    absent: version === undefined ? `${name} is not installed` : undefined,
    converts: false,
    yardstick: false,
    warmup: 'none',
    async start(setting) {
      const port = await freePort()
      const file = join(setting.directory, `${name}.conf`)
      writeFileSync(file, program.config(port, setting))
      const started = start({
        core: 'proxy',
        command: name,
        args: program.args(file, setting),
        stdio: 'ignore',
      })
      await waitFor(() => listens(port), `${name} to listen`)
      return { ...started, port, path: backendPaths[setting.crossing.client] }
    },
  }
}

export const nginx = native({
  name: 'nginx',
  versionFlag: '-v',
  args: (file, { directory }) => ['-c', file, '-p', directory, '-g', 'daemon off;'],
  config: (port, { backendPort, directory }) => `
worker_processes 1;
worker_rlimit_nofile 20000;
error_log /dev/null crit;
pid ${directory}/nginx.pid;
events { worker_connections 20000; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  client_max_body_size 16m;
  keepalive_requests 1000000000;
  upstream backend {
    server 127.0.0.1:${backendPort};
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=8192;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }
  }
}
`,
})

export const haproxy = native({
  name: 'haproxy',
  versionFlag: '-v',
  args: (file) => ['-q', '-db', '-f', file],
  config: (port, { backendPort }) => `
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  option abortonclose
  option http-no-delay
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:${port} backlog 8192
  http-reuse safe
  server backend 127.0.0.1:${backendPort} pool-max-conn 256
`,
})
