/** `m2m migrate`: brings the schema up to date and ends. */
import type { Command } from 'commander';
import { borrowDatabase } from './database';
import { checkedSettings } from './serveParts';

export function register(program: Command): void {
  program.command('migrate').description('brings the database schema up to date and ends').action(run);
}

async function run(): Promise<void> {
  const database = await borrowDatabase(checkedSettings());
  await database.close();
  const { from, to, applied } = database.migrated;
  const steps = applied.map((name) => `  ${name}\n`).join('');
  process.stdout.write(
    from === to ? `schema is at version ${to}\n` : `schema from version ${from} to ${to}\n${steps}`,
  );
}
