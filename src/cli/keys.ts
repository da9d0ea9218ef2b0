/** `m2m keys`: the gateway's own keys. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { keyRing } from '../crypto/sealing';
import {
  addKeys,
  KEY_KINDS,
  makeKeyFile,
  readKeyFile,
  readKeyInfo,
  type KeyInfo,
  type KeyKind,
} from '../platform/keys/keyFile';
import { countByKey, reseal } from '../platform/store/resealer';
import {
  checkSealingKeys,
  forgetSealingKeys,
  gatewaysWithout,
  KeysDoNotFit,
  registerSealingKey,
  statementsEnded,
} from '../platform/store/sealingKeys';
import { makeDataFolder } from './database';
import { failed, usage } from './errors';
import { withDatabase, type OwnConnection } from './keyDatabase';
import { ProgressBar } from './progress';
import { checkedSettings, misfit, usingKeyFile as using } from './serveParts';

/** Milliseconds after which every gateway that holds a new key uses it. */
const SWITCHED_WITHIN = 3_000;
/** A gateway gives a statement up after M2M_DATABASE_TIMEOUT: one that lasts so many of them ends when somebody ends it. */
const TIMEOUTS = 10;

export function register(program: Command): void {
  const keys = program.command('keys').description("the gateway's keys (M2M_KEY_FILE)");
  const add = (name: string, description: string) => keys.command(name).description(description);
  add('init', 'makes a key file; refuses where the database already holds sealed data').action(() => init());
  add('list', 'ids, ages and uses of the keys').action(() => list());
  add('rotate', 'adds new keys, which running gateways use from then on; old ones still open')
    .option('--only <kind>', 'sealing or packet', kindValue)
    .action((options: { only?: KeyKind }) => rotate(options.only));
  add('reseal', 'seals again what is stored under old keys, and says which may go').action(() => resealAll());
  add('check', 'says whether the key file fits the database').action(() => check());
}

