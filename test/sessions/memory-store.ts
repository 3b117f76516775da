import t from 'tap'
import { createMemoryStore } from '../../src/sessions/memory-store.ts'
import { manualClock } from '../fixtures/manual-clock.ts'
import { storeContract } from '../fixtures/store-contract.ts'

storeContract(t, async (limits) => {
  const clock = manualClock()
  return {
    store: createMemoryStore(limits, clock),
    async fastForward(ms) {
      clock.advance(ms)
    },
  }
})
