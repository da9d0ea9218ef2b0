/** Where a device's state lies: in memory, or in a file that survives a power cut at any moment. */
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { parseState, StateError, stateText, type DeviceState } from './state';

export interface Flash {
  read(): DeviceState;
  /** Reads, changes and stores in one step; what it returns is on storage. */
  update(change: (state: DeviceState) => DeviceState): DeviceState;
}

/** The sequence of a request, never used before by this device: that it is used is on storage when this returns. */
export function takeSequence(flash: Flash): { sequence: number; state: DeviceState } {
  let sequence = 0;
  const state = flash.update((held) => {
    sequence = held.nextSequence;
    return { ...held, nextSequence: (sequence + 1) >>> 0 };
  });
  return { sequence, state };
}

export class MemoryFlash implements Flash {
  constructor(private state: DeviceState) {}

  read(): DeviceState {
    return this.state;
  }

  update(change: (state: DeviceState) => DeviceState): DeviceState {
    return (this.state = change(this.state));
  }
}

/**
 * A JSON file with mode 0600. Every update reads it anew under a lock, so that two processes that play the same
 * device never use a sequence twice. Every failure is a StateError that names the file.
 */
export class FileFlash implements Flash {
  constructor(private readonly file: string) {}

  static exists(file: string): boolean {
    return existsSync(file);
  }

  /** Stores the state of a device that is new; a file that is there already is left alone. */
  static create(file: string, state: DeviceState): FileFlash {
    withFile(file, () =>
      withLock(file, (write) => {
        if (existsSync(file)) throw new StateError('is there already');
        write(stateText(state));
      }),
    );
    return new FileFlash(file);
  }

  read(): DeviceState {
    return withFile(this.file, () => parseState(readFileSync(this.file, 'utf8')));
  }

  update(change: (state: DeviceState) => DeviceState): DeviceState {
    return withFile(this.file, () =>
      withLock(this.file, (write) => {
        const next = change(parseState(readFileSync(this.file, 'utf8')));
        write(stateText(next));
        return next;
      }),
    );
  }
}

function withFile<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new StateError(`state file ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function writeAtomically(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flush: true });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(file));
}

/** A rename is on storage when its folder is. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** An update takes milliseconds: a lock this old is left from a process that died. */
const STALE_AFTER_MS = 2000;
const POLL_MS = 5;

/** @param work gets what writes the file, which throws where the lock was taken over: somebody else may have written it */
function withLock<T>(file: string, work: (write: (text: string) => void) => T): T {
  const lock = `${file}.lock`;
  const owner = randomUUID();
  while (!tryLock(lock, owner)) pause(POLL_MS);
  try {
    return work((text) => {
      if (!isOwn(lock, owner))
        throw new StateError('was locked for so long that another process took the lock over');
      writeAtomically(file, text);
    });
  } finally {
    if (isOwn(lock, owner)) rmSync(lock, { force: true });
  }
}

function isOwn(lock: string, owner: string): boolean {
  return existsSync(lock) && readFileSync(lock, 'utf8') === owner;
}

function tryLock(lock: string, owner: string): boolean {
  try {
    writeFileSync(lock, owner, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (ageOf(lock) > STALE_AFTER_MS) rmSync(lock, { force: true });
    return false;
  }
}

function ageOf(lock: string): number {
  const found = statSync(lock, { throwIfNoEntry: false });
  return found === undefined ? 0 : Date.now() - found.mtimeMs;
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
