/**
 * Texts through an SMSC that does everything wrong, from two gateways that are killed now and then: none is lost, and
 * none is reported as delivered that was not.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import { MischievousSmsc } from '../support/mischievousSmsc';
import { login, RESULT } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { askByText, provisionSealedPhone } from '../support/texts';

const ROUNDS = 8;
const TEXTS_A_ROUND = 8;
const UPLINK = 1;

/** https://en.wikipedia.org/wiki/Linear_congruential_generator, with the constants of Numerical Recipes. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
}

test.each([1, 2])('seed %d', async (seed) => {
  const random = seeded(seed);
  const smsc = await MischievousSmsc.start(random);
  const deployment = await Deployment.open();
  const { operator } = deployment;
  const start = (workers: string) =>
    deployment.start({ M2M_SMS: `smpp://m2m:password@127.0.0.1:${smsc.port}`, M2M_WORKERS: workers });
  const gateways: GatewayProcess[] = [await start('1'), await start('2')];
  const phones: string[] = [];

  /** What waits is due, and so is what a gateway has had for longer than it tries. */
  async function hurryAll(): Promise<void> {
    await operator.sql(
      `UPDATE m2m.sms_outbox SET next_try_at = now()
       WHERE status = 'waiting' OR status = 'sending' AND next_try_at < now() + interval '45 s'`,
    );
  }

  async function rows(): Promise<{ status: string; phone: string }[]> {
    // What is told of a phone is told before the gateway can know it.
    const found = await operator.sql<{ status: string; phone: string }>(
      `SELECT status, ltrim(msisdn, '+') AS phone FROM m2m.sms_outbox`,
    );
    for (const { status, phone } of found) {
      if (status === 'delivered') expect(smsc.delivered).toContain(phone);
      expect(status).not.toBe('failed');
    }
    return found;
  }

  for (let round = 0; round < ROUNDS; round++) {
    for (let text = 0; text < TEXTS_A_ROUND; text++) {
      const { terminal, phone } = await provisionSealedPhone(operator);
      const socket = await RawTerminal.open(gateways[text % 2]!);
      expect((await socket.ask(login(terminal, { sequence: 1 }))).result).toBe(RESULT.OK);
      await askByText(socket, terminal, { targets: UPLINK, sequence: 2 });
      socket.close();
      phones.push(phone.slice(1));
    }
    await hurryAll();
    await rows();
    await sleep(random() * 500);
    const victim = round % 3 === 0 ? 0 : round % 3 === 1 ? 1 : undefined;
    if (victim === undefined) continue;
    await gateways[victim]!.kill();
    gateways[victim] = await start(String(victim + 1));
  }

  smsc.mischief = false;
  await eventually('every text delivered', async () => {
    await hurryAll();
    await sleep(500);
    return (await rows()).every(({ status }) => status === 'delivered');
  });
  expect((await rows()).map(({ phone }) => phone).sort()).toEqual(phones.sort());
  for (const phone of phones) expect(smsc.taken.get(phone)).toBeGreaterThan(0);
  await eventually('an answer to each receipt', () => smsc.untold === 0);
  await deployment.close();
  await smsc.stop();
});
