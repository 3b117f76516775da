// What a client must have declared to be asked something (2025-11-25, Lifecycle, "Capability Negotiation"; 2026-07-28,
// Basic, "Per-request protocol fields").
import { isObject } from '../protocol/jsonrpc.ts'
import type { JsonObject, Request } from '../protocol/jsonrpc.ts'
import { paramsOf } from '../protocol/metadata.ts'

/** As `clientCapabilities` has it; undefined for what is none of the questions that clients know. */
export function requiredFor(question: Request): JsonObject | undefined {
  const params = paramsOf(question)
  switch (question.method) {
    case 'sampling/createMessage': {
      const tools = params['tools'] !== undefined || params['toolChoice'] !== undefined
      return { sampling: tools ? { tools: {} } : {} }
    }
    case 'elicitation/create':
      return { elicitation: params['mode'] === 'url' ? { url: {} } : { form: {} } }
    case 'roots/list':
      return { roots: {} }
    default:
      return undefined
  }
}

/** Whether a client that declared `capabilities` has what is `required`. */
export function covers(capabilities: JsonObject, required: JsonObject): boolean {
  return Object.entries(required).every(([name, detail]) => {
    const declared = capabilities[name]
    if (!isObject(declared)) return false
    const kinds = isObject(detail) ? Object.keys(detail) : []
    // An empty `elicitation` means forms (2026-07-28, Elicitation, "Capabilities").
    const empty = Object.keys(declared).length === 0
    return kinds.every((kind) => isObject(declared[kind]) || (kind === 'form' && empty))
  })
}

/** Whether a client can be asked anything at all. */
export const asksAnything = (capabilities: JsonObject): boolean =>
  ['sampling', 'elicitation', 'roots'].some((name) => isObject(capabilities[name]))
