// The reference of the configuration file as Markdown, rendered from the schema. What the tables cannot say stands
// here as prose; what a key means stands in src/config/schema.ts.
import { annotatedSchema, type JsonSchema } from '../src/config/json-schema.ts'

const introduction = `# Configuration reference

The tables below are generated from the schema by \`node scripts/schema.ts\`; edit the schema, not this page. For editors
there is [causeway.schema.json](../config/causeway.schema.json), and [proxy.example.yaml](../proxy.example.yaml) shows
every key in its place. \`causeway check\` reports every problem of a file at once, each with line and column.

| written | means |
| --- | --- |
| \`500ms\`, \`15s\`, \`10m\`, \`1h\` | a duration; a bare number is refused, because nobody can tell its unit |
| \`64KiB\`, \`16MiB\`, \`1MB\` | a size; \`K\` and \`M\` with \`i\` are powers of 1024, without it of 1000 |
| \`\${NAME}\` | the environment variable, in any value; a problem if it is not set |
| \`\${NAME:-text}\` | the same, and \`text\` where it is not set or empty |
| \`$\${\` | the characters \`\${\` themselves |
| \`{ file: /run/secrets/token }\` | for a header: the contents of the file, word for word, without the line break at its end |
| \`{name}\` in a template | the parameter of that name from the route's path; \`{{\` and \`}}\` are the braces themselves |

Quote values that begin with \`{\`, and, between braces, values that contain one: \`headers: { x-user-id: "{user}" }\`.
A variable in a header is taken word for word, like a file; everywhere else it may bring template parameters with it.

## Paths and parameters

A parameter fills one whole segment of a route's path. It is decoded once; it never matches an empty segment, a segment
with an encoded \`/\`, or \`.\` and \`..\` in any spelling. Broken percent-encoding matches nothing. In a backend's URL the
value is percent-encoded again, so that it stays one segment or one piece of the query. In a header, control characters
are refused (404), and \`%\`, spaces at the ends and what latin-1 cannot hold are percent-encoded.

A slash at the end of a path makes no difference. Where several routes match, a literal segment goes before a parameter,
and both before \`/*\`; the order in the file does not matter. \`/api/*\` matches \`/api\` and everything below it.
`

/** The whole page. */
export function renderReference(): string {
  const tables: string[] = []
  section(annotatedSchema(), '', tables)
  return [introduction, ...tables].join('\n')
}

/** A table of the keys of one map, then those of the maps inside it. */
function section(schema: JsonSchema, path: string, tables: string[]): void {
  const properties = Object.entries(schema.properties ?? {}) as [string, JsonSchema][]
  const rows = properties.map(([key, value]) => {
    const required = schema.required?.includes(key) ?? false
    return `| \`${key}\` | ${typeOf(value)} | ${required ? '**required**' : standard(value)} | ${cell(value.description ?? '')} |`
  })
  const title = path === '' ? '## Top level' : `## \`${path}\``
  tables.push(
    [
      title,
      '',
      '| key | type | default | meaning |',
      '| --- | --- | --- | --- |',
      ...rows,
      '',
    ].join('\n'),
  )
  for (const [key, value] of properties) {
    const prefix = path === '' ? key : `${path}.${key}`
    const map = mapIn(value)
    if (map !== undefined) section(map, prefix, tables)
    if (isSchema(value.items) && value.items.properties !== undefined) {
      section(value.items, `${prefix}[]`, tables)
    }
  }
}

const isSchema = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const choices = (schema: JsonSchema): JsonSchema[] => (schema.anyOf ?? []).filter(isSchema)

const mapIn = (schema: JsonSchema): JsonSchema | undefined =>
  [schema, ...choices(schema)].find(({ properties }) => properties !== undefined)

function typeOf(schema: JsonSchema): string {
  if (typeof schema['kind'] === 'string') return schema['kind']
  if (schema.enum !== undefined)
    return schema.enum.map((value) => `\`${String(value)}\``).join(', ')
  if (schema.const !== undefined) return `\`${String(schema.const)}\``
  const inner = choices(schema)
  if (inner.length > 0) return inner.map(typeOf).join(' or ')
  if (isSchema(schema.items)) return `list of ${typeOf(schema.items)}`
  if (isSchema(schema.additionalProperties)) {
    return `map of name to ${typeOf(schema.additionalProperties)}`
  }
  if (schema.type === 'object') return 'map'
  if (schema.type === 'integer') return `number${range(schema)}`
  return schema.type === 'string' ? 'text' : String(schema.type)
}

function range({ minimum, maximum }: JsonSchema): string {
  if (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER) return ` from ${minimum}`
  return `, ${minimum} to ${maximum}`
}

function standard(schema: JsonSchema): string {
  const { default: value } = schema
  if (value === undefined) return 'none'
  // An empty map of defaults says less than the table of its keys.
  if (mapIn(schema) !== undefined) return 'see below'
  if (Array.isArray(value)) {
    return value.length === 0 ? 'empty' : value.map((one) => `\`${String(one)}\``).join(', ')
  }
  return typeof value === 'object' ? 'empty' : `\`${JSON.stringify(value).replaceAll('"', '')}\``
}

const cell = (text: string): string => text.replaceAll('|', '\\|')
