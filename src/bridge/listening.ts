// A modern client listens for changes in a session server: `subscriptions/listen` over the backend session's stream and its
// `resources/subscribe` (2026-07-28, Subscriptions; design, rule 4).
import { editObject } from '../protocol/json-text.ts'
import { isObject, notification, request, result } from '../protocol/jsonrpc.ts'
import type { Json, Message, Notification, Request, Response } from '../protocol/jsonrpc.ts'
import { paramsOf, subscriptionKey, withMeta } from '../protocol/metadata.ts'
import { heldLimit } from './conversation.ts'
import type { Filter, Listener } from './changes.ts'
import type { Conversation, Output } from './conversation.ts'
import { sendOwn } from './sending.ts'

/** Each kind of change: its member of the filter, and the capability that offers it. */
const kinds = {
  'notifications/tools/list_changed': ['toolsListChanged', 'tools'],
  'notifications/prompts/list_changed': ['promptsListChanged', 'prompts'],
  'notifications/resources/list_changed': ['resourcesListChanged', 'resources'],
} as const

const isKind = (method: string): method is keyof typeof kinds => Object.hasOwn(kinds, method)

/** Resources that one client may subscribe to. */
const mostResources = 1000

/** What a client wants to hear of; undefined where it does not say so as it should. */
export function filterIn(message: Message): Filter | undefined {
  const { notifications } = paramsOf(message)
  if (!isObject(notifications)) return undefined
  const { resourceSubscriptions = [] } = notifications
  if (!Array.isArray(resourceSubscriptions)) return undefined
  const uris = resourceSubscriptions as readonly Json[]
  if (!uris.every((uri) => typeof uri === 'string') || uris.length > mostResources) return undefined
  return {
    ...flags((flag) => notifications[flag] === true),
    ...(uris.length > 0 && { resourceSubscriptions: [...new Set(uris)] }),
  }
}

/** The kinds of list changes for which `has` holds. */
export function flags(has: (flag: keyof Filter, capability: string) => boolean): Filter {
  const found = Object.values(kinds).filter(([flag, capability]) => has(flag, capability))
  return Object.fromEntries(found.map(([flag]) => [flag, true]))
}

/** Whether a server says that it announces changes of its lists, and lets resources be subscribed to. */
export function offered(greeting: Response | undefined): {
  readonly lists: Filter
  readonly resources: boolean
} {
  const said = greeting?.value['result']
  const capabilities = isObject(said) ? said['capabilities'] : undefined
  const all = isObject(capabilities) ? capabilities : {}
  const says = (capability: string, member: string): boolean => {
    const found = all[capability]
    return isObject(found) && found[member] === true
  }
  return {
    lists: flags((_, capability) => says(capability, 'listChanged')),
    resources: says('resources', 'subscribe'),
  }
}

export const isEmpty = (filter: Filter): boolean => Object.keys(filter).length === 0

/** A client begins to listen; where the backend session does not stand yet, `beginAll` goes on. */
export function listen(
  conversation: Conversation,
  number: number,
  member: string,
  message: Request,
  wanted: Filter,
): Output[] {
  const listener: Listener = {
    member,
    request: message,
    wanted,
    honoured: undefined,
    subscribing: new Map(),
    acknowledged: false,
    held: [],
  }
  conversation.listeners.set(number, listener)
  return conversation.phase === 'open' ? begin(conversation, number, listener) : []
}

/** The backend session stands: whoever waited for it subscribes, and whoever listened before does again. */
export function beginAll(conversation: Conversation): Output[] {
  const outputs: Output[] = []
  const again = new Set<string>()
  for (const [number, listener] of conversation.listeners) {
    if (!listener.acknowledged) outputs.push(...begin(conversation, number, listener))
    else for (const uri of listener.honoured?.resourceSubscriptions ?? []) again.add(uri)
  }
  for (const uri of again) {
    outputs.push(sendOwn(conversation, 'restore', subscription('resources/subscribe', uri)).output)
  }
  return outputs
}

const subscription = (method: string, uri: string): Request => request('0', method, { uri })

/**
 * Subscribes to what is wanted. A ping comes last: it waits for the backend's own stream, and so does the client, who
 * would miss changes otherwise.
 */
function begin(conversation: Conversation, number: number, listener: Listener): Output[] {
  const { lists, resources } = offered(conversation.greeting)
  listener.honoured = flags((flag) => listener.wanted[flag] === true && lists[flag] === true)
  listener.subscribing.clear()
  const uris = resources ? (listener.wanted.resourceSubscriptions ?? []) : []
  if (uris.length === 0 && isEmpty(listener.honoured)) {
    return acknowledge(conversation, number, listener)
  }
  const first = uris.map((uri) => [uri, subscription('resources/subscribe', uri)] as const)
  return [...first, [undefined, request('0', 'ping')] as const].map(([uri, message]) => {
    const own = sendOwn(conversation, 'subscribe', message)
    listener.subscribing.set(own.number, uri)
    return own.output
  })
}

