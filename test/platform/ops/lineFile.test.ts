import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LineFile, OpenLineFile } from '../../../src/platform/ops/lineFile';

const room = () => undefined;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A file whose writes end when the test says so. */
class SlowFile extends LineFile {
  readonly writes: string[] = [];
  private ends: (() => void)[] = [];

  constructor() {
    super(() => 0, room);
  }

  async writeEnds(): Promise<void> {
    await turn();
    this.ends.shift()!();
    await turn();
  }

  protected override target() {
    return {
      write: (bytes: Buffer) => {
        this.writes.push(bytes.toString());
        return new Promise<{ bytesWritten: number }>((resolve) =>
          this.ends.push(() => resolve({ bytesWritten: bytes.length })),
        );
      },
    };
  }
}

test('what comes during a write is the next one, in its order', async () => {
  const file = new SlowFile();
  for (const line of ['first\n', 'second\n', Buffer.from('third\n'), 'fourth\n']) file.write(line);
  await file.writeEnds();
  await file.writeEnds();
  expect(file.writes).toEqual(['first\n', 'second\nthird\nfourth\n']);
  expect(file.writableLength).toBe(0);
  expect(file.dropped).toBe(0);
});

test('a write has no more than a full file may', async () => {
  const file = new SlowFile();
  const lines = ['a', 'b', 'c', 'd'].map((letter) => `${letter.repeat(400 * 1024 - 1)}\n`);
  for (const line of ['first\n', ...lines]) file.write(line);
  for (let write = 0; write < 3; write++) await file.writeEnds();
  expect(file.writes.map((bytes) => bytes.length / 1024)).toEqual([6 / 1024, 800, 800]);
  expect(file.writes.join('')).toBe(`first\n${lines.join('')}`);
});

test('lines are in an open file within the turn in which they came', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'line-'));
  const path = join(folder, 'out');
  const descriptor = openSync(path, 'w');
  try {
    const file = new OpenLineFile(descriptor, () => 0, room);
    for (const line of ['first\n', 'second\n', 'third\n']) file.write(line);
    // Microtasks alone: no turn of the event loop, in which a write could be heard to have ended.
    for (let hop = 0; hop < 100; hop++) await Promise.resolve();
    expect(readFileSync(path, 'utf8')).toBe('first\nsecond\nthird\n');
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
});
