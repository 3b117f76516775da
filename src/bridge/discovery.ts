// What a server says of itself, in either era: its answer to `initialize` as one to `server/discover`, and back
// (design, rule 1). What others wrote goes over as their text.
import { isRevision, newestRevision, servedRevisions } from '../protocol/dialects.ts'
import { editObject } from '../protocol/json-text.ts'
import { readMessage, textAt } from '../protocol/jsonrpc.ts'
import type { Json, Request, Response } from '../protocol/jsonrpc.ts'
import { objectAt, serverInfoKey } from '../protocol/metadata.ts'
import type { Declared } from '../protocol/metadata.ts'
import { implementation, ourselves } from '../version.ts'

type Members = Readonly<Record<string, string | undefined>>

/** An object as JSON text; members without a value are left out. */
const objectOf = (members: Members): string => {
  const given = Object.entries(members).filter(([, text]) => text !== undefined)
  return `{${given.map(([key, text]) => `${JSON.stringify(key)}:${text}`).join(',')}}`
}

function message<T extends Request | Response>(members: Members): T {
  const text = objectOf({ jsonrpc: '"2.0"', ...members })
  const read = readMessage(text, JSON.parse(text) as Json)
  if (!read.ok) throw new TypeError(read.reason)
  return read.value as T
}

/** An `initialize` of our own, in the name of those that it is for. */
export const initializeFor = (
  declared: Pick<Declared, 'capabilitiesText' | 'clientInfoText'> = ourselves,
): Request =>
  message({
    id: '0',
    method: '"initialize"',
    params: objectOf({
      protocolVersion: JSON.stringify(newestRevision),
      capabilities: declared.capabilitiesText,
      clientInfo: declared.clientInfoText ?? ourselves.clientInfoText,
    }),
  })

const stringAt = (response: Response, path: readonly string[]): string | undefined => {
  const text = textAt(response, path)
  return text?.startsWith('"') === true ? text : undefined
}

/** A session server as modern clients find it (2026-07-28, Discovery). */
export function discovered(idText: string, greeting: Response | undefined): Response {
  const at = (member: string) => greeting && objectAt(greeting, ['result', member])
  const info = at('serverInfo')
  return message({
    id: idText,
    result: objectOf({
      resultType: '"complete"',
      supportedVersions: JSON.stringify(servedRevisions),
      // Tasks are an extension since, with other methods (2026-07-28, Changelog, major change 6).
      capabilities: editObject(at('capabilities') ?? '{}', [], { drop: ['tasks'] }),
      instructions: greeting && stringAt(greeting, ['result', 'instructions']),
      ttlMs: '0',
      cacheScope: '"private"',
      _meta: info && objectOf({ [serverInfoKey]: info }),
    }),
  })
}

/** A modern server as session clients find it (2025-11-25, Lifecycle, "Initialization"). */
export function initialized(response: Response, requested: string): Response {
  return message({
    id: response.idText ?? '0',
    result: objectOf({
      protocolVersion: JSON.stringify(isRevision(requested) ? requested : newestRevision),
      capabilities: objectAt(response, ['result', 'capabilities']) ?? '{}',
      serverInfo:
        objectAt(response, ['result', '_meta', serverInfoKey]) ?? JSON.stringify(implementation),
      instructions: stringAt(response, ['result', 'instructions']),
    }),
  })
}
