// The name and version that Causeway gives of itself; test/version.ts holds it against package.json.
export const implementation = { name: 'causeway', version: '0.1.0' } as const
