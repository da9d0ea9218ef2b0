/** A device that speaks WMMP 3.0, on a real socket, against a gateway that the oracle plays. */
import { ConnectionError } from '../../src/terminal/connection';
import { MemoryFlash } from '../../src/terminal/flash';
import { newState } from '../../src/terminal/state';
import { WmmpClient, type WmmpListener } from '../../src/terminal/wmmp/client';
import type { SecurityConfig } from '../../src/terminal/wmmp/securityConfig';
import { FakeGateway, TERMINAL as VERSION_4_TERMINAL, type Answering } from '../support/fakeGateway';
import { u32, u8, type Terminal, type Tlv } from '../support/oracle';
import {
  FOREVER,
  parseWmmp,
  sealedSessionKey,
  securityConfig,
  securityConfigAnswer,
  securityConfigPlain,
  tripleDes,
  WMMP,
  WMMP_TAG,
  wmmpAnswer,
  wmmpDigestIsGood,
  wmmpFrame,
  wmmpLoginAnswer,
  wmmpTlvs,
  type NewValues,
  type ParsedWmmp,
} from '../support/wmmpOracle';

const TERMINAL: Terminal = {
  ...VERSION_4_TERMINAL,
  uplinkPassword: Buffer.from('vkwF2SJa'),
  downlinkPassword: Buffer.from('Uo3aHCbG'),
  baseKey: Buffer.from('0123456789abcdef01234567'),
};
const KEY = Buffer.from('fedcba9876543210fedcba98');
const NEW = {
  uplinkPassword: Buffer.from('NEWuplnk'),
  downlinkPassword: Buffer.from('NEWdwnlk'),
  baseKey: Buffer.from('ABCDEFGHIJKLMNOPABCDEFGH'),
};
const AT = 1_800_000_000;
const WISHES = { sessionKey: true, software: 'test' };

let gateway: FakeGateway<ParsedWmmp>;
let client: WmmpClient;
let flash: MemoryFlash;

async function meet(
  answering: Answering<ParsedWmmp>,
  listener: WmmpListener = {},
  timeout = 60_000,
): Promise<void> {
  gateway = await FakeGateway.startWmmp(answering);
  flash = new MemoryFlash(newState({ ...TERMINAL, suite: 2 }, 0xffffffff));
  const where = { host: '127.0.0.1', port: gateway.port };
  client = await WmmpClient.connect(where, flash, { wishes: WISHES, timeout }, listener);
}

afterEach(async () => {
  await client.close();
  await gateway.stop();
});

/** Answers as it should be; a LOGIN as `terminal`'s. */
const behaved =
  (terminal: (asked: ParsedWmmp) => Terminal = () => TERMINAL): Answering<ParsedWmmp> =>
  (asked) =>
    asked.command === WMMP.LOGIN
      ? [wmmpLoginAnswer(terminal(asked), asked, { timestamp: AT, sessionKey: KEY })]
      : [wmmpAnswer(TERMINAL, asked)];

const signing = (password: Buffer, timestamp: number) => ({ ...TERMINAL, password, timestamp });

