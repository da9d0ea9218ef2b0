import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { embeddedUrl } from '../../../src/platform/store/embedded';
import { eventually } from '../../support/eventually';
import { Workshop, lives, processesWith, query } from '../../support/workshop';

jest.setTimeout(400_000);

const workshop = new Workshop();

afterEach(() => workshop.tidy());

afterAll(() => {
  workshop.close();
});

describe('after a crash', () => {
  it('the server goes down with its owner, though others that one started live on', async () => {
    const dataDir = await workshop.prepared();
    const { next, kill } = workshop.owner(dataDir, 'bystander');
    const { bystander } = await next();
    const { pid } = await next();
    await query(embeddedUrl(dataDir), 'CREATE TABLE kept AS SELECT 7 AS n');
    try {
      await kill();
      await eventually('the server is gone', () => processesWith(dataDir).length === 0);
      expect(lives(pid!)).toBe(false);
      expect(lives(bystander!)).toBe(true);
      expect(existsSync(join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
    } finally {
      process.kill(bystander!);
    }
    expect(await query((await workshop.start(dataDir)).url, 'SELECT n FROM kept')).toBe(7);
  });

  it('the next start does not wait for it to be gone', async () => {
    const dataDir = await workshop.prepared();
    const { next, kill } = workshop.owner(dataDir);
    const { pid } = await next();
    await query(embeddedUrl(dataDir), 'CREATE TABLE kept AS SELECT 7 AS n');
    await kill();
    expect(await query((await workshop.start(dataDir)).url, 'SELECT n FROM kept')).toBe(7);
    await eventually('it is gone', () => !lives(pid!));
  });
});
