/** What becomes of a command whose reader has gone. */

function onError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit();
  throw error;
}

/** `m2m … | head` closes the pipe early, which is no failure of ours. */
export function endWithOutput(): void {
  process.stdout.on('error', onError);
}

/** A gateway serves on: its log counts the lines that nobody takes any more. */
export function outliveOutput(): void {
  process.stdout.off('error', onError).on('error', () => undefined);
  process.stderr.on('error', () => undefined);
}