describe('login', () => {
  test('opens the session key, beats and logs out', async () => {
    await meet(behaved());
    expect(await client.login()).toMatchObject({ kind: 'session', timestamp: AT, key: KEY });
    expect(await client.heartbeat()).toEqual({ kind: 'answered' });
    expect(await client.logout()).toEqual({ kind: 'answered' });
    expect(client.session).toBeUndefined();
    const [login, heartbeat, logout] = gateway.heard;
    expect(wmmpDigestIsGood(login!, signing(TERMINAL.uplinkPassword, 0))).toBe(true);
    expect([login!.security, heartbeat!.length, logout!.fixed]).toEqual([0xe0, 28, Buffer.of(1)]);
    expect(wmmpDigestIsGood(logout!, signing(TERMINAL.uplinkPassword, AT))).toBe(true);
    expect(gateway.heard.map(({ sequence }) => sequence)).toEqual([0xffffffff, 0, 1]);
  });

  type Made = (asked: ParsedWmmp) => Buffer;
  const answered = (options: Partial<Parameters<typeof wmmpLoginAnswer>[2]>): Made => {
    return (asked) => wmmpLoginAnswer(TERMINAL, asked, { timestamp: AT, sessionKey: KEY, ...options });
  };
  const unsigned = (result: number): Made => {
    return (asked) => wmmpAnswer(TERMINAL, asked, Buffer.concat([u8(result), u32(0)]));
  };
  const withKey = (value: Buffer): Made =>
    answered({ sessionKey: undefined, tlvs: [[WMMP_TAG.SESSION_KEY_CIPHERTEXT, value]] });
  const short = tripleDes(TERMINAL.baseKey, wmmpTlvs([[WMMP_TAG.SESSION_KEY, KEY]]));
  const JUDGED: [what: string, make: Made, judged: object][] = [
    ['result 1', answered({ result: 1 }), { kind: 'session', key: KEY }],
    ['result 8', answered({ result: 8 }), { kind: 'session', key: KEY }],
    ['TLVs of its own', answered({ tlvs: [[0x3006, Buffer.alloc(6)]] }), { kind: 'session', key: KEY }],
    ['result 2', unsigned(2), { kind: 'denied', result: 2 }],
    ['result 2, signed', answered({ result: 2 }), { kind: 'denied', result: 2 }],
    ['no digest', unsigned(0), { reason: 'signature-missing' }],
    ['other password', answered({ password: Buffer.from('other') }), { reason: 'wrong-digest' }],
    ['other timestamp', (asked) => tampered(answered({})(asked), 32), { reason: 'wrong-digest' }],
    ['other serial', answered({ serial: 'T999' }), { reason: 'other-request' }],
    ['other command', answered({ command: 0x8003 }), { reason: 'other-request' }],
    ['cut fields', (asked) => wmmpAnswer(TERMINAL, asked, u8(0)), { reason: 'undecodable' }],
    ['no key', answered({ sessionKey: undefined }), { reason: 'key-missing' }],
    ['a key under another base key', withKey(sealedSessionKey(KEY, KEY)), { reason: 'key-unreadable' }],
    ['a key without expiry', withKey(short), { reason: 'key-unreadable' }],
    ['half a block', withKey(Buffer.alloc(12)), { reason: 'key-unreadable' }],
  ];
  test.each(JUDGED)('%s', async (_, make, judged) => {
    await meet((asked) => [make(asked)]);
    expect(await client.login()).toMatchObject(judged);
    expect(client.session === undefined).toBe(!('kind' in judged && judged.kind === 'session'));
  });

  test('an answer of another version ends the connection', async () => {
    await meet((asked) => [answered({ version: 0x0400 })(asked)]);
    await expect(client.login()).rejects.toThrow(/4.0: version is not served/);
  });

  function tampered(frame: Buffer, at: number): Buffer {
    frame.writeUInt8(frame.readUInt8(at) ^ 1, at);
    return frame;
  }
});

/** All but setTimeout and clearTimeout. */
const NOT_THE_CLOCK = [
  'Date',
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
] as const;

describe('a gateway that is silent', () => {
  // The clock goes on only when a frame has been heard: an answer is late by the frame, not by the machine.
  beforeEach(() => jest.useFakeTimers({ doNotFake: [...NOT_THE_CLOCK] }));
  afterEach(() => jest.useRealTimers());

  test('gets the same frame again, and its late answer is taken', async () => {
    await meet((asked) => {
      if (gateway.heard.length === 4) return behaved()(asked, gateway.sockets[0]!, 1);
      jest.advanceTimersByTime(60_000);
      return [];
    });
    expect(await client.login()).toMatchObject({ kind: 'session' });
    const [first, ...again] = gateway.heard.map(({ bytes }) => bytes.toString('hex'));
    expect(again).toEqual([first, first, first]);
  });

  test('is given up after three repetitions', async () => {
    await meet(() => {
      jest.advanceTimersByTime(60_000);
      return [];
    });
    await expect(client.login()).rejects.toThrow(/no answer within 60 s, though LOGIN was sent 4 times/);
  });

  test('no frame is repeated on a connection that is lost', async () => {
    await meet((_, socket) => void socket.destroy());
    await expect(client.login()).rejects.toThrow(ConnectionError);
    expect(gateway.heard).toHaveLength(1);
  });
});

/** Sends a SECURITY_CONFIG behind the LOGIN's answer. */
const configuring =
  (frame: Buffer, answering: Answering<ParsedWmmp> = behaved()): Answering<ParsedWmmp> =>
  (asked, socket, n) => {
    const frames = answering(asked, socket, n) ?? [];
    return asked.command === WMMP.LOGIN && gateway.heard.length === 1 ? [...frames, frame] : frames;
  };
const configOf = (plain: Buffer, options: Parameters<typeof securityConfig>[4] = {}) =>
  securityConfig(TERMINAL, AT, KEY, plain, { sequence: 77, ...options });
const goodConfig = (values: NewValues = NEW) => configOf(securityConfigPlain(values));

