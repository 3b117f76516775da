import t from 'tap'
import { cleanResponse, publicLocation } from '../../src/proxy/passthrough-headers.ts'

t.test('a Location of the backend is mapped to the public path, any other is kept', async (t) => {
  const cases: [location: string, target: string, seen: string][] = [
    ['https://b.example/x', 'https://b.example', '/x'],
    ['https://b.example:443/x', 'https://b.example', '/x'],
    ['http://b.example/x', 'https://b.example', '/x'],
    ['HTTPS://B.example/x', 'https://b.example', '/x'],
    ['https://b.example/base/x?q#f', 'https://b.example/base/', '/x?q#f'],
    ['http://b.example:8080/x', 'https://b.example', 'http://b.example:8080/x'],
    ['https://b.example/x', 'http://b.example', 'https://b.example/x'],
    ['https://b.example.evil/x', 'https://b.example', 'https://b.example.evil/x'],
    ['https://other.example/x', 'https://b.example', 'https://other.example/x'],
    ['mailto:x@b.example', 'https://b.example', 'mailto:x@b.example'],
    ['http://[', 'https://b.example', 'http://['],
    ['../x', 'https://b.example/base', '../x'],
    ['?page=2', 'https://b.example/base', '?page=2'],
  ]
  for (const [location, target, seen] of cases) {
    t.equal(publicLocation(location, new URL(target), undefined), seen, `${location} at ${target}`)
  }
})

t.test('the public URL may have a path of its own', async (t) => {
  const publicUrl = new URL('https://mcp.example/causeway/')
  t.equal(
    publicLocation('/base/x', new URL('https://b.example/base'), publicUrl),
    'https://mcp.example/causeway/x',
  )
})

t.test('a Connection header cannot take the length of the body away', async (t) => {
  const raw = ['Connection', 'Content-Length, X-Private', 'Content-Length', '3', 'X-Private', '1']
  t.same(cleanResponse(raw, String), ['Content-Length', '3'])
})
