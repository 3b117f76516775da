// JSON from the body of an answer, as messages. Objects that are no JSON-RPC are not messages and are left out.
import type { RuleName, RuleSwitches } from '../event-stream/rules.ts'
import { repairEnvelope } from '../protocol/envelope.ts'
import { elements } from '../protocol/json-text.ts'
import type { Json, Message } from '../protocol/jsonrpc.ts'

export interface JsonRead {
  readonly isJson: boolean
  readonly messages: readonly Message[]
}

export interface JsonOptions {
  readonly rules: RuleSwitches
  repaired(rule: RuleName, line: string): void
}

/** Reads one message or an array of them (2025-03-26, Basic, "Batching"), envelopes repaired. */
export function readJson(text: string, options: JsonOptions): JsonRead {
  let value: Json
  try {
    value = JSON.parse(text) as Json
  } catch {
    return { isJson: false, messages: [] }
  }
  const messages: Message[] = []
  const take = (part: string, parsed: Json): void => {
    const read = repairEnvelope(part, parsed, options.rules, (rule) => options.repaired(rule, part))
    if (read.ok) messages.push(read.value)
  }
  if (!Array.isArray(value)) {
    take(text, value)
    return { isJson: true, messages }
  }
  let index = 0
  for (const { start, end } of elements(text)) {
    take(text.slice(start, end), value[index++] as Json)
  }
  return { isJson: true, messages }
}
