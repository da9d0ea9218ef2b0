/** What happens to modules of WMMP 3.0 from outside: operators, newer logins, and changes of their credentials. */
import { credentialChange, login as login4, RESULT, SUITE, type Terminal } from '../support/oracle';
import { wmmpBench, type LoggedIn } from '../support/wmmpBench';
import {
  loginAnswerOf,
  openedSecurityConfig,
  securityConfigAnswer,
  WMMP,
  WMMP_TAG,
  wmmpDigestIsGood,
  wmmpLogin,
  wmmpLogout,
  type NewValues,
  type ParsedWmmp,
} from '../support/wmmpOracle';

const bench = wmmpBench();
const { dial, dial4, provision, login, alive, leave, sentAway, logged, status } = bench;

describe('from outside', () => {
  test('suspended: the connection is closed, and the log says why', async () => {
    const terminal = await provision();
    const { socket } = await login(terminal);
    await bench.operator.sql(`SELECT m2m.suspend_terminal($1, 'lost')`, [terminal.serial]);
    await sentAway(socket);
    expect(await logged(terminal, 'session-ended', 'suspended')).toBeDefined();
  });

  test('a newer login of the same terminal', async () => {
    const terminal = await provision();
    const { socket } = await login(terminal);
    await login(terminal, { sequence: 2 });
    await sentAway(socket);
    expect(await logged(terminal, 'session-ended', 'superseded')).toBeDefined();
  });

  test('who may use WMMP may also come in better ways, and a view counts who is where', async () => {
    const terminal = await provision();
    await login(terminal);
    const socket = await dial4();
    expect((await socket.ask(login4(terminal, { suite: SUITE.HMAC, sequence: 1 }))).result).toBe(RESULT.OK);
    const row = { least_login: 'wmmp3', last_login: 'hmac' };
    expect(
      await bench.operator.sql('SELECT least_login, last_login FROM m2m.terminal_login WHERE serial = $1', [
        terminal.serial,
      ]),
    ).toEqual([row]);
    const counted = await bench.operator.sql('SELECT * FROM m2m.login_migration WHERE last_login = $1', [
      'hmac',
    ]);
    expect(counted).toEqual([expect.objectContaining({ ...row, terminals: '1', seen_in_7_days: '1' })]);

    // docs/wmmp.md, "Leaving it behind".
    await bench.operator.sql(
      `SELECT m2m.set_least_login(serial, 'md5') FROM m2m.terminal_login
       WHERE least_login = 'wmmp3' AND last_login IN ('md5', 'hmac', 'mutual') LIMIT 500`,
    );
    const back = await (await dial()).ask(wmmpLogin(terminal, { sequence: 5 }));
    expect(loginAnswerOf(back).result).toBe(2);
    await logged(terminal, 'terminal-login', 'below-least-login');
  });
});

