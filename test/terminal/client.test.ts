/** The device on a real socket, against a gateway that the oracle plays. */
import { Client, type Listener } from '../../src/terminal/client';
import { ConnectionError } from '../../src/terminal/connection';
import { MemoryFlash } from '../../src/terminal/flash';
import { newState } from '../../src/terminal/state';
import {
  disconnect,
  downlink,
  FakeGateway,
  SESSION_ID,
  sessionTlvs,
  signedAnswer,
  TERMINAL,
  unsignedAnswer,
  wellBehaved,
  wrappedKey,
  type Answering,
} from '../support/fakeGateway';
import { COMMAND, now, RESPONSE, RESULT, TAG, timestampOf, u8 } from '../support/oracle';

const WISHES = { sessionKey: true, identity: true, firmware: undefined };
let gateway: FakeGateway;
let client: Client;
let flash: MemoryFlash;
let options: { explicitTime: boolean; timeout: number };

async function meet(answering: Answering, listener: Listener = {}): Promise<void> {
  gateway = await FakeGateway.start(answering);
  flash = new MemoryFlash(newState({ ...TERMINAL, suite: 2 }, 0xffffffff));
  const where = { host: '127.0.0.1', port: gateway.port };
  options = { explicitTime: true, timeout: 240_000 };
  client = await Client.connect(where, flash, options, listener);
}

afterEach(async () => {
  await client.close();
  await gateway.stop();
});

const isLogin = ({ command }: { command: number }) => command === COMMAND.LOGIN;

test('logs in, beats and logs out, with sequences that rise past 32 bits', async () => {
  await meet(wellBehaved(TERMINAL));
  expect(await client.login(WISHES)).toMatchObject({ kind: 'signed', result: 'OK' });
  expect(client.session).toMatchObject({ id: SESSION_ID, ttl: 86400, key: Buffer.alloc(16, 7) });
  const answers = await Promise.all([client.heartbeat(), client.heartbeat(), client.logout()]);
  expect(answers.map((answer) => answer.kind)).toEqual(['signed', 'signed', 'signed']);
  expect(gateway.heard.map(({ sequence }) => sequence)).toEqual([0xffffffff, 0, 1, 2]);
  expect(flash.read().nextSequence).toBe(3);
  expect(client.session).toBeUndefined();
});

test('the sequence is stored before the frame is sent', async () => {
  const stored: number[] = [];
  await meet((asked) => {
    stored.push(flash.read().nextSequence - asked.sequence);
    return wellBehaved(TERMINAL)(asked, gateway.sockets[0]!, 1);
  });
  await client.login(WISHES);
  await client.heartbeat();
  expect(stored).toEqual([0 - 0xffffffff, 1]);
});

test('CLOCK_SKEW corrects the clock and is asked once more, as a new frame', async () => {
  const ahead = 5000;
  await meet((asked) => {
    const right = Math.abs(timestampOf(asked)! - now() - ahead) < 300;
    const result = right ? RESULT.OK : RESULT.CLOCK_SKEW;
    const tlvs = right ? [...sessionTlvs(), wrappedKey(TERMINAL, Buffer.alloc(16, 1))] : [];
    return [signedAnswer(TERMINAL, asked, { at: now() + ahead, result, tlvs })];
  });
  const before = Date.now();
  expect(await client.login(WISHES)).toMatchObject({ result: 'OK' });
  const took = (Date.now() - before) / 1000;
  expect(gateway.heard).toHaveLength(2);
  expect(gateway.heard[0]!.sequence).not.toBe(gateway.heard[1]!.sequence);
  expect(Math.abs(flash.read().clockOffset - ahead)).toBeLessThanOrEqual(1 + took);
});

test('a gateway that says CLOCK_SKEW for ever is asked twice', async () => {
  await meet((asked) => [signedAnswer(TERMINAL, asked, { result: RESULT.CLOCK_SKEW })]);
  expect(await client.login(WISHES)).toMatchObject({ result: 'CLOCK_SKEW' });
  expect(gateway.heard).toHaveLength(2);
});

