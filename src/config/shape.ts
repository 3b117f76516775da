// What the schema expects at a path of the file. Walks the schema; knows no key.
import { z } from 'zod'

export type Path = readonly (string | number)[]
type Type = z.core.$ZodType

/** Takes off what only adds a default, a meaning or a transformation. */
function bare(type: Type): Type {
  if (type instanceof z.ZodPipe) return bare(type.in)
  if (
    type instanceof z.ZodOptional ||
    type instanceof z.ZodDefault ||
    type instanceof z.ZodPrefault
  ) {
    return bare(type.unwrap())
  }
  return type
}

/** The map among the choices of a union, for there is never more than one. */
function mapOf(type: Type): Type {
  const inner = bare(type)
  if (!(inner instanceof z.ZodUnion)) return inner
  return inner.options.map(bare).find((option) => option instanceof z.ZodObject) ?? inner
}

function child(type: Type, key: string | number): Type | undefined {
  const inner = mapOf(type)
  if (inner instanceof z.ZodArray) return inner.element
  if (inner instanceof z.ZodRecord) return inner.valueType
  if (inner instanceof z.ZodObject && Object.hasOwn(inner.shape, key)) return inner.shape[key]
  return undefined
}

/** The schema of the value at a path, with its defaults and transformations; undefined where nothing may stand. */
export function schemaAt(root: Type, path: Path): Type | undefined {
  let type: Type | undefined = root
  for (const key of path) type = type === undefined ? undefined : child(type, key)
  return type
}

/** The keys that a map at a path may have. */
export function keysAt(root: Type, path: Path): readonly string[] {
  const type = schemaAt(root, path)
  const map = type === undefined ? undefined : mapOf(type)
  return map instanceof z.ZodObject ? Object.keys(map.shape) : []
}

/** A path as messages show it: `routes[1].backend.url`. The root is the empty text. */
export function formatPath(path: Path): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\w-]+$/.test(key)) text += text === '' ? key : `.${key}`
    else text += `[${JSON.stringify(key)}]`
  }
  return text
}
