import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from './migrateErrors';

/** One numbered SQL file: `003_name.sql`, whose first line tells `-- works from: N`. */
export interface MigrationFile {
  readonly version: number;
  /** The file's name without `.sql`. */
  readonly name: string;
  /** The oldest schema version whose gateways may still run once this file is applied. */
  readonly worksFrom: number;
  readonly sql: string;
}

/** From src/platform/store and from dist/platform/store alike. */
const sqlDirectory = join(__dirname, '..', '..', '..', 'scripts', 'sql');

const FILE_NAME = /^(\d{3})_[a-z0-9_]+\.sql$/;
const WORKS_FROM = /^-- works from: (\d+)\r?\n/;

function readMigration(directory: string, file: string): MigrationFile {
  const sql = readFileSync(join(directory, file), 'utf8');
  const version = Number(FILE_NAME.exec(file)?.[1]);
  const worksFrom = Number(WORKS_FROM.exec(sql)?.[1]);
  if (!(worksFrom >= 1 && worksFrom <= version)) {
    throw new MigrationError(`${file} does not begin with "-- works from: N", N from 1 to ${version}`);
  }
  return { version, name: file.slice(0, -'.sql'.length), worksFrom, sql };
}

/** The migrations of a directory in order. Throws MigrationError where they are not numbered 1, 2, 3 … */
export function readMigrations(directory: string = sqlDirectory): readonly MigrationFile[] {
  const files = readdirSync(directory).filter((file) => FILE_NAME.test(file));
  const migrations = files.sort().map((file) => readMigration(directory, file));
  migrations.forEach(({ version, name }, index) => {
    if (version !== index + 1)
      throw new MigrationError(`${name} in ${directory} should be number ${index + 1}`);
  });
  if (migrations.length === 0) throw new MigrationError(`no migrations in ${directory}`);
  return migrations;
}