/** Resolves as the frames that were sent behind a login have been dealt with. */
async function meetConfig(answering: Answering<ParsedWmmp>, listener: WmmpListener = {}) {
  const told: { configs: SecurityConfig[]; refused: string[] } = { configs: [], refused: [] };
  await meet(answering, {
    ...listener,
    onConfig: (config) => told.configs.push(config),
    onRefused: ({ reason }) => told.refused.push(reason),
  });
  expect(await client.login()).toMatchObject({ kind: 'session' });
  // Its answer comes behind whatever stood behind the login.
  await client.heartbeat();
  return told;
}

describe('SECURITY_CONFIG', () => {
  test('is stored aside before it is acknowledged', async () => {
    const steps: unknown[] = [];
    const told = await meetConfig(configuring(goodConfig()), {
      onStep: (step) => steps.push([step, flash.read().aside?.baseKey, gateway.heard.length]),
    });
    expect(steps).toEqual([
      ['config-stored', NEW.baseKey, 1],
      ['config-acknowledged', NEW.baseKey, 1],
    ]);
    expect(told).toEqual({ configs: [{ kind: 'values', values: NEW }], refused: [] });
    expect(flash.read()).toMatchObject({ aside: NEW, uplinkPassword: TERMINAL.uplinkPassword });
    expect(gateway.heard[1]!.bytes).toEqual(securityConfigAnswer(TERMINAL, AT, 77));
  });

  const password: Tlv = [WMMP_TAG.UPLINK_PASSWORD, NEW.uplinkPassword];
  const expiry: Tlv = [WMMP_TAG.UPLINK_EXPIRY, u32(FOREVER)];
  const tlvs = (...some: Tlv[]) => configOf(Buffer.concat([u8(0), wmmpTlvs(some)]));
  const unencrypted = wmmpFrame({ command: 0, serial: '', body: securityConfigPlain(NEW) }).subarray(28);
  const BAD: [what: string, frame: Buffer, tags: number[]][] = [
    ['another operation', configOf(Buffer.concat([u8(1), wmmpTlvs([password, expiry])])), []],
    ['nothing new', tlvs([0x3006, Buffer.alloc(3)]), []],
    ['a password without expiry', tlvs(password), [WMMP_TAG.UPLINK_PASSWORD]],
    ['an expiry without password', tlvs(expiry), [WMMP_TAG.UPLINK_EXPIRY]],
    [
      'a password of 9 bytes',
      tlvs([WMMP_TAG.UPLINK_PASSWORD, Buffer.alloc(9, 1)], expiry),
      [WMMP_TAG.UPLINK_PASSWORD, WMMP_TAG.UPLINK_EXPIRY],
    ],
    ['a password twice', tlvs(password, expiry, password), [WMMP_TAG.UPLINK_PASSWORD]],
    [
      'a TLV that runs past the end',
      configOf(Buffer.concat([u8(0), wmmpTlvs([password, expiry]), Buffer.from('e03600ff01', 'hex')])),
      [WMMP_TAG.BASE_KEY],
    ],
    [
      'no whole blocks',
      securityConfig(TERMINAL, AT, KEY, Buffer.alloc(0), {
        body: wmmpTlvs([[WMMP_TAG.BODY_CIPHERTEXT, unencrypted.subarray(0, 63)]]),
      }),
      [WMMP_TAG.BODY_CIPHERTEXT],
    ],
    [
      'no ciphertext',
      securityConfig(TERMINAL, AT, KEY, Buffer.alloc(0), { body: unencrypted.subarray(1) }),
      [WMMP_TAG.BODY_CIPHERTEXT],
    ],
  ];
  test.each(BAD)('%s is answered with result 2 and the tags', async (_, frame, tags) => {
    const told = await meetConfig(configuring(frame));
    expect(told).toEqual({ configs: [{ kind: 'bad', tags }], refused: [] });
    const { sequence } = parseWmmp(frame);
    const right = securityConfigAnswer(TERMINAL, AT, sequence, { result: 2, tags });
    expect(gateway.heard[1]!.bytes).toEqual(right);
    expect(flash.read().aside).toBeUndefined();
  });

  const FOREIGN: [what: string, frame: Buffer, reason: string][] = [
    ['other password', configOf(securityConfigPlain(NEW), { password: KEY }), 'wrong-digest'],
    ['other timestamp', securityConfig(TERMINAL, AT + 1, KEY, securityConfigPlain(NEW)), 'wrong-digest'],
    ['no digest', wmmpFrame({ command: WMMP.SECURITY_CONFIG, serial: TERMINAL.serial }), 'signature-missing'],
  ];
  test.each(FOREIGN)('%s: dropped without an answer', async (_, frame, reason) => {
    const told = await meetConfig(configuring(frame));
    expect(told).toEqual({ configs: [], refused: [reason] });
    expect(gateway.heard.map(({ command }) => command)).toEqual([WMMP.LOGIN, WMMP.HEARTBEAT]);
    expect(flash.read().aside).toBeUndefined();
  });

  test('before the login it is dropped', async () => {
    const refused: string[] = [];
    await meet(behaved(), { onRefused: ({ reason }) => refused.push(reason) });
    // By the heartbeat's answer the gateway has the connection, and by the next one's the frame has come.
    await client.heartbeat();
    gateway.sockets[0]!.write(goodConfig());
    await client.heartbeat();
    expect(refused).toEqual(['no-session']);
  });
});

