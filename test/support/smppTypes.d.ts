/** The part of smpp 0.5 that tests use, as a second implementation; the package has no types of its own. */
declare module 'smpp' {
  export const PDU: new (command: string, fields: Record<string, unknown>) => { toBuffer(): Buffer };
}
