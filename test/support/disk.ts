/** A small disk that is full when a test wants it to be. */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Only root may mount, and not in every container. */
export function mayMount(): boolean {
  const place = mkdtempSync(join(tmpdir(), 'm2m-mount-'));
  const made = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place]).status === 0;
  if (made) execFileSync('umount', [place]);
  else process.stderr.write('nothing can be mounted here: tests of a full disk are skipped\n');
  rmSync(place, { recursive: true });
  return made;
}

export class SmallDisk {
  private constructor(readonly place: string) {}

  /** @param size as mount(8) takes it: `256k` */
  static mount(place: string, size: string): SmallDisk {
    mkdirSync(place);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=1777`, 'tmpfs', place]);
    return new SmallDisk(place);
  }

  private get ballast(): string {
    return join(this.place, 'ballast');
  }

  /** To the last block. */
  fill(): void {
    for (const size of [1 << 20, 1 << 12]) {
      try {
        for (;;) appendFileSync(this.ballast, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  }

  makeRoom(): void {
    rmSync(this.ballast);
  }

  unmount(): void {
    execFileSync('umount', [this.place]);
  }
}