/** The backend has answered to one of the subscriptions; the last one lets the client know what it will hear of. */
export function subscribed(conversation: Conversation, own: number, accepted: boolean): Output[] {
  for (const [number, listener] of conversation.listeners) {
    if (!listener.subscribing.has(own)) continue
    const uri = listener.subscribing.get(own)
    listener.subscribing.delete(own)
    if (accepted && uri !== undefined) {
      const { resourceSubscriptions = [], ...others } = listener.honoured ?? {}
      listener.honoured = { ...others, resourceSubscriptions: [...resourceSubscriptions, uri] }
    }
    return listener.subscribing.size > 0 ? [] : acknowledge(conversation, number, listener)
  }
  return []
}

/** Comes before everything else (Subscriptions, "Acknowledgment"). Who will hear of nothing need not wait for it. */
function acknowledge(conversation: Conversation, number: number, listener: Listener): Output[] {
  listener.acknowledged = true
  const honoured = listener.honoured ?? {}
  const first = notification('notifications/subscriptions/acknowledged', {
    notifications: { ...honoured },
  })
  const outputs = [tell(number, listener, first)]
  for (const early of listener.held) outputs.push(tell(number, listener, early))
  listener.held = []
  if (isEmpty(honoured)) outputs.push(...close(conversation, number))
  return outputs
}

/** Everything on the stream says which request it is for (Subscriptions, "Receiving Notifications"). */
const tell = (
  number: number,
  { member, request: asked }: Listener,
  message: Notification,
): Output => ({
  type: 'deliver',
  member,
  exchange: number,
  message: withMeta(message, { [subscriptionKey]: asked.idText }),
})

/** Whether anybody listens for a change like this. */
export const isAwaited = ({ listeners }: Conversation, message: Notification): boolean =>
  [...listeners.values()].some(({ acknowledged, honoured, wanted }) =>
    wants(acknowledged ? honoured : wanted, message),
  )

/** A change in the backend, for all who want to hear of it. */
export function announceTo(conversation: Conversation, message: Notification): Output[] {
  const outputs: Output[] = []
  for (const [number, listener] of conversation.listeners) {
    if (!wants(listener.acknowledged ? listener.honoured : listener.wanted, message)) continue
    if (listener.acknowledged) outputs.push(tell(number, listener, message))
    else if (listener.held.length < heldLimit) listener.held.push(message)
  }
  return outputs
}

/** Whether `filter` asks for a change like this. */
export function wants(filter: Filter | undefined, message: Notification): boolean {
  if (filter === undefined) return false
  if (isKind(message.method)) return filter[kinds[message.method][0]] === true
  if (message.method !== 'notifications/resources/updated') return false
  const { uri } = paramsOf(message)
  // It may be part of the one that was subscribed to (2025-11-25, Resources, "Subscriptions").
  const covers = (each: string): boolean =>
    uri === each ||
    (typeof uri === 'string' && uri.startsWith(each.endsWith('/') ? each : `${each}/`))
  return filter.resourceSubscriptions?.some(covers) ?? false
}

/** Ends a stream as its client expects it (Subscriptions, "Graceful Closure"). */
export function close(conversation: Conversation, number: number): Output[] {
  const listener = conversation.listeners.get(number)
  if (listener === undefined) return []
  const response = ended(listener.request)
  return [...stopListening(conversation, number), { type: 'finish', exchange: number, response }]
}

export function ended({ idText }: Request): Response {
  const empty = result(idText, { resultType: 'complete' })
  const add = { _meta: `{${JSON.stringify(subscriptionKey)}:${idText}}` }
  return { ...empty, text: editObject(empty.text, ['result'], { add }) }
}

/** The resources that the backend has been asked for, or is being asked for. */
const askedFor = ({ honoured, subscribing }: Listener): readonly string[] => [
  ...(honoured?.resourceSubscriptions ?? []),
  ...[...subscribing.values()].filter((uri) => uri !== undefined),
]

/** A client listens no longer: what nobody else wants to hear of is unsubscribed. */
export function stopListening(conversation: Conversation, number: number): Output[] {
  const listener = conversation.listeners.get(number)
  if (listener === undefined) return []
  conversation.listeners.delete(number)
  if (conversation.phase !== 'open') return []
  const still = new Set(conversation.subscriptions.keys())
  for (const other of conversation.listeners.values())
    for (const uri of askedFor(other)) still.add(uri)
  return askedFor(listener)
    .filter((uri) => !still.has(uri))
    .map(
      (uri) => sendOwn(conversation, 'restore', subscription('resources/unsubscribe', uri)).output,
    )
}
