// An answer's body that is written as it comes, because it is too large to be held. Its headers have said 200, so what
// goes wrong later can only end the connection.
import type { ServerResponse } from 'node:http'
import { ProxyError } from '../errors.ts'
import type { Sink } from '../protocol/passing.ts'
import type { StreamLimits } from './event-stream.ts'
import type { Keeper } from './keeper.ts'

/** `length`: bytes of the body, if known. `onCut` hears why a client was cut off. */
export function openBodySink(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  length: number | undefined,
  { keeper, limits }: { readonly keeper: Keeper; readonly limits: StreamLimits },
  onCut: (reason: string) => void,
): Sink {
  let blockedSince: number | undefined
  let drained: (() => void)[] = []
  const wake = (): void => {
    blockedSince = undefined
    const tasks = drained
    drained = []
    for (const task of tasks) task()
  }
  const kept = {
    tick(now: number) {
      if (blockedSince === undefined || now - blockedSince < limits.stallTime) return
      onCut(`it read nothing for ${limits.stallTime} ms`)
      response.destroy()
    },
  }
  keeper.add(kept)
  response.on('drain', wake)
  response.on('close', () => {
    keeper.remove(kept)
    wake()
  })
  response.writeHead(200, {
    ...headers,
    ...(length !== undefined && { 'content-length': length }),
  })
  return {
    write(chunk) {
      if (response.destroyed) throw new ProxyError('CANCELLED', 'the client has gone')
      if (!response.write(chunk)) blockedSince ??= keeper.now
      return blockedSince === undefined
    },
    onceDrained(task) {
      if (blockedSince === undefined || response.destroyed) task()
      else drained.push(task)
    },
    end: () => void response.end(),
  }
}
