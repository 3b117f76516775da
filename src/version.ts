// The name and version that Causeway gives of itself; test/version.ts holds it against package.json.
export const implementation = { name: 'causeway', version: '0.1.0' } as const

/** What we declare where we ask on our own account (2026-07-28, Basic, "Per-request protocol fields"). */
export const ourselves = {
  capabilitiesText: '{}',
  clientInfoText: JSON.stringify(implementation),
  logLevel: undefined,
} as const