function kindValue(text: string): KeyKind {
  const kind = KEY_KINDS.find((one) => one === text);
  if (kind === undefined) throw usage('--only must be sealing or packet');
  return kind;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function init(): Promise<void> {
  const settings = checkedSettings();
  if (existsSync(settings.keyFile))
    throw failed(`M2M_KEY_FILE: ${resolve(settings.keyFile)} is there already`);
  await withDatabase(settings, async (database) => {
    const { rows } = await database.query({ text: `SELECT encode(key_id, 'hex') FROM m2m.sealing_key` });
    if (rows.length === 0) {
      if (settings.ownKeyFile) makeDataFolder(settings);
      return using(() => makeKeyFile(settings.keyFile));
    }
    const ids = rows.map(([id]) => id as string).join(', ');
    throw failed(
      `the database holds data sealed under key ${ids}: bring that key file back; a new one cannot open it`,
    );
  });
  say(`keys made: ${resolve(settings.keyFile)}. Back it up: losing it is losing the fleet.`);
}

async function list(): Promise<void> {
  const settings = checkedSettings();
  const keys = using(() => readKeyInfo(settings.keyFile));
  const uses = await withDatabase(settings, usesOf);
  for (const { kind, id, created } of keys) {
    const days = Math.floor((Date.now() - Date.parse(created)) / 86_400_000);
    const use = uses[kind].get(id) ?? 0;
    const newest = keys.filter((key) => key.kind === kind).at(-1)?.id === id;
    const what = kind === 'sealing' ? 'values sealed under it' : 'packets in use minted under it';
    say(
      [kind.padEnd(8), id, created, `${days} days old`, `${use} ${what}`, newest ? 'newest' : '']
        .join('  ')
        .trim(),
    );
  }
}

async function usesOf(database: OwnConnection): Promise<Record<KeyKind, Map<string, number>>> {
  const { rows } = await database.query({
    text: `SELECT encode(p.key_id, 'hex'), count(*) FROM m2m.packet AS p JOIN m2m.terminal AS t ON t.id = p.terminal_id
      WHERE p.issued_at > t.packets_revoked_at AND t.status <> 'retired' GROUP BY 1`,
  });
  const packet = new Map(rows.map(([id, count]) => [id as string, Number(count)]));
  return { sealing: await countByKey(database), packet };
}

function rotate(only: KeyKind | undefined): void {
  const { keyFile } = checkedSettings();
  const added = using(() => addKeys(keyFile, only === undefined ? KEY_KINDS : [only]));
  const file = resolve(keyFile);
  for (const { kind, id } of added) say(`new ${kind} key ${id} in ${file}, which keeps the old ones`);
  const steps = [
    `back up ${file}`,
    'copy it to every other gateway of the database: each reads it again by itself within a second',
    ...added.map(({ kind, id }) => NEXT_STEP[kind](id)),
  ];
  steps.forEach((step, n) => say(`${n + 1}. ${step}`));
}

const NEXT_STEP: Readonly<Record<KeyKind, (id: string) => string>> = {
  sealing: (id) =>
    `when every gateway's log says "values are sealed under key ${id} from now on": m2m keys reseal, which tells when the old key may go`,
  packet: (id) =>
    `packets are minted under ${id} from now on; the old key goes when m2m keys list shows no packet in use under it`,
};

async function check(): Promise<void> {
  const settings = checkedSettings();
  const ring = keyRing(using(() => readKeyFile(settings.keyFile)).sealing);
  const file = resolve(settings.keyFile);
  const [uses, where] = await withDatabase(settings, async (database) => {
    await fits(database, ring, settings.keyFile);
    return [await countByKey(database), await whereIs(database)] as const;
  });
  const lost = [...uses].filter(([id]) => !ring.byId.has(id));
  for (const [id, count] of lost)
    throw failed(
      `M2M_KEY_FILE: ${file} holds no key ${id}, under which ${count} values of ${where} are sealed`,
    );
  say(`${file} fits ${where}`);
  for (const id of ring.byId.keys()) say(`  key ${id}: ${uses.get(id) ?? 0} values sealed under it`);
}

/** Which database it is, for people: without anything that a URL may hold besides. */
async function whereIs(database: OwnConnection): Promise<string> {
  const { rows } = await database.query({
    text: `SELECT current_database(), host(inet_server_addr()), inet_server_port(), session_user::text`,
  });
  const [name, host, port, user] = rows[0] as [string, string | null, number | null, string];
  return `database ${name} ${host === null ? 'on this machine' : `at ${host}:${port ?? ''}`}, as ${user}`;
}

async function fits(
  database: OwnConnection,
  ring: ReturnType<typeof keyRing>,
  keyFile: string,
): Promise<void> {
  try {
    await checkSealingKeys(database, ring);
  } catch (error) {
    throw error instanceof KeysDoNotFit ? failed(misfit(error, keyFile)) : error;
  }
}

async function resealAll(): Promise<void> {
  const settings = checkedSettings();
  const ring = keyRing(using(() => readKeyFile(settings.keyFile)).sealing);
  const info = using(() => readKeyInfo(settings.keyFile)).filter(({ kind }) => kind === 'sealing');
  await withDatabase(settings, async (database) => {
    await fits(database, ring, settings.keyFile);
    await newestInUse(database, ring, settings.databaseTimeout * TIMEOUTS * 1000);
    const bar = new ProgressBar('sealing');
    const resealed = await reseal(database, ring, ({ done, of }) => bar.update(done, of));
    bar.end();
    say(`${resealed} values sealed anew under key ${ring.newest.id}`);
    await tellOld(database, info);
  });
}

/** Every gateway must seal under the newest key, or old values would come up again behind our back. */
async function newestInUse(
  database: OwnConnection,
  ring: ReturnType<typeof keyRing>,
  patience: number,
): Promise<void> {
  const { id } = ring.newest;
  const without = await gatewaysWithout(database, id);
  if (without.length > 0) {
    throw failed(
      `gateway ${without.join(', ')} does not hold key ${id} yet: bring the key file there, and run this again`,
    );
  }
  await registerSealingKey(database, ring, id);
  await new Promise((resolve) => setTimeout(resolve, SWITCHED_WITHIN));
  await statementsEnded(database, {
    patience,
    onLong: (pids) =>
      say(
        `waiting for what a gateway has under way, pid ${pids.join(', ')} in pg_stat_activity; ` +
          'where it does not end: SELECT pg_terminate_backend(pid)',
      ),
  });
}

async function tellOld(database: OwnConnection, keys: readonly KeyInfo[]): Promise<void> {
  const uses = await countByKey(database);
  const old = keys.slice(0, -1);
  const unused = old.filter(({ id }) => (uses.get(id) ?? 0) === 0).map(({ id }) => id);
  await forgetSealingKeys(database, unused);
  for (const { id } of old) {
    const use = uses.get(id) ?? 0;
    if (use > 0) say(`key ${id} still seals ${use} values, which were held by others: run this again`);
    else
      say(`key ${id} may be taken out of the key file; keep it with backups of the database made until now`);
  }
}
