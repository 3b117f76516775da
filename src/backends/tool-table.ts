// What a modern backend's tools want to have repeated in headers, for clients that know nothing of it. Lists that pass by
// are read; a tool that none of them had is looked for once.
import { modernRevision } from '../protocol/dialects.ts'
import { isObject, request } from '../protocol/jsonrpc.ts'
import type { Json, JsonObject, Request, Response } from '../protocol/jsonrpc.ts'
import { mirrored, paramsOf, withDeclared } from '../protocol/metadata.ts'
import { headersOf } from '../protocol/tool-headers.ts'
import { ourselves } from '../version.ts'
import { askOnce } from './ask-once.ts'
import type { Headers, Target } from './backend.ts'
import type { FreshAnswers } from './fresh-answers.ts'
import type { BackendOptions } from './options.ts'

/** Under which lists are kept; of a page, with its cursor. */
const listKey = 'tools/list'

/** Pages of a list that are read in search of a tool. */
const mostPages = 50

export class ToolTable {
  readonly #target: Target
  readonly #options: BackendOptions
  readonly #fresh: FreshAnswers
  readonly #tools = new Map<string, JsonObject>()
  /** Under way, or done: what it did not find is not looked for again. */
  #search: Promise<void> | undefined

  constructor(target: Target, options: BackendOptions, fresh: FreshAnswers) {
    this.#target = target
    this.#options = options
    this.#fresh = fresh
  }

  /** Headers that repeat arguments of a `tools/call`; `headers` say who asks. Never rejects. */
  async headersOf(message: Request, headers: Headers): Promise<Headers> {
    const { name, arguments: given } = paramsOf(message)
    if (typeof name !== 'string') return {}
    if (!this.#tools.has(name)) {
      this.#search ??= this.#readAll(headers)
      await this.#search
    }
    const tool = this.#tools.get(name)
    return tool === undefined ? {} : headersOf(tool, given)
  }

  /** A list that came by. */
  learn(response: Response): void {
    const result = response.value['result']
    const tools = isObject(result) ? result['tools'] : undefined
    for (const tool of Array.isArray(tools) ? (tools as readonly Json[]) : []) {
      if (isObject(tool) && typeof tool['name'] === 'string') this.#tools.set(tool['name'], tool)
    }
  }

  /** The tools have changed. */
  forget(): void {
    this.#fresh.forget(this.#target, listKey)
    this.#tools.clear()
    this.#search = undefined
  }

  async #readAll(headers: Headers): Promise<void> {
    let cursor: Json | undefined
    for (let page = 0; page < mostPages; page++) {
      const response = await this.#page(cursor, headers)
      if (response === undefined || response.failed) return
      this.learn(response)
      const result = response.value['result']
      cursor = isObject(result) ? result['nextCursor'] : undefined
      if (typeof cursor !== 'string' || cursor === '') return
    }
  }

  async #page(cursor: Json | undefined, headers: Headers): Promise<Response | undefined> {
    const list = request('1', 'tools/list', cursor === undefined ? {} : { cursor })
    const key = cursor === undefined ? listKey : `${listKey} ${JSON.stringify(cursor)}`
    const fresh = this.#fresh.find(this.#target, headers, key)
    if (fresh !== undefined) return fresh
    const message = withDeclared(list, modernRevision, ourselves)
    const all = { ...headers, ...mirrored(message, modernRevision) }
    const response = await askOnce(this.#target, all, message, this.#options)
    if (response !== undefined) this.#fresh.keep(this.#target, headers, key, response)
    return response
  }
}
