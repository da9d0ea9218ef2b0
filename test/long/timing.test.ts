/**
 * Whether the time of a refusal tells that a serial exists: an unknown serial against a wrong digest, of terminals
 * that the gateway has in memory (warm) and of those that it has never looked up (cold).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { newTerminal, Operator } from '../support/operator';
import { login, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { compare, median, Z_999 } from '../support/statistics';

const SAMPLES = 2_000;
/** Milliseconds. Small, so that what takes longer shows. */
const REFUSAL_DELAY = 10;
/** One address may fail a thousand times a minute before it waits: no address has more than that in all. */
const FAILURES_AN_ADDRESS = 400;
const WRONG = Buffer.from('something else');

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: { M2M_REFUSAL_DELAY: String(REFUSAL_DELAY) },
  });
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await database?.drop();
  home?.remove();
});

/** A connection that serves for many refusals, from one address after the other. */
class Prober {
  private raw: RawTerminal | undefined;
  private failures = 0;
  private addresses = 0;

  /** @returns milliseconds from the request to its refusal */
  async refused(terminal: Terminal): Promise<number> {
    const raw = await this.connection();
    const frame = login(terminal, { password: WRONG });
    const before = performance.now();
    const { result } = await raw.askOnce(frame);
    const took = performance.now() - before;
    expect(result).toBe(RESULT.AUTH_FAILED);
    return took;
  }

  close(): void {
    this.raw?.close();
  }

  private async connection(): Promise<RawTerminal> {
    if (this.raw === undefined || this.failures++ % FAILURES_AN_ADDRESS === 0) {
      this.raw?.close();
      this.raw = await RawTerminal.open(gateway, `127.0.5.${++this.addresses}`);
    }
    return this.raw;
  }
}

/** In pairs, of which either may come first: whatever else happens on the machine happens to both. */
async function measure(known: readonly Terminal[], prober: Prober) {
  const [wrong, unknown]: [number[], number[]] = [[], []];
  for (const terminal of known) {
    const stranger = newTerminal();
    const both = [
      async () => wrong.push(await prober.refused(terminal)),
      async () => unknown.push(await prober.refused(stranger)),
    ];
    if (Math.random() < 0.5) both.reverse();
    for (const one of both) {
      await one();
      // Off the beat of the gateway's own timers.
      await sleep(Math.random() * 3);
    }
  }
  return { wrong, unknown };
}

async function warmUp(terminals: readonly Terminal[]): Promise<void> {
  for (const terminal of terminals) {
    const raw = await RawTerminal.open(gateway, '127.0.6.1');
    expect((await raw.ask(login(terminal))).result).toBe(RESULT.OK);
    raw.close();
  }
}

test('a wrong digest and an unknown serial take the same time', async () => {
  const [warm, cold] = [await operator.provisionMany(SAMPLES), await operator.provisionMany(SAMPLES)];
  await warmUp(warm);
  const prober = new Prober();
  // The first ones pay for code that has not run yet.
  await measure(warm.slice(0, 100), prober);
  for (const [name, terminals] of [
    ['warm', warm],
    ['cold', cold],
  ] as const) {
    const { wrong, unknown } = await measure(terminals, prober);
    const { z, below, medians, means } = compare(wrong, unknown);
    const show = (value: number) => value.toFixed(3);
    process.stdout.write(
      `${name}: wrong digest ${show(median(wrong))} ms, unknown serial ${show(median(unknown))} ms (medians of ${SAMPLES}), ` +
        `${show(medians)} ms apart; means ${show(means.difference)} ± ${show(means.margin)} ms; ` +
        `Mann-Whitney z ${z.toFixed(2)}, P(wrong < unknown) ${below.toFixed(3)}\n`,
    );
    expect(Math.abs(z)).toBeLessThan(Z_999);
    expect(Math.abs(means.difference)).toBeLessThan(means.margin);
  }
  prober.close();
});

test('the measure would see a difference of half a millisecond', () => {
  const noisy = (shift: number) =>
    Array.from({ length: SAMPLES }, () => REFUSAL_DELAY + shift - Math.log(1 - Math.random()));
  expect(Math.abs(compare(noisy(0), noisy(0.5)).z)).toBeGreaterThan(Z_999);
});