describe('swap', () => {
  const changed = { ...TERMINAL, ...NEW };
  /** The second LOGIN is the one under the new values. */
  const isSecond = (asked: ParsedWmmp) => asked.command === WMMP.LOGIN && gateway.heard[0] !== asked;

  test('ends the session, logs in with the new values, and makes them current', async () => {
    const steps: string[] = [];
    const answering = configuring(
      goodConfig(),
      behaved((asked) => (isSecond(asked) ? changed : TERMINAL)),
    );
    await meetConfig(answering, { onStep: (step) => steps.push(step) });
    expect(await client.swap()).toMatchObject({ kind: 'session', key: KEY });
    expect(steps.slice(2)).toEqual(['logout-answered', 'login-sent', 'login-answered']);
    const [logout, login] = gateway.heard.slice(-2);
    expect([logout!.command, logout!.fixed]).toEqual([WMMP.LOGOUT, Buffer.of(9)]);
    expect(wmmpDigestIsGood(logout!, signing(TERMINAL.uplinkPassword, AT))).toBe(true);
    expect(wmmpDigestIsGood(login!, signing(NEW.uplinkPassword, 0))).toBe(true);
    expect(flash.read()).toMatchObject({ ...NEW, aside: undefined });
  });

  test('what did not change stays', async () => {
    const { uplinkPassword } = NEW;
    await meetConfig(configuring(goodConfig({ uplinkPassword })));
    expect(await client.swap()).toMatchObject({ kind: 'session' });
    const { downlinkPassword, baseKey } = TERMINAL;
    expect(flash.read()).toMatchObject({ uplinkPassword, downlinkPassword, baseKey });
  });

  test('what comes right behind the answer is kept aside in its turn', async () => {
    const again = securityConfig(
      changed,
      AT,
      KEY,
      securityConfigPlain({ uplinkPassword: KEY.subarray(0, 8) }),
    );
    const answering = configuring(goodConfig(), (asked, socket, n) => {
      const frames = behaved((login) => (isSecond(login) ? changed : TERMINAL))(asked, socket, n)!;
      return isSecond(asked) ? [...frames, again] : frames;
    });
    const told = await meetConfig(answering);
    expect(await client.swap()).toMatchObject({ kind: 'session' });
    await client.heartbeat();
    expect(told.configs).toHaveLength(2);
    expect(flash.read()).toMatchObject({ ...NEW, aside: { uplinkPassword: KEY.subarray(0, 8) } });
  });

  const GOES_BACK: [what: string, answer: (asked: ParsedWmmp) => Buffer | undefined, ends: object][] = [
    [
      'refused',
      (asked) => wmmpAnswer(TERMINAL, asked, Buffer.concat([u8(2), u32(0)])),
      { kind: 'denied', result: 2 },
    ],
    [
      'answered under the old downlink password',
      (asked) => wmmpLoginAnswer(TERMINAL, asked, { timestamp: AT, sessionKey: KEY }),
      { reason: 'wrong-digest' },
    ],
    ['not answered, for the connection is lost', () => undefined, ConnectionError],
  ];
  test.each(GOES_BACK)('a login that is %s: back to the old values', async (_, answer, ends) => {
    const told = await meetConfig(
      configuring(goodConfig(), (asked, socket, n) => {
        if (!isSecond(asked)) return behaved()(asked, socket, n);
        const frame = answer(asked);
        if (frame === undefined) socket.destroy();
        return frame && [frame];
      }),
    );
    expect(told.configs).toHaveLength(1);
    if (ends === ConnectionError) await expect(client.swap()).rejects.toThrow(ConnectionError);
    else expect(await client.swap()).toMatchObject(ends);
    const { uplinkPassword, downlinkPassword, baseKey } = TERMINAL;
    expect(flash.read()).toMatchObject({ uplinkPassword, downlinkPassword, baseKey, aside: undefined });
  });

  test('after a power cut the old values log in, and those aside are given up', async () => {
    await meetConfig(configuring(goodConfig()));
    await client.login();
    expect(wmmpDigestIsGood(gateway.heard.at(-1)!, signing(TERMINAL.uplinkPassword, 0))).toBe(true);
    expect(flash.read().aside).toBeUndefined();
  });
});
