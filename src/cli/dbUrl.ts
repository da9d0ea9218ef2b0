/** `m2m db-url`: prints a connection URL for the database's owner. */
import type { Command } from 'commander';
import { databaseUrl } from './database';
import { checkedSettings } from './serveParts';

export function register(program: Command): void {
  program
    .command('db-url')
    .description('prints a connection URL of the database in use, good for psql and as DATABASE_URL')
    .action(() => {
      process.stdout.write(`${databaseUrl(checkedSettings())}\n`);
    });
}
