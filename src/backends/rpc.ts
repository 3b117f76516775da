// The `rpc` dialect towards a backend: every message is a POST of its own and the answer is in that POST's answer.
// There is no conversation to end, so the listener's `gone` is never called.
import type { BackendDialect, BackendSession } from './backend.ts'
import type { BackendOptions } from './options.ts'
import { Posts } from './posts.ts'

export function createRpcBackend(options: BackendOptions): BackendDialect {
  return {
    open: (target, _headers, listener): BackendSession => new Posts(target, listener, options),
  }
}
