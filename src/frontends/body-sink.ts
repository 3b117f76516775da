// An answer's body that is written as it comes, because it is too large to be held. Its headers have said 200, so what
// goes wrong later can only end the connection.
import { ProxyError } from '../errors.ts'
import type { Sink } from '../protocol/passing.ts'
import { Drain } from './drain.ts'
import type { StreamLimits } from './event-stream.ts'
import type { Answerable } from './exchange.ts'
import type { Keeper } from './keeper.ts'

/** `length`: bytes of the body, if known. `onCut` hears why a client was cut off. */
export function openBodySink(
  response: Answerable,
  headers: Readonly<Record<string, string>>,
  length: number | undefined,
  { keeper, limits }: { readonly keeper: Keeper; readonly limits: StreamLimits },
  onCut: (reason: string) => void,
): Sink {
  const drain = new Drain(response, keeper)
  const kept = {
    tick(now: number) {
      const { blockedSince } = drain
      if (blockedSince === undefined || now - blockedSince < limits.stallTime) return
      onCut(`it read nothing for ${limits.stallTime} ms`)
      response.destroy()
    },
  }
  const unwatch = keeper.add(kept)
  response.on('close', () => {
    unwatch()
    drain.wake()
  })
  response.writeHead(200, {
    ...headers,
    ...(length !== undefined && { 'content-length': length }),
  })
  return {
    write(chunk) {
      if (response.destroyed) throw new ProxyError('CANCELLED', 'the client has gone')
      return drain.write(chunk)
    },
    onceDrained(task) {
      if (response.destroyed) task()
      else drain.onceDrained(task)
    },
    end: () => void response.end(),
  }
}
