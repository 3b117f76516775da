// What every server of the bench says once it can be reached; the orchestrator waits for this line.
import type { AddressInfo, Server } from 'node:net'

/** Listens on a free port of 127.0.0.1. The queue of connections is long, for workloads that open many at once. */
export function announce(server: Server): void {
  server.listen(0, '127.0.0.1', 8192, () => {
    process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`)
  })
}
