// The backend's control path, asked directly and not through a contestant.
import { Connection } from '../http/connection.ts'

async function control(port: number, action: string): Promise<number> {
  const connection = await Connection.open(port)
  try {
    const { body } = await connection.exchange(
      `GET /control/${action} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
    )
    return Number(body)
  } finally {
    connection.close()
  }
}

/** How many streams are open at the backend. */
export const openStreams = (port: number): Promise<number> => control(port, 'streams')

/** Sends one notification on every open stream; resolves to their number. */
export const broadcast = (port: number): Promise<number> => control(port, 'broadcast')
