/** What tests of WMMP 3.0 stand on: a gateway, an operator, and modules that log in and hold answers to the page. */
import { randomBytes } from 'node:crypto';
import { createDatabase, type TestDatabase } from './database';
import { eventually } from './eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from './gateway';
import { newTerminal, Operator } from './operator';
import type { Terminal } from './oracle';
import { noteSecret } from './secrets';
import { RawTerminal } from './socket';
import { sealed } from './texts';
import {
  loginAnswerOf,
  openedSessionKey,
  WMMP,
  WMMP_TAG,
  wmmpDigestIsGood,
  wmmpHeartbeat,
  wmmpLogin,
  type ParsedWmmp,
  type WmmpLoginOptions,
} from './wmmpOracle';

const RESPONSE = 0x8000;

export type Module = RawTerminal<ParsedWmmp>;

export interface LoggedIn {
  readonly socket: Module;
  readonly timestamp: number;
  readonly sessionKey: Buffer | undefined;
}

/** For one test file: starts and ends with it. */
export function wmmpBench() {
  let database: TestDatabase;
  let home: TestHome;
  let gateway: GatewayProcess;
  let operator: Operator;

  beforeAll(async () => {
    database = await createDatabase();
    home = testHome();
    gateway = await startGateway({ databaseUrl: database.url, home });
    operator = await Operator.connect(database.url);
  });

  afterAll(async () => {
    await operator?.close();
    await gateway?.stop();
    await database?.drop();
    home?.remove();
  });

  const open: RawTerminal<unknown>[] = [];
  afterEach(() => {
    for (const terminal of open.splice(0)) terminal.close();
  });

  async function dial(): Promise<Module> {
    const terminal = await RawTerminal.openWmmp(gateway);
    open.push(terminal);
    return terminal;
  }

  async function dial4(): Promise<RawTerminal> {
    const terminal = await RawTerminal.open(gateway);
    open.push(terminal);
    return terminal;
  }

  /** As the field has them: passwords of 8 characters, a base key of 24 bytes. */
  async function provision(leastLogin = 'wmmp3'): Promise<Terminal> {
    const used = randomBytes(16);
    const made = newTerminal();
    const terminal: Terminal = {
      ...made,
      uplinkPassword: noteSecret(Buffer.from(randomBytes(4).toString('hex'))),
      downlinkPassword: noteSecret(Buffer.from(randomBytes(4).toString('hex'))),
      baseKey: noteSecret(Buffer.concat([used, used.subarray(0, 8)])),
    };
    const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = terminal;
    await operator.sql('SELECT m2m.provision_terminal($1, $2, $3, $4, $5, $6, least_login => $7)', [
      serial,
      imei,
      imsi,
      uplinkPassword,
      downlinkPassword,
      baseKey,
      leastLogin,
    ]);
    await sealed(operator, terminal);
    return terminal;
  }

  /** Logs in, and holds the answer to what it must be. */
  async function login(terminal: Terminal, options: WmmpLoginOptions = {}, on?: Module): Promise<LoggedIn> {
    const socket = on ?? (await dial());
    const answer = await socket.ask(wmmpLogin(terminal, options));
    const { result, timestamp } = loginAnswerOf(answer);
    expect(result).toBe(0);
    expect(Math.abs(timestamp - Date.now() / 1000)).toBeLessThan(300);
    const signing = { ...terminal, timestamp, password: terminal.downlinkPassword };
    expect(wmmpDigestIsGood(answer, signing)).toBe(true);
    const ciphertext = answer.tlvs.get(WMMP_TAG.SESSION_KEY_CIPHERTEXT);
    expect(ciphertext === undefined).toBe(!options.keyProof);
    return { socket, timestamp, sessionKey: ciphertext && openedSessionKey(terminal.baseKey, ciphertext) };
  }

  async function alive(terminal: Terminal, socket: Module, sequence = 77): Promise<void> {
    const answer = await socket.ask(wmmpHeartbeat(terminal, { sequence }));
    expect(answer).toMatchObject({ command: WMMP.HEARTBEAT | RESPONSE, sequence, length: 28 });
  }

  /** Hangs up, and waits until the gateway knows: it holds the row meanwhile, and a login that comes then gets silence. */
  async function leave({ serial }: Terminal, socket: Module): Promise<void> {
    socket.close();
    await eventually('a session without a connection', async () => {
      const [row] = await operator.sql<{ connected: boolean }>(
        `SELECT s.connected FROM m2m.session AS s JOIN m2m.terminal AS t ON t.id = s.terminal_id WHERE t.serial = $1`,
        [serial],
      );
      return row?.connected === false;
    });
  }

  async function sentAway(socket: Module): Promise<void> {
    const before = socket.received.length;
    await socket.end();
    expect(socket.received).toHaveLength(before);
  }

  const logged = (terminal: Terminal, action: string, detail: string) =>
    gateway.logged(
      (line: LogLine) =>
        line['event.action'] === action &&
        line['device.id'] === terminal.serial &&
        line['m2m.detail'] === detail,
    );

  const status = async ({ serial }: Terminal) =>
    (await operator.sql('SELECT * FROM m2m.terminal_status WHERE serial = $1', [serial]))[0]!;

  return {
    get gateway() {
      return gateway;
    },
    get operator() {
      return operator;
    },
    dial,
    dial4,
    provision,
    login,
    alive,
    leave,
    sentAway,
    logged,
    status,
  };
}
