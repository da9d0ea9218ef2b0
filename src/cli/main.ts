#!/usr/bin/env node
/** The `m2m` command. Only the module of the command that was asked for is loaded, so that each starts at once. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { endWithOutput } from './closedOutput';
import { CliError } from './errors';

interface CommandModule {
  register(program: Command): void;
}

/** A new command is one row. Help lists them in this order. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  serve: () => import('./serve.js'),
  migrate: () => import('./migrate.js'),
  'db-url': () => import('./dbUrl.js'),
  emulate: () => import('./emulate.js'),
  seal: () => import('./seal.js'),
  packet: () => import('./packet.js'),
  keys: () => import('./keys.js'),
  inspect: () => import('./inspect.js'),
  bench: () => import('./bench.js'),
};

async function main(argv: readonly string[]): Promise<number> {
  // Before sub-commands are added: they inherit it.
  const program = new Command('m2m')
    .description('M2M login gateway, and what its operators need around it')
    .version(packageVersion())
    .configureOutput({ outputError: (text, write) => write(oneLine(text.replace(/^error: /, ''))) })
    .exitOverride();
  try {
    for (const load of wanted(argv[0])) (await load()).register(program);
    await program.parseAsync(argv, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    return report(error);
  }
}

/** All of them where the first argument names none: for help, and for "did you mean". */
function wanted(name: string | undefined): readonly (() => Promise<CommandModule>)[] {
  const one = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  return one ? [one] : Object.values(COMMANDS);
}

function packageVersion(): string {
  const file = join(__dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Writes what went wrong as one line, and gives the exit code. */
function report(error: unknown): number {
  // Commander has written its own line; its 1 is a wrong usage.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const message = error instanceof Error ? error.message || error.name : String(error);
  process.stderr.write(oneLine(message));
  return error instanceof CliError ? error.exitCode : 1;
}

function oneLine(message: string): string {
  return `m2m: ${message.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`;
}

endWithOutput();
void main(process.argv.slice(2)).then((code) => {
  // Not process.exit(): it cuts off what a pipe has not taken yet.
  process.exitCode = code;
});
