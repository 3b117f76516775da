import t from 'tap'
import { z } from 'zod'
import { formatPath, keysAt, schemaAt } from '../../src/config/shape.ts'

const leaf = z.string()
const root = z.strictObject({
  list: z.array(z.strictObject({ leaf: leaf.optional() })).prefault([]),
  either: z.union([z.literal(false), z.strictObject({ a: leaf, b: leaf })]).prefault(false),
  names: z.record(z.string(), leaf).transform((map) => map),
})

t.test('the schema of a place is found through lists, maps, defaults and choices', async (t) => {
  t.ok(schemaAt(root, ['list', 3, 'leaf']) instanceof z.ZodOptional)
  t.equal(schemaAt(root, ['either', 'b']), leaf)
  t.equal(schemaAt(root, ['names', 'any']), leaf)
  for (const path of [['nothing'], ['list', 0, 'other'], ['names', 'x', 'y'], ['constructor']]) {
    t.equal(schemaAt(root, path), undefined, path.join('.'))
  }
})

t.test('the keys of a place are those of its map', async (t) => {
  t.strictSame(keysAt(root, []), ['list', 'either', 'names'])
  t.strictSame(keysAt(root, ['either']), ['a', 'b'])
  t.strictSame(keysAt(root, ['names']), [])
  t.strictSame(keysAt(root, ['nothing', 'at', 'all']), [])
})

t.test('paths are written as they would be in code', async (t) => {
  t.equal(formatPath(['routes', 1, 'backend', 'url']), 'routes[1].backend.url')
  t.equal(formatPath(['headers', 'x-user-id']), 'headers.x-user-id')
  t.equal(formatPath(['headers', 'a b']), 'headers["a b"]')
  t.equal(formatPath([]), '')
})
