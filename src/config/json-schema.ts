// The configuration's JSON Schema for editors, made from the schema itself. Rules between keys are not in it.
import { z } from 'zod'
import { configSchema } from './schema.ts'

export type JsonSchema = z.core.JSONSchema.BaseSchema

/** What stands for any value until the environment is known. */
const variable: JsonSchema = { type: 'string', pattern: '\\$\\{' }

/** What the file may hold, before defaults and variables are put in (JSON Schema draft 7, which editors know best). */
export const jsonSchema = (): JsonSchema => tidy(annotatedSchema())

/** The same as the schema tells it, for the reference: without variables, and with the `kind` of each value. */
export const annotatedSchema = (): JsonSchema => ({
  title: 'Causeway configuration',
  ...z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' }),
})

/** Zod annotates what a reader has no use for, and knows nothing of variables. */
function tidy(schema: JsonSchema): JsonSchema {
  const { kind: _, propertyNames: __, ...result }: JsonSchema = schema
  if (result.maximum === Number.MAX_SAFE_INTEGER) delete result.maximum
  if (result.properties !== undefined) {
    result.properties = Object.fromEntries(
      Object.entries(result.properties).map(([key, inner]) => [key, tidyInner(inner)]),
    )
  }
  if (typeof result.additionalProperties === 'object') {
    result.additionalProperties = tidy(result.additionalProperties)
  }
  if (typeof result.items === 'object' && !Array.isArray(result.items)) {
    result.items = tidyInner(result.items)
  }
  if (result.anyOf !== undefined) result.anyOf = result.anyOf.map(tidyInner)
  return isNarrow(result) ? orVariable(result) : result
}

const tidyInner = (schema: JsonSchema | boolean): JsonSchema =>
  typeof schema === 'boolean' ? {} : tidy(schema)

/** Whether a text with a variable in it would be refused. */
const isNarrow = ({ type, enum: values, const: value, pattern }: JsonSchema): boolean =>
  type === 'integer' ||
  type === 'number' ||
  type === 'boolean' ||
  values !== undefined ||
  value !== undefined ||
  pattern !== undefined

function orVariable({ description, default: otherwise, ...schema }: JsonSchema): JsonSchema {
  return {
    ...(description === undefined ? {} : { description }),
    ...(otherwise === undefined ? {} : { default: otherwise }),
    anyOf: [schema, variable],
  }
}
