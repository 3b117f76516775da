// What Causeway must reach, workload by workload: against *pipe*, and against the best peer that can do the same.

export interface Target {
  /** Which of the contestants it is for. */
  readonly contestant: string
  /** How many times the cost of *pipe* it may cost, and what to aim for. */
  readonly pipe?: number
  readonly aim?: number
  /** How many times the cost of a peer it may cost. */
  readonly peers?: Readonly<Record<string, number>>
  /** ms of p50 that it may add to *direct*. */
  readonly added?: number
}

const causeway = 'causeway'
const bridge = (share: number) => ({ 'sdk-bridge': share })

const firehose: Target = { contestant: causeway, pipe: 0.4, aim: 0.3, peers: bridge(0.1) }
const malformed: Target = { contestant: causeway, pipe: 0.9, aim: 0.6 }
const idle: readonly Target[] = [
  { contestant: causeway, pipe: 1.1, aim: 0.9, peers: bridge(0.45) },
  { contestant: 'causeway-small', pipe: 0.75, aim: 0.65 },
]
const sessions = (pipe: number, aim: number): readonly Target[] => [
  { contestant: causeway, pipe, aim, peers: bridge(0.3) },
]

/** By the names of the workloads. */
export const targets: Readonly<Record<string, readonly Target[]>> = {
  W1: [
    {
      contestant: causeway,
      pipe: 0.8,
      aim: 0.65,
      peers: { 'http-proxy-3-agent': 0.6, ...bridge(0.1) },
    },
  ],
  W2: [{ contestant: causeway, pipe: 0.95, aim: 0.75, peers: bridge(0.13) }],
  W3: [{ contestant: causeway, pipe: 1.05, aim: 0.8, peers: bridge(0.2) }],
  W4: [{ contestant: causeway, pipe: 0.9, aim: 0.75, peers: { 'http-proxy-3-agent': 0.67 } }],
  latency: [{ contestant: causeway, added: 0.2, aim: 0.12 }],
  'W5 streamable > streamable': [firehose],
  'W5 streamable > sse': [{ contestant: causeway, pipe: 0.7, aim: 0.45, peers: bridge(0.08) }],
  'W5 sse > streamable': [firehose],
  'W5 sse > sse': [firehose],
  'W5m streamable > sse': [malformed],
  'W5m sse > sse': [malformed],
  'W6 sse > sse': idle,
  'W6 streamable > sse': idle,
  'W6 sse > streamable': idle,
  'W7 streamable > streamable': sessions(1.1, 0.9),
  'W7 streamable > sse': sessions(1.6, 1.2),
  'W7 sse > streamable': sessions(3, 2.3),
  'W7 sse > sse': sessions(1.6, 1.2),
}
