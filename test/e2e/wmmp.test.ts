/** Modules that speak WMMP 3.0, byte for byte as they are in the field, against the real process. */
import { randomBytes } from 'node:crypto';
import { login as login4, RESULT, SUITE, u8, type Terminal } from '../support/oracle';
import { wmmpBench } from '../support/wmmpBench';
import {
  loginAnswerOf,
  securityConfigAnswer,
  uplink,
  WMMP,
  WMMP_TAG,
  wmmpDigestIsGood,
  wmmpFrame,
  wmmpHeartbeat,
  wmmpLogin,
  wmmpLogout,
} from '../support/wmmpOracle';

const RESPONSE = 0x8000;

const bench = wmmpBench();
const { dial, dial4, provision, login, alive, sentAway, logged, status } = bench;

describe('a module that is out there', () => {
  const known: Terminal = {
    serial: 'A00MS8011390002S',
    imei: '354494040518570',
    imsi: '460020084678120',
    uplinkPassword: Buffer.from('vkwF2SJa'),
    downlinkPassword: Buffer.from('Uo3aHCbG'),
    baseKey: Buffer.alloc(0),
  };
  const bytes = {
    login:
      '003c000100000001030000004130304d533830313133393030303253313233343536373800000000e0210010d9cbd6c3f3e4b84cef34283b265cb771',
    heartbeat: '001c000300000002030000004130304d533830313133393030303253',
    logout: '001d000200000003030000004130304d53383031313339303030325301',
  };

  test('logs in, beats and leaves with exactly the bytes that it sends', async () => {
    await bench.operator.sql(`SELECT m2m.provision_terminal($1, $2, $3, $4, $5, least_login => 'wmmp3')`, [
      known.serial,
      known.imei,
      known.imsi,
      known.uplinkPassword,
      known.downlinkPassword,
    ]);
    const socket = await dial();
    const answer = await socket.ask(Buffer.from(bytes.login, 'hex'));
    const { result, timestamp } = loginAnswerOf(answer);
    expect(answer).toMatchObject({ command: 0x8001, sequence: 1, version: 0x0300, serial: known.serial });
    expect(result).toBe(0);
    const signing = { ...known, timestamp, password: known.downlinkPassword };
    expect(wmmpDigestIsGood(answer, signing)).toBe(true);
    const beat = await socket.ask(Buffer.from(bytes.heartbeat, 'hex'));
    expect(beat.bytes.toString('hex')).toBe(bytes.heartbeat.replace('001c0003', '001c8003'));
    const goodbye = await socket.ask(Buffer.from(bytes.logout, 'hex'));
    expect(goodbye.bytes.toString('hex')).toBe('001c800200000003030000004130304d533830313133393030303253');
    await socket.end();
    // Its reader takes the low byte of the length only.
    for (const { length } of socket.received) expect(length).toBeLessThan(256);
    const line = await bench.gateway.logged(
      (each) => each['event.action'] === 'terminal-login' && each['device.id'] === known.serial,
    );
    expect(line).toMatchObject({
      'm2m.version': '3.0',
      'm2m.firmware': '12345678',
      'event.outcome': 'success',
    });
    expect(await status(known)).toMatchObject({ session_id: null });
  });

  test('the same from a stack that leaves the security byte 0, in version 3.1, with TLVs of its own', async () => {
    const terminal = await provision();
    const tlvs: [number, Buffer][] = [
      [0x3006, randomBytes(7)],
      [0x8100, Buffer.alloc(0)],
      [0x3006, randomBytes(2)],
    ];
    const socket = await dial();
    const answer = await socket.ask(wmmpLogin(terminal, { version: 0x0301, security: 0, tlvs }));
    expect(answer).toMatchObject({ version: 0x0301, command: 0x8001 });
    expect(loginAnswerOf(answer).result).toBe(0);
    const metrics = await (await fetch(`${bench.gateway.ops}/metrics`)).text();
    expect(metrics).toContain('m2m_logins_total{result="ok",version="3.1"} 1');
    expect(metrics).toContain('m2m_logins_total{result="ok",version="3.0"} 1');
  });
});