describe('change of credentials', () => {
  const wish = (terminal: Terminal, ...targets: string[]) =>
    bench.operator.sql('SELECT m2m.request_credential_change($1, $2)', [terminal.serial, targets]);

  /** The gateway's SECURITY_CONFIG, checked; and the terminal as it is with the new values. */
  async function offered(terminal: Terminal, { socket, timestamp, sessionKey }: LoggedIn) {
    const frame = await socket.next();
    expect(frame).toMatchObject({ command: WMMP.SECURITY_CONFIG, security: 0xf0, version: 0x0300 });
    expect(frame.length).toBeLessThan(256);
    const signing = { ...terminal, timestamp, password: terminal.downlinkPassword };
    expect(wmmpDigestIsGood(frame, signing)).toBe(true);
    const values: NewValues = openedSecurityConfig(sessionKey!, frame);
    return { frame, values, renewed: { ...terminal, ...values } };
  }

  /** As stacks do it, up to the login under the new values. */
  async function swap(
    terminal: Terminal,
    renewed: Terminal,
    asked: ParsedWmmp,
    { socket, timestamp }: LoggedIn,
    keyProof = true,
  ) {
    socket.send(securityConfigAnswer(terminal, timestamp, asked.sequence));
    await socket.ask(wmmpLogout(terminal, timestamp, { reason: 9, sequence: 20 }));
    return login(renewed, { keyProof, sequence: 21 }, socket);
  }

  const isLetIn = async (terminal: Terminal): Promise<boolean> =>
    loginAnswerOf(await (await dial()).ask(wmmpLogin(terminal, { sequence: 90 }))).result === 0;

  test('both passwords and the base key, on a connection that stands', async () => {
    const terminal = await provision();
    const standing = await login(terminal, { keyProof: true });
    await wish(terminal, 'uplink', 'downlink', 'base_key');
    const { frame, values, renewed } = await offered(terminal, standing);
    for (const password of [values.uplinkPassword, values.downlinkPassword])
      expect(password!.toString('latin1')).toMatch(/^[A-Za-z0-9]{8}$/);
    expect(values.baseKey!.subarray(16)).toEqual(values.baseKey!.subarray(0, 8));
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: uplink, downlink, base_key' });

    const again = await swap(terminal, renewed, frame, standing);
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: uplink, downlink, base_key' });
    await alive(terminal, again.socket);
    await logged(terminal, 'credential-confirm', 'settled-by-next-frame');
    await logged(terminal, 'credential-notice', 'taken-by-the-terminal');
    expect(await status(terminal)).toMatchObject({ pending_change: null });
    expect(await isLetIn(terminal)).toBe(false);
    expect(await isLetIn(renewed)).toBe(true);
    // Nothing is left to be offered.
    const last = await login(renewed, { keyProof: true, sequence: 30 });
    await alive(renewed, last.socket);
  });

  test('a wish that was there before goes out behind the login; the downlink password takes the uplink one along', async () => {
    const terminal = await provision();
    await wish(terminal, 'downlink');
    const standing = await login(terminal, { keyProof: true });
    const { frame, values, renewed } = await offered(terminal, standing);
    expect(Object.keys(values).sort()).toEqual(['downlinkPassword', 'uplinkPassword']);
    const { socket } = await swap(terminal, renewed, frame, standing);
    await alive(terminal, socket);
    expect(await status(terminal)).toMatchObject({ pending_change: null });
  });

  test('a base key takes it along too: who has it now need not show it at once, and nobody takes it from him', async () => {
    const terminal = await provision();
    await wish(terminal, 'base_key');
    const standing = await login(terminal, { keyProof: true });
    const { frame, values, renewed } = await offered(terminal, standing);
    expect(Object.keys(values).sort()).toEqual(['baseKey', 'uplinkPassword']);
    const { socket } = await swap(terminal, renewed, frame, standing, false);
    await alive(terminal, socket);
    await bench.operator.sql('SELECT m2m.cancel_credential_change($1)', [terminal.serial]);
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: base_key' });
    await leave(terminal, socket);
    const shown = await login(renewed, { keyProof: true, sequence: 40 });
    await alive(terminal, shown.socket);
    expect(await status(terminal)).toMatchObject({ pending_change: null });
  });

  test('the answer to the login under new values is lost: the old ones stay good, the same new ones come again', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink', 'downlink', 'base_key');
    const first = await login(terminal, { keyProof: true });
    const one = await offered(terminal, first);
    await leave(terminal, (await swap(terminal, one.renewed, one.frame, first)).socket);

    const second = await login(terminal, { keyProof: true, sequence: 50 });
    const two = await offered(terminal, second);
    expect(two.values).toEqual(one.values);
    await leave(terminal, (await swap(terminal, two.renewed, two.frame, second)).socket);

    // Once more without its answer, and back again: logins under the current values began the count anew.
    const third = await login(terminal, { keyProof: true, sequence: 60 });
    const three = await offered(terminal, third);
    expect(three.values).toEqual(one.values);
  });

  test('two logins under the new values settle without a further frame', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink', 'downlink');
    const standing = await login(terminal, { keyProof: true });
    const { frame, renewed } = await offered(terminal, standing);
    await leave(terminal, (await swap(terminal, renewed, frame, standing)).socket);
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: uplink, downlink' });
    expect(await isLetIn(renewed)).toBe(true);
    expect(await status(terminal)).toMatchObject({ pending_change: null });
    expect(await isLetIn(terminal)).toBe(false);
  });

  test('what a terminal may hold already is not taken from it by an operator who cancels', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink', 'base_key');
    const standing = await login(terminal, { keyProof: true });
    const { frame, renewed } = await offered(terminal, standing);
    await leave(terminal, (await swap(terminal, renewed, frame, standing)).socket);
    await bench.operator.sql('SELECT m2m.cancel_credential_change($1)', [terminal.serial]);
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: uplink, base_key' });
    expect(await isLetIn(terminal)).toBe(true);
    // A login under the current ones, be it a replay, does not make the new ones worthless for another wish.
    await wish(terminal, 'uplink', 'downlink');
    const again = await login(terminal, { keyProof: true, sequence: 31 });
    expect((await offered(terminal, again)).values).toEqual({
      uplinkPassword: renewed.uplinkPassword,
      baseKey: renewed.baseKey,
    });
    await leave(terminal, again.socket);
    const last = await login(renewed, { keyProof: true, sequence: 32 });
    await alive(renewed, last.socket);
    // What is left of the wish comes next.
    expect(Object.keys((await offered(renewed, last)).values).sort()).toEqual([
      'downlinkPassword',
      'uplinkPassword',
    ]);
    expect(await isLetIn(terminal)).toBe(false);
  });

  test('a change that no terminal has used is void when it is cancelled', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink');
    const standing = await login(terminal, { keyProof: true });
    const { renewed } = await offered(terminal, standing);
    await bench.operator.sql('SELECT m2m.cancel_credential_change($1)', [terminal.serial]);
    expect(await status(terminal)).toMatchObject({ pending_change: null });
    expect(await isLetIn(renewed)).toBe(false);
    expect(await isLetIn(terminal)).toBe(true);
  });

  test('a retransmission of the login under new values is not the second one', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink');
    const standing = await login(terminal, { keyProof: true });
    const { frame, renewed } = await offered(terminal, standing);
    const { socket } = await swap(terminal, renewed, frame, standing);
    await socket.ask(wmmpLogin(renewed, { keyProof: true, sequence: 21 }));
    expect(await status(terminal)).toMatchObject({ pending_change: 'pending: uplink' });
    expect(await isLetIn(terminal)).toBe(true);
  });

  test('without a session key the wish waits, and the operator is told why', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink');
    const { socket } = await login(terminal);
    await alive(terminal, socket);
    await logged(terminal, 'credential-notice', 'waits-for-a-login-with-session-key');
    expect(socket.received).toHaveLength(2);
    expect(await status(terminal)).toMatchObject({
      pending_change: 'wished: uplink; waits for a login that asks for a session key',
    });
    const told = await bench.operator.sql('SELECT * FROM m2m.explain($1)', [terminal.serial]);
    expect(told).toContainEqual(
      expect.objectContaining({
        result: 'waiting',
        reason: expect.stringContaining('session key') as string,
      }),
    );
  });

  test('a terminal that refuses the values is told of, and stays as it is', async () => {
    const terminal = await provision();
    await wish(terminal, 'uplink');
    const standing = await login(terminal, { keyProof: true });
    const { frame } = await offered(terminal, standing);
    const { socket, timestamp } = standing;
    const tags = [WMMP_TAG.UPLINK_PASSWORD];
    socket.send(securityConfigAnswer(terminal, timestamp, frame.sequence, { result: 2, tags }));
    await logged(terminal, 'credential-notice', 'refused-by-the-terminal-2');
    await alive(terminal, socket);
    expect(await isLetIn(terminal)).toBe(true);
  });

  test('version 4.0 makes no new values for a terminal that may fall back to WMMP', async () => {
    const terminal = await provision();
    const socket = await dial4();
    await socket.ask(login4(terminal, { suite: SUITE.MD5, sequence: 1 }));
    const asked = credentialChange(1)(terminal, { suite: SUITE.MD5, sequence: 2 });
    expect((await socket.ask(asked)).result).toBe(RESULT.CHANGE_REFUSED);
    await logged(terminal, 'credential-change', 'least-login-is-wmmp3');
  });
});
