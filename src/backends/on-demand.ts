// A body that can be sent once, for a request that may need several tries to find a connection: the HTTP client destroys
// the body of a request that fails, so each try gets a stream of its own, which touches the body at its first read.
import { Readable } from 'node:stream'

/** Fails at its first read if another one has begun to read `body`. */
export function onDemand(body: Readable): Readable {
  let begun = false
  const begin = (to: Readable): void => {
    begun = true
    if (body.readableFlowing !== null) {
      to.destroy(new Error('the body has been sent before'))
      return
    }
    if (body.destroyed) {
      to.destroy(body.errored ?? new Error('the body has no end'))
      return
    }
    body.on('data', (chunk) => {
      if (!to.push(chunk)) body.pause()
    })
    body.once('end', () => to.push(null))
    body.once('error', (error) => to.destroy(error))
    body.once('close', () => {
      if (!body.readableEnded) to.destroy(new Error('the body has no end'))
    })
  }
  return new Readable({
    read() {
      if (begun) body.resume()
      else begin(this)
    },
    destroy(error, done) {
      if (begun) body.destroy(error ?? undefined)
      done(error)
    },
  })
}
