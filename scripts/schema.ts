// Writes what is generated from the configuration schema: the JSON Schema for editors and the reference. A test fails
// while a file differs from what stands here.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { jsonSchema } from '../src/config/json-schema.ts'
import { renderReference } from './reference.ts'

/** Path from the project's root -> contents. */
export const generated: Readonly<Record<string, () => string>> = {
  'config/causeway.schema.json': () => `${JSON.stringify(jsonSchema(), null, 2)}\n`,
  'docs/configuration.md': renderReference,
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, render] of Object.entries(generated)) {
    writeFileSync(new URL(`../${path}`, import.meta.url), render())
  }
}