describe('login', () => {
  test('with a session key', async () => {
    const terminal = await provision();
    const { sessionKey, socket } = await login(terminal, { keyProof: true });
    expect(sessionKey).toHaveLength(24);
    expect(await status(terminal)).toMatchObject({
      session_id: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
    });
    const again = await login(terminal, { keyProof: true, sequence: 9 }, socket);
    expect(again.sessionKey).not.toEqual(sessionKey);
  });

  test('whatever is wrong, the answer is the same, and it has no digest', async () => {
    const right = await provision();
    const notAllowed = await provision('md5');
    const suspended = await provision();
    await bench.operator.sql(`SELECT m2m.suspend_terminal($1, 'lost')`, [suspended.serial]);
    const keyless = await provision();
    await bench.operator.sql('SELECT m2m.drop_base_key($1)', [keyless.serial]);
    const frames = {
      'unknown serial': wmmpLogin({ ...right, serial: 'nobody' }),
      'wrong password': wmmpLogin(right, { password: Buffer.from('wrong') }),
      'other IMEI': wmmpLogin({ ...right, imei: notAllowed.imei }),
      'no digest': uplink(right, WMMP.LOGIN, undefined, Buffer.alloc(12)),
      'wrong base key': wmmpLogin(right, { keyProof: randomBytes(24) }),
      'no base key': wmmpLogin(keyless, { keyProof: true }),
      'least_login md5': wmmpLogin(notAllowed),
      suspended: wmmpLogin(suspended),
    };
    const answers = await Promise.all(
      Object.values(frames).map(async (frame) => {
        const { bytes } = await (await dial()).ask(frame);
        // The serial is the asker's own.
        return Buffer.concat([bytes.subarray(0, 12), bytes.subarray(28)]).toString('hex');
      }),
    );
    const refusal = `0021 8001 00000001 0300 00 00 02 00000000`.replaceAll(' ', '');
    expect(answers).toEqual(answers.map(() => refusal));
    await logged(notAllowed, 'terminal-login', 'below-least-login');
    await logged(suspended, 'terminal-login', 'suspended');
    await logged(right, 'terminal-login', 'wrong-base-key-digest');
  });

  test('a refusal leaves after the refusal delay', async () => {
    const terminal = await provision();
    const socket = await dial();
    const before = performance.now();
    await socket.ask(wmmpLogin(terminal, { password: Buffer.from('wrong') }));
    // M2M_REFUSAL_DELAY is 50 ms; timers may be a millisecond early.
    expect(performance.now() - before).toBeGreaterThan(48);
  });

  test('the same LOGIN again gets the same answer, until another frame has come', async () => {
    const terminal = await provision();
    const socket = await dial();
    const frame = wmmpLogin(terminal, { keyProof: true });
    const first = await socket.ask(frame);
    const { session_id: session } = await status(terminal);
    socket.send(frame, frame);
    expect((await socket.next()).bytes).toEqual(first.bytes);
    expect((await socket.next()).bytes).toEqual(first.bytes);
    expect(await status(terminal)).toMatchObject({ session_id: session });
    await alive(terminal, socket);
    const anew = await socket.ask(frame);
    expect(anew.tlvs.get(WMMP_TAG.SESSION_KEY_CIPHERTEXT)).not.toEqual(
      first.tlvs.get(WMMP_TAG.SESSION_KEY_CIPHERTEXT),
    );
    expect((await status(terminal))['session_id']).not.toBe(session);
  });

  test('more equal logins than a replay memory holds are not taken for replays', async () => {
    const terminal = await provision();
    const socket = await dial();
    for (let n = 0; n < 70; n++) {
      expect(loginAnswerOf(await socket.ask(wmmpLogin(terminal))).result).toBe(0);
      await alive(terminal, socket);
    }
  });

  test('in pieces of one byte, and glued to what follows', async () => {
    const terminal = await provision();
    const socket = await dial();
    for (const byte of wmmpLogin(terminal)) socket.send(u8(byte));
    expect(loginAnswerOf(await socket.next()).result).toBe(0);
    const other = await dial();
    other.send(
      wmmpLogin(terminal),
      wmmpHeartbeat(terminal, { sequence: 2 }),
      wmmpLogout(terminal, undefined),
    );
    expect([
      (await other.next()).command,
      (await other.next()).command,
      (await other.next()).command,
    ]).toEqual([WMMP.LOGIN | RESPONSE, WMMP.HEARTBEAT | RESPONSE, WMMP.LOGOUT | RESPONSE]);
    await other.end();
  });
});

