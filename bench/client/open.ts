// Opens a session of either dialect.
import type { Connection } from '../http/connection.ts'
import type { Session, Target } from './session.ts'
import { SseSession } from './sse.ts'
import { StreamableSession } from './streamable.ts'

/** Opens the session up to and including `notifications/initialized`. */
export const openSession = (target: Target, post: Connection): Promise<Session> =>
  target.dialect === 'sse' ? SseSession.open(target, post) : StreamableSession.open(target, post)
