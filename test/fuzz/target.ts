/** What a target of fuzzing is. */

export interface Target {
  /** Inputs to begin with; more are in test/fuzz/corpus/<name>/. */
  readonly seeds: readonly Buffer[];
  /**
   * Throws where something does not hold that must hold for whatever bytes.
   *
   * @returns what kind of outcome it was
   */
  readonly run: (bytes: Buffer) => string | Promise<string>;
  /** So many kinds at least a short run must meet, or it looks at nothing. */
  readonly kinds: number;
}

export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

export const text = (...lines: readonly string[]): Buffer[] => lines.map((line) => Buffer.from(line));

/** What `act` returns, or the message of an error of that class; other errors pass. */
export function refusedAs<T>(
  kind: abstract new (...args: never[]) => Error,
  act: () => T,
): T | { readonly refused: string } {
  try {
    return act();
  } catch (error) {
    if (error instanceof kind) return { refused: error.message };
    throw error;
  }
}
