/** 1: what was asked for failed. 2: wrong usage or settings. */
export type FailureCode = 1 | 2;

/** Ends a command: its message is the one line that goes to standard error. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    readonly exitCode: FailureCode,
    message: string,
  ) {
    super(message);
  }
}

export function failed(message: string): CliError {
  return new CliError(1, message);
}

export function usage(message: string): CliError {
  return new CliError(2, message);
}
