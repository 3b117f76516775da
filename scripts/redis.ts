// Sees to it that the tests have a Redis server before many of them ask for one at the same time. What is missing is said
// here, and again by each test that needs it.
import { redisProgram } from '../test/fixtures/redis.ts'

try {
  process.stdout.write(`tests use ${redisProgram()}\n`)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
}
