// Contestant *splice*: two sockets piped, the least that any Node program can cost. Argument: the backend's port.
import { connect, createServer } from 'node:net'
import { announce } from './listening.ts'

const port = Number(process.argv[2])

announce(
  createServer({ noDelay: true }, (client) => {
    const backend = connect({ port, host: '127.0.0.1', noDelay: true })
    client.pipe(backend)
    backend.pipe(client)
    client.on('error', () => backend.destroy())
    backend.on('error', () => client.destroy())
    client.on('close', () => backend.destroy())
    backend.on('close', () => client.destroy())
  }),
)
