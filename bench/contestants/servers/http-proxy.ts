// Contestant *http-proxy-3*, bare. Arguments: the backend's port, and `keep-alive` for an agent that keeps connections.
import { Agent, createServer } from 'node:http'
import httpProxy from 'http-proxy-3'
import { announce } from './listening.ts'

const [port, mode] = process.argv.slice(2)
const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${port}`,
  ...(mode === 'keep-alive' && { agent: new Agent({ keepAlive: true }) }),
})
proxy.on('error', () => undefined)

announce(
  createServer({ keepAliveTimeout: 0, noDelay: true }, (request, response) => {
    proxy.web(request, response, {}, () => response.destroy())
  }),
)
