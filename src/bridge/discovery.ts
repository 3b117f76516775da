// What a server says of itself, in either era: its answer to `initialize` as one to `server/discover`, and back
// (design, rule 1).
import { isRevision, newestRevision, servedRevisions } from '../protocol/dialects.ts'
import { isObject, request, result } from '../protocol/jsonrpc.ts'
import type { JsonObject, Request, Response } from '../protocol/jsonrpc.ts'
import { serverInfoKey } from '../protocol/metadata.ts'
import type { Declared } from '../protocol/metadata.ts'
import { implementation } from '../version.ts'

/** An `initialize` of our own, in the name of those that it is for. */
export const initializeFor = (declared?: Pick<Declared, 'capabilities' | 'clientInfo'>): Request =>
  request('0', 'initialize', {
    protocolVersion: newestRevision,
    capabilities: declared?.capabilities ?? {},
    clientInfo: declared?.clientInfo ?? implementation,
  })

/** A session server as modern clients find it (2026-07-28, Discovery). */
export function discovered(idText: string, greeting: JsonObject): Response {
  const { capabilities, serverInfo, instructions } = greeting
  // Tasks are an extension since, with other methods (2026-07-28, Changelog, major change 6).
  const { tasks: _, ...offered } = isObject(capabilities) ? capabilities : {}
  return result(idText, {
    resultType: 'complete',
    supportedVersions: servedRevisions,
    capabilities: offered,
    ...(typeof instructions === 'string' && { instructions }),
    ttlMs: 0,
    cacheScope: 'private',
    ...(isObject(serverInfo) && { _meta: { [serverInfoKey]: serverInfo } }),
  })
}

/** A modern server as session clients find it (2025-11-25, Lifecycle, "Initialization"). */
export function initialized(response: Response, requested: string): Response {
  const found = isObject(response.value['result']) ? response.value['result'] : {}
  const { capabilities, instructions } = found
  const meta = isObject(found['_meta']) ? found['_meta'] : {}
  const info = meta[serverInfoKey]
  return result(response.idText ?? '0', {
    protocolVersion: isRevision(requested) ? requested : newestRevision,
    capabilities: isObject(capabilities) ? capabilities : {},
    serverInfo: isObject(info) ? info : implementation,
    ...(typeof instructions === 'string' && { instructions }),
  })
}
