// What a client of the demo sends, and how it reads what comes back: plain HTTP, so that what is shown is what was sent.
import { createParser } from 'eventsource-parser'

export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly session: string | undefined
  readonly body: string
  /** The JSON-RPC message in the body, out of JSON or out of an event. */
  readonly message: RpcAnswer | undefined
}

export interface RpcAnswer {
  readonly id?: unknown
  readonly result?: unknown
  readonly error?: unknown
}

const parse = (text: string): RpcAnswer | undefined => {
  try {
    return JSON.parse(text) as RpcAnswer
  } catch {
    return undefined
  }
}

const messageIn = (contentType: string, body: string): RpcAnswer | undefined => {
  if (!contentType.startsWith('text/event-stream')) return parse(body)
  let message: RpcAnswer | undefined
  const parser = createParser({
    onEvent: (event) => {
      message = parse(event.data) ?? message
    },
  })
  parser.feed(body)
  return message
}

/** POSTs one message. Only what `headers` says goes with it, besides the content type. */
export async function post(
  url: string,
  message: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(15_000),
  })
  const contentType = response.headers.get('content-type') ?? ''
  const body = await response.text()
  return {
    status: response.status,
    contentType,
    session: response.headers.get('mcp-session-id') ?? undefined,
    body,
    message: messageIn(contentType, body),
  }
}

/** The raw text of an event stream, until `enough` of it has come. */
export async function readStream(url: string, enough: (text: string) => boolean): Promise<string> {
  const abort = new AbortController()
  const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(15_000)])
  const response = await fetch(url, { headers: { accept: 'text/event-stream' }, signal })
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (enough(text)) break
  }
  abort.abort()
  return text
}