describe('what stands behind a login', () => {
  test('CONFIG_TRAP is acknowledged, and its tags are logged', async () => {
    const terminal = await provision();
    const { socket, timestamp } = await login(terminal);
    const trap = uplink(terminal, WMMP.CONFIG_TRAP, timestamp, Buffer.alloc(0), {
      sequence: 5,
      tlvs: [
        [0x3006, randomBytes(4)],
        [0x3007, randomBytes(1)],
      ],
    });
    const answer = await socket.ask(trap);
    expect(answer).toMatchObject({ command: WMMP.CONFIG_TRAP | RESPONSE, sequence: 5, fixed: u8(0) });
    expect(answer.digest).toBeUndefined();
    await logged(terminal, 'config-trap', 'tags: 0x3006 0x3007');
  });

  test.each([0x04, 0x05, 0x06, 0x0a, 0x0b, 0x0c, 0x0d, 0x0f])(
    '0x%s is not served, and told so',
    async (command) => {
      const terminal = await provision();
      const { socket, timestamp } = await login(terminal);
      const bare = await socket.ask(uplink(terminal, command, undefined, randomBytes(9)));
      expect(bare).toMatchObject({ command: command | RESPONSE, length: 29 });
      expect(bare.bytes[28]).toBe(1);
      const withDigest = await socket.ask(uplink(terminal, command, timestamp, randomBytes(3)));
      expect(withDigest.bytes[28]).toBe(1);
      await alive(terminal, socket);
      await bench.gateway.logged(
        (line) => line['m2m.detail'] === 'not-served' && line['device.id'] === terminal.serial,
      );
    },
  );

  test('LOGOUT closes; with reason 9 the connection stands for the next login', async () => {
    const terminal = await provision();
    const { socket, timestamp } = await login(terminal);
    const frame = wmmpLogout(terminal, timestamp, { reason: 9, sequence: 3 });
    expect(await socket.ask(frame)).toMatchObject({
      command: WMMP.LOGOUT | RESPONSE,
      length: 28,
      sequence: 3,
    });
    expect(await status(terminal)).toMatchObject({ session_id: null });
    // Its answer may have come late: the same again.
    expect(await socket.ask(frame)).toMatchObject({
      command: WMMP.LOGOUT | RESPONSE,
      length: 28,
      sequence: 3,
    });
    await login(terminal, {}, socket);
    expect(await socket.ask(wmmpLogout(terminal, undefined))).toMatchObject({
      command: WMMP.LOGOUT | RESPONSE,
    });
    await socket.end();
  });

  test('REGISTER gets nothing, also from who has no serial', async () => {
    const socket = await dial();
    const claim = Buffer.concat([u8(1), Buffer.from('354494040518570\0'), Buffer.from('460020084678120')]);
    const frame = wmmpFrame({ command: WMMP.REGISTER, serial: Buffer.alloc(16), sequence: 4, body: claim });
    const answer = await socket.ask(frame);
    expect(answer).toMatchObject({ command: WMMP.REGISTER | RESPONSE, sequence: 4 });
    expect(answer.fixed).toEqual(Buffer.concat([u8(2), Buffer.alloc(16)]));
    const line = await bench.gateway.logged((each) => each['m2m.command'] === 'REGISTER');
    // Masked, unless the operator wants them whole.
    expect(line).toMatchObject({ 'm2m.version': '3.0', 'm2m.detail': 'register' });
    expect(line['m2m.imei']).not.toBe('354494040518570');
  });
});

