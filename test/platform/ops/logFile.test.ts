import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LogFile } from '../../../src/platform/ops/logFile';

const MODULE = join(__dirname, '..', '..', '..', 'dist', 'platform', 'ops', 'logFile.js');
let folder: string;
let path: string;
let time: number;
const errors: unknown[] = [];
const room: [lost: number, code: string][] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'));
  path = join(folder, 'gateway.log');
  time = Date.parse('2026-01-02T03:04:05.000Z');
  room.length = 0;
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  expect(errors).toEqual([]);
});

const opened = (size: number, keep = 100) =>
  LogFile.open({
    path,
    size,
    keep,
    now: () => time++,
    onError: (error) => errors.push(error),
    onRoom: (...told) => room.push(told),
  });
const written = (file: LogFile, text: string) =>
  new Promise<void>((resolve) => file.write(text, () => resolve()));
const line = (n: number) => `line ${String(n).padStart(5, '0')}\n`;

/** Lines of all files, full ones first, in the order of their names. */
function lines(): string[] {
  const names = readdirSync(folder).sort(
    (one, other) => other.length - one.length || one.localeCompare(other),
  );
  return names.flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1));
}

test('full files are renamed, the latest are kept, no line is torn', async () => {
  const file = await opened(110);
  for (let n = 0; n < 55; n++) await written(file, line(n));
  expect(readdirSync(folder).sort()).toEqual(
    expect.arrayContaining(['gateway.log', expect.stringMatching(/^gateway\.log-20260102T03040\d{4}Z-\d+$/)]),
  );
  expect(readdirSync(folder)).toHaveLength(6);
  expect(lines()).toEqual(Array.from({ length: 55 }, (_, n) => line(n).trim()));
  file.destroy();
  const sparing = await opened(110, 2);
  for (let n = 55; n < 88; n++) await written(sparing, line(n));
  expect(readdirSync(folder)).toHaveLength(3);
  expect(lines().at(-1)).toBe('line 00087');
  sparing.destroy();
});

test('of several who write to it one renames the full file, and it is full by what all of them wrote', async () => {
  const [one, other] = [await opened(110), await opened(110)];
  let count = 0;
  const write = async (file: LogFile, times: number) => {
    for (let n = 0; n < times; n++) await written(file, line(count++));
  };
  // Either has looked at the file once, and knows of its own lines since.
  await write(one, 1);
  await write(other, 1);
  await write(one, 9);
  await write(other, 8);
  await write(one, 1);
  await write(other, 1);
  expect(readdirSync(folder)).toHaveLength(2);
  await write(one, 8);
  time += 1_000;
  await write(other, 1);
  expect(readdirSync(folder)).toHaveLength(3);
  expect([readFileSync(path, 'utf8'), lines().length]).toEqual([line(count - 1), count]);
  for (const file of [one, other]) file.destroy();
});

test('nobody but its owner and its group may read it', async () => {
  (await opened(110)).destroy();
  expect(statSync(path).mode & 0o027).toBe(0);
});

test('what else is in the folder stays', async () => {
  writeFileSync(join(folder, 'gateway.log-mine'), 'x');
  const file = await opened(11, 0);
  for (let n = 0; n < 5; n++) await written(file, line(n));
  expect(readdirSync(folder).sort()).toEqual(['gateway.log', 'gateway.log-mine']);
  file.destroy();
});

test('a file that somebody moves away, or deletes: a new one within a second', async () => {
  const file = await opened(1e6);
  await written(file, line(1));
  renameSync(path, join(folder, 'moved'));
  time += 1_000;
  await written(file, line(2));
  rmSync(path);
  time += 1_000;
  await written(file, line(3));
  expect([readFileSync(join(folder, 'moved'), 'utf8'), readFileSync(path, 'utf8')]).toEqual([
    line(1),
    line(3),
  ]);
  file.destroy();
});

test('what a full disk does not take is counted, and it goes on afterwards', async () => {
  symlinkSync('/dev/full', path);
  const file = await opened(1e6);
  await written(file, line(1) + line(2));
  expect(file.dropped).toBe(2);
  rmSync(path);
  await written(file, line(3));
  expect([file.dropped, readFileSync(path, 'utf8')]).toEqual([2, line(3)]);
  // Room for a moment is none.
  expect(room).toEqual([]);
  time += 1_000;
  await written(file, line(4));
  await written(file, line(5));
  expect(room).toEqual([[2, 'ENOSPC']]);
  file.destroy();
});

test('an old file that cannot be deleted costs no line, and is told', async () => {
  // Nobody removes a folder like a file, not even root.
  mkdirSync(`${path}-20250101T000000000Z-1`);
  const file = await opened(110, 1);
  for (let n = 0; n < 25; n++) await written(file, line(n));
  rmSync(`${path}-20250101T000000000Z-1`, { recursive: true });
  file.destroy();
  expect(file.dropped).toBe(0);
  expect(lines().at(-1)).toBe(line(24).trimEnd());
  expect(errors.splice(0).length).toBeGreaterThan(0);
});

test('a path that cannot be written is told at once', async () => {
  path = join(folder, 'none', 'gateway.log');
  await expect(opened(1)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('two processes that write and rotate the same file lose and tear nothing', async () => {
  const program = `
    const { LogFile } = require(${JSON.stringify(MODULE)});
    (async () => {
      const file = await LogFile.open({ path: process.argv[1], size: 5000, keep: 1000, now: Date.now, onError: (e) => { throw e }, onRoom() {} });
      for (let n = 0; n < 3000; n++) await new Promise((done) => file.write(process.argv[2] + ' ' + n + '\\n', done));
      if (file.dropped > 0) process.exit(3);
    })();`;
  const codes = await Promise.all(
    ['a', 'b'].map((name) => {
      const child = spawn(process.execPath, ['-e', program, path, name], { stdio: 'inherit' });
      return new Promise((resolve) => child.once('close', resolve));
    }),
  );
  expect(codes).toEqual([0, 0]);
  const wanted = ['a', 'b'].flatMap((name) => Array.from({ length: 3000 }, (_, n) => `${name} ${n}`));
  expect(lines().sort()).toEqual(wanted.sort());
  expect(readdirSync(folder).length).toBeGreaterThan(2);
});
