/**
 * Two gateways behind haproxy are restarted one after the other, as docs/operations.md tells, under load: whoever is
 * sent away comes back when it was told to, and is let in at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { describeWith } from '../support/debian';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Haproxy, HAPROXY_HOST } from '../support/haproxy';
import { Operator } from '../support/operator';
import { COMMAND, heartbeat, login, RESULT, TAG, type Parsed, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const TERMINALS = 30;
const ROUNDS = 2;
/** haproxy takes a hundred connections; a few more come and go. */
const VISITORS = 5;
/** One that no other test listens at, so that a gateway gets its ports back when it starts again. */
const GATEWAY_HOST = '127.0.0.12:0';

interface Told {
  /** Times that it was sent away. */
  away: number;
  /** Answers and ends that no terminal should see behind its RETRY_AFTER. */
  readonly refusals: string[];
  logins: number;
}

describeWith(
  'haproxy',
  ['-v'],
  'haproxy',
)('a rolling restart behind haproxy', () => {
  let database: TestDatabase;
  let home: TestHome;
  let operator: Operator;
  let haproxy: Haproxy;
  const gateways = new Map<string, GatewayProcess>();
  const told: Told = { away: 0, refusals: [], logins: 0 };
  let over = false;

  async function start(id: string, listen = GATEWAY_HOST): Promise<GatewayProcess> {
    const gateway = await startGateway({
      databaseUrl: database.url,
      home,
      environment: {
        M2M_GATEWAY_ID: id,
        M2M_PROXY_PROTOCOL: 'v2',
        M2M_PROXY_TRUSTED: '127.0.0.1',
        M2M_LISTEN: listen,
        M2M_DRAIN: '3',
        M2M_TIMESTAMP_WINDOW: '3600',
      },
    });
    gateways.set(id, gateway);
    return gateway;
  }

  beforeAll(async () => {
    database = await createDatabase();
    home = testHome();
    const [first, second] = [await start('gw-1'), await start('gw-2')];
    operator = await Operator.connect(database.url);
    const behind = ({ host, port }: GatewayProcess) => ({ plain: `${host}:${port}`, tls: `${host}:${port}` });
    haproxy = await Haproxy.start(home.directory, [behind(first), behind(second)], '');
  });

  afterAll(async () => {
    await haproxy?.stop();
    await operator?.close();
    for (const gateway of gateways.values()) await gateway.stop();
    await database?.drop();
    home?.remove();
  });

  const dial = () => RawTerminal.open({ host: HAPROXY_HOST, port: haproxy.port });
  const retryAfter = (frame: Parsed) => frame.tlvs.get(TAG.RETRY_AFTER)?.readUInt32BE(0);

  /** The next frame, or why there is none. */
  async function heard(raw: RawTerminal, frame: Buffer): Promise<Parsed | string> {
    raw.send(frame);
    return raw.next().catch((error: Error) => error.message);
  }

  /**
   * Logs in once.
   *
   * @returns milliseconds after which it is to come back, where it was told some; what else became of it, where that
   * is no grant
   */
  async function attempt(raw: RawTerminal, terminal: Terminal, sequence: number): Promise<number | string> {
    const answer = await heard(raw, login(terminal, { sequence }));
    if (typeof answer === 'string') return answer;
    if (answer.command !== COMMAND.DISCONNECT && answer.result === RESULT.OK) return 0;
    return retryAfter(answer) ?? `result ${answer.result} of command ${answer.command}`;
  }

  /** Stays, and sends heartbeats, until it is sent away. @returns its RETRY_AFTER */
  async function stay(raw: RawTerminal, terminal: Terminal, next: () => number): Promise<number | string> {
    while (!over) {
      const answer = await heard(raw, heartbeat(terminal, { sequence: next() }));
      if (typeof answer === 'string') return answer;
      if (answer.command === COMMAND.DISCONNECT) return retryAfter(answer) ?? 'no RETRY_AFTER';
      await sleep(200);
    }
    return 0;
  }

  /** @param visits whether it leaves right after its login, again and again */
  async function live(terminal: Terminal, visits: boolean): Promise<void> {
    let sequence = 0;
    const next = () => ++sequence;
    let mayBeTold = true;
    while (!over) {
      const raw = await dial();
      const wait = await attempt(raw, terminal, next());
      if (wait === 0) {
        told.logins++;
        mayBeTold = true;
        const away = visits ? await sleep(1_500, 0) : await stay(raw, terminal, next);
        if (typeof away === 'string') told.refusals.push(`in its session: ${away}`);
        else if (away > 0) {
          told.away++;
          await sleep(away);
        }
      } else if (typeof wait === 'string') {
        told.refusals.push(`at its login: ${wait}`);
      } else {
        // Somebody held its row, or the gateway ended just then: once, not again when it comes as it was told.
        if (!mayBeTold) told.refusals.push('told to come later twice');
        mayBeTold = false;
        await sleep(wait);
      }
      raw.close();
    }
  }

  test('no terminal is refused for longer than its RETRY_AFTER', async () => {
    const terminals = await operator.provisionMany(TERMINALS + VISITORS);
    const lives = terminals.map((terminal, i) => live(terminal, i >= TERMINALS));
    await eventually('all are in', () => told.logins >= terminals.length);
    for (let round = 0; round < ROUNDS; round++) {
      for (const id of ['gw-1', 'gw-2']) {
        const gateway = gateways.get(id)!;
        await haproxy.command(`set server gateways/${id} state drain`);
        expect(await gateway.stop()).toBe(0);
        await start(id, `${gateway.host}:${gateway.port}`);
        await haproxy.command(`set server gateways/${id} state ready`);
        await eventually('all are up', async () =>
          (await haproxy.checks()).every((check) => check.startsWith('UP')),
        );
        const { logins } = told;
        await eventually('load on all', () => told.logins > logins);
      }
    }
    over = true;
    await Promise.all(lives);
    process.stdout.write(
      `${2 * ROUNDS} restarts: ${told.logins} logins, ${told.away} sent away, ${told.refusals.length} refused\n`,
    );
    expect(told.refusals).toEqual([]);
    expect(told.away).toBeGreaterThan(TERMINALS);
  });
});
