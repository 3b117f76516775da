// The charset of a body. JSON is UTF-8 (RFC 8259, section 8.1); another one counts where it is declared.

/** `utf-8` where the content type declares none. */
export const charsetOf = (contentType = ''): string =>
  /charset\s*=\s*"?([^\s;"]+)/i.exec(contentType)?.[1] ?? 'utf-8'

/** Bytes are forwarded as they came only in the encoding that JSON has. */
export const isUtf8 = (contentType: string | undefined): boolean =>
  /^utf-?8$/i.test(charsetOf(contentType))