describe('closed without an answer', () => {
  const flaws: Record<string, (terminal: Terminal, timestamp: number) => Buffer> = {
    'CONFIG_TRAP without a digest': (t) => uplink(t, WMMP.CONFIG_TRAP, undefined, Buffer.alloc(0)),
    'CONFIG_TRAP under another timestamp': (t, time) =>
      uplink(t, WMMP.CONFIG_TRAP, time + 1, Buffer.alloc(0)),
    'CONFIG_TRAP under the downlink password': (t, time) =>
      uplink(t, WMMP.CONFIG_TRAP, time, Buffer.alloc(0), { password: t.downlinkPassword }),
    'LOGOUT with a wrong digest': (t, time) => wmmpLogout(t, time + 1),
    'an answer to SECURITY_CONFIG with a wrong digest': (t, time) => securityConfigAnswer(t, time + 1, 1),
    'an unknown command': (t) => wmmpFrame({ command: 0x09, serial: t.serial }),
    'an answer to nothing of ours': (t) =>
      wmmpFrame({ command: WMMP.HEARTBEAT | RESPONSE, serial: t.serial }),
    'another serial': (t) => wmmpHeartbeat({ ...t, serial: 'somebody-else' }),
    'a serial that is none': (t) => wmmpHeartbeat({ ...t, serial: 'no serial' }),
    'LOGIN cut off in its fixed fields': (t) =>
      wmmpFrame({ command: WMMP.LOGIN, serial: t.serial, body: randomBytes(11) }),
    'a TLV past the end': (t) =>
      wmmpFrame({ command: WMMP.CONFIG_TRAP, serial: t.serial, body: Buffer.from('3006000a00', 'hex') }),
    'an impossible length': (t) => wmmpFrame({ command: WMMP.HEARTBEAT, serial: t.serial, length: 27 }),
    'version 4.0 in the middle': (t) => login4(t, { suite: SUITE.MD5, sequence: 1 }),
  };

  test.each(Object.keys(flaws))('%s', async (name) => {
    const terminal = await provision();
    const { socket, timestamp } = await login(terminal);
    socket.send(flaws[name]!(terminal, timestamp));
    await sentAway(socket);
  });

  test('another terminal behind a LOGOUT with reason 9', async () => {
    const [terminal, other] = [await provision(), await provision()];
    const { socket, timestamp } = await login(terminal);
    await socket.ask(wmmpLogout(terminal, timestamp, { reason: 9, sequence: 3 }));
    socket.send(wmmpLogin(other));
    await sentAway(socket);
  });

  test('anything but LOGIN and REGISTER before login', async () => {
    const terminal = await provision();
    for (const frame of [
      wmmpHeartbeat(terminal),
      wmmpLogout(terminal, undefined),
      wmmpFrame({ command: 4, serial: terminal.serial }),
    ]) {
      const socket = await dial();
      socket.send(frame);
      await sentAway(socket);
    }
  });

  test('WMMP on a connection that has logged in with version 4.0', async () => {
    const terminal = await provision('md5');
    const socket = await dial4();
    expect(await socket.ask(login4(terminal, { suite: SUITE.MD5, sequence: 1 }))).toMatchObject({
      result: RESULT.OK,
    });
    expect(await socket.ask(wmmpHeartbeat(terminal))).toMatchObject({
      result: RESULT.MALFORMED,
      version: 0x0400,
    });
    await socket.end();
  });
});

test('nothing of a secret is in the log', () => {
  const text = JSON.stringify(bench.gateway.log);
  for (const secret of ['vkwF2SJa', 'Uo3aHCbG', 'd9cbd6c3f3e4b84c']) expect(text).not.toContain(secret);
});
