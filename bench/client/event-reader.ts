// Reads an event stream strictly by the standard. A line that the standard has readers ignore is reported, so that a
// contestant which passes a malformed stream on is found out at once. Lines that end in a lone CR are left out.

/** Comments, and fields that matter to a client only once it has lost its stream. */
const harmless = /^(?::|id:|id$|retry:)/

export class EventReader {
  private readonly onEvent: (name: string, data: string) => void
  private readonly onMalformed: (line: string) => void
  private rest = ''
  private name = ''
  private data: string | undefined

  constructor(onEvent: (name: string, data: string) => void, onMalformed: (line: string) => void) {
    this.onEvent = onEvent
    this.onMalformed = onMalformed
  }

  feed(text: string): void {
    if (!text.includes('\n')) {
      // Looking through all of a large event at each of its pieces would cost more than the contestants do.
      this.rest += text
      return
    }
    const input = this.rest + text
    let at = 0
    for (;;) {
      const end = input.indexOf('\n', at)
      if (end === -1) break
      const stop = input.charCodeAt(end - 1) === 13 ? end - 1 : end
      if (stop <= at) this.dispatch()
      else this.line(input, at, stop)
      at = end + 1
    }
    this.rest = input.slice(at)
  }

  private line(input: string, at: number, stop: number): void {
    if (input.startsWith('data:', at)) {
      const value = input.slice(input.charCodeAt(at + 5) === 32 ? at + 6 : at + 5, stop)
      this.data = this.data === undefined ? value : `${this.data}\n${value}`
    } else if (input.startsWith('event:', at)) {
      this.name = input.slice(input.charCodeAt(at + 6) === 32 ? at + 7 : at + 6, stop)
    } else if (!harmless.test(input.slice(at, stop))) this.onMalformed(input.slice(at, stop))
  }

  private dispatch(): void {
    const { name, data } = this
    this.name = ''
    this.data = undefined
    // An event with empty data primes a stream and says nothing.
    if (data !== undefined && data !== '') this.onEvent(name === '' ? 'message' : name, data)
  }
}