test('an unsigned or forged answer changes nothing', async () => {
  let forge: Answering = (asked) => [unsignedAnswer(asked, RESULT.BUSY, 2500)];
  await meet((...all) => forge(...all));
  const before = flash.read();
  expect(await client.login(WISHES)).toMatchObject({ kind: 'unsigned', result: 'BUSY', retryAfter: 2500 });
  forge = (asked) => [
    signedAnswer(TERMINAL, asked, { at: 1, password: Buffer.from('forged'), tlvs: sessionTlvs() }),
  ];
  expect(await client.login(WISHES)).toMatchObject({ kind: 'refused', reason: 'wrong-digest' });
  expect(client.session).toBeUndefined();
  expect(flash.read()).toEqual({ ...before, nextSequence: 1 });
});

test('an answer with another sequence is dropped, and the right one behind it is taken', async () => {
  const dropped: string[] = [];
  const twice: Answering = (asked) => [
    signedAnswer(TERMINAL, asked, { sequence: 12345 }),
    signedAnswer(TERMINAL, asked),
  ];
  await meet(twice, { onRefused: ({ reason }) => dropped.push(reason) });
  expect(await client.heartbeat()).toMatchObject({ kind: 'signed' });
  expect(dropped).toEqual(['not-asked']);
});

test('silence is an error in time', async () => {
  await meet(() => undefined);
  // Of answers only: how long connecting takes is the machine's affair.
  options.timeout = 60;
  await expect(client.login(WISHES)).rejects.toThrow('no answer within 0.06 s');
});

test('what is no frame closes the connection and fails what is asked', async () => {
  await meet(() => [Buffer.alloc(40, 0xff)]);
  await expect(client.login(WISHES)).rejects.toThrow(/no frame: offset 8.*version/);
  await expect(client.heartbeat()).rejects.toThrow(ConnectionError);
});

test('a closed connection fails what is asked', async () => {
  await meet((_, socket) => void socket.end());
  await expect(client.login(WISHES)).rejects.toThrow(/closed by the gateway/);
});

test('a notice in one packet with the login finds the session that it belongs to, and is acknowledged', async () => {
  const notice = downlink(TERMINAL, COMMAND.CREDENTIAL_NOTICE, [[TAG.CHANGE_TARGETS, u8(5)]]);
  const targets: number[] = [];
  const behaved = wellBehaved(TERMINAL);
  await meet(
    (asked, socket, n) =>
      isLogin(asked) ? [...behaved(asked, socket, n)!, notice] : behaved(asked, socket, n),
    { onNotice: (heard) => targets.push(heard.targets) },
  );
  await client.login(WISHES);
  await client.heartbeat();
  expect(targets).toEqual([5]);
  const replies = gateway.heard.filter(({ command }) => command === (COMMAND.CREDENTIAL_NOTICE | RESPONSE));
  expect(replies.map(({ sequence, result }) => [sequence, result])).toEqual([[77, 0]]);
});

test('only a DISCONNECT signed within the session ends it', async () => {
  const reasons: string[] = [];
  const listener = {
    onDisconnect: ({ reason }: { reason: string }) => reasons.push(reason),
    onRefused: ({ reason }: { reason: string }) => reasons.push(reason),
  };
  const behaved = wellBehaved(TERMINAL);
  await meet((...all) => behaved(...all), listener);
  await client.login(WISHES);
  const socket = gateway.sockets[0]!;
  socket.write(disconnect(TERMINAL, 2, undefined, { suite: 0 }));
  await client.heartbeat();
  expect(client.session).toBeDefined();
  socket.write(disconnect(TERMINAL, 2));
  await client.heartbeat();
  expect(client.session).toBeUndefined();
  expect(reasons).toEqual(['signature-missing', 'suspended']);
});

test('a session keeps the suite of its login', async () => {
  await meet(wellBehaved(TERMINAL));
  await client.login(WISHES);
  flash.update((state) => ({ ...state, suite: 1 }));
  expect(await client.heartbeat()).toMatchObject({ result: 'OK' });
  expect(gateway.heard.map(({ suite }) => suite)).toEqual([2, 2]);
});
