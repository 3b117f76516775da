// The benchmark of Causeway against other proxies: `npm run bench`, `npm run bench -- --help`.
//
// Each workload is a load on one crossing of dialects. A closed-loop load generator, in a process of its own, sends
// requests through a contestant to a minimal backend and verifies every answer: its JSON-RPC id, a payload unique to
// session and call, each event's number. A contestant that loses or changes anything fails.
//
// The headline is CPU: user and system time of the contestant's process tree for 1,000 requests (events, sessions). It
// moves least on a noisy machine, and ratios within one repetition move less still. For idle streams it is RSS for each
// stream, in a fresh process. Rates and latencies stand beside it.
//
// The proxy is held on one core, backend and load generator on the other. All contestants of a workload run at once,
// are warmed up, and are then measured in turn, three times, forwards and backwards; what counts is the median. Idle
// streams are measured once: their memory moves by one or two per cent, and opening thousands of them takes long.
//
// The yardstick is *pipe*, a bare node:http proxy. It cannot convert; there it runs the backend's dialect on both sides,
// and so does *direct*, which is no proxy at all: it shows that backend and load generator are not the bottleneck.
//
// The backend answers calls in JSON where its dialect allows it, and writes every event of a firehose as an HTTP chunk
// of its own, as servers do that know nothing of the next event; many chunks arrive in one read.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contestants, contestantsFor } from './contestants/table.ts'
import { runGroup } from './group.ts'
import { measureGrowth, renderGrowth } from './growth.ts'
import { readOptions } from './options.ts'
import type { Options } from './options.ts'
import { renderSetting, renderTargets, renderWorkload } from './report.ts'
import type { Result } from './report.ts'
import { describeMachine } from './versions.ts'
import { workloads } from './workloads/table.ts'

const resultsDirectory = new URL('results/', import.meta.url).pathname

const say = (what: string): void => console.error(what)

async function measureWorkloads(options: Options, directory: string): Promise<Result[]> {
  const { quick, only, profile, repetitions, seconds } = options
  const chosen = workloads(quick).filter(({ id }) => only.length === 0 || only.includes(id))
  const results: Result[] = []
  for (const workload of chosen) {
    const begun = performance.now()
    const choice = { ...options, named: options.contestants }
    const rows = await runGroup(workload, contestantsFor(workload, choice), {
      quick,
      repetitions: repetitions ?? (workload.load.kind === 'idle' ? 1 : 3),
      seconds,
      directory,
      profiles: profile ? resultsDirectory : undefined,
    })
    results.push({ workload, rows })
    say(`${renderWorkload({ workload, rows })}\n(${Math.round(performance.now() - begun)} ms)\n`)
  }
  return results
}

async function main(): Promise<void> {
  const known = {
    workloads: workloads(false).map(({ id }) => id),
    contestants: contestants.map(({ name }) => name),
  }
  const options = readOptions(process.argv.slice(2), known)
  if (typeof options === 'string') {
    say(options)
    process.exitCode = 2
    return
  }
  const machine = describeMachine()
  const begun = performance.now()
  const directory = mkdtempSync(join(tmpdir(), 'causeway-bench-'))
  mkdirSync(resultsDirectory, { recursive: true })
  try {
    const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
    const { results, names, body } = options.growth
      ? await growth(options, directory)
      : await comparison(options, directory)
    const seconds = Math.round((performance.now() - begun) / 1000)
    const report = `${renderSetting(machine, command, names)}- took ${seconds} s\n\n${body}`
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-')
    const file = join(resultsDirectory, stamp)
    writeFileSync(`${file}.md`, report)
    writeFileSync(`${file}.json`, JSON.stringify({ machine, command, seconds, results }, null, 2))
    console.log(report)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

interface Outcome {
  readonly results: unknown
  /** Of the contestants that took part. */
  readonly names: readonly string[]
  readonly body: string
}

async function comparison(options: Options, directory: string): Promise<Outcome> {
  const results = await measureWorkloads(options, directory)
  const names = results.flatMap(({ rows }) => rows.map(({ contestant }) => contestant))
  const body = [...results.map(renderWorkload), renderTargets(results)].join('\n')
  return { results, names, body }
}

async function growth(options: Options, directory: string): Promise<Outcome> {
  const { contestants: named, quick, repetitions, seconds, profile } = options
  const names = named.length > 0 ? named : ['pipe', 'causeway']
  const results = await measureGrowth(
    contestants.filter(({ name }) => names.includes(name)),
    {
      quick,
      repetitions: repetitions ?? 3,
      seconds,
      directory,
      profiles: profile ? resultsDirectory : undefined,
    },
    say,
  )
  return { results, names, body: renderGrowth(results) }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
await main()
