/** Attacks on the gateway, as a table. A new one is a row. */
import { randomBytes } from 'node:crypto';
import { authChallenge, buildFrame, COMMAND, heartbeat, login, RESULT, SUITE } from '../../support/oracle';
import { anyAddress, type Field } from './field';

export interface Attack {
  readonly name: string;
  /** What the attacker does so many times a second. */
  readonly does: string;
  readonly perSecond: number;
  /** Called at the beginning. @returns what is done each time */
  readonly begin: (field: Field) => () => void;
}

const ONE_ADDRESS = '127.7.7.7';
const ofTen = (i: number): string => `127.6.0.${1 + (i % 10)}`;
/** Offset of the result code in an answer. */
const RESULT_AT = 11;
const WRONG = Buffer.from('not the password');
const newSerial = (): string => `X-${randomBytes(6).toString('hex')}`;
/** A header and nothing behind it. */
const leastFrame = (command: number): Buffer => buildFrame({ command, serial: newSerial() });
const longFrame = (): Buffer => buildFrame({ command: COMMAND.LOGIN, serial: newSerial(), length: 4_000 });

const row = (name: string, does: string, perSecond: number, begin: Attack['begin']): Attack => ({
  name,
  does,
  perSecond,
  begin,
});

/** What a gateway does all day, attack or not. */
export const EVERYDAY = row(
  'honest logins',
  'a login on a connection of its own, which is closed afterwards',
  100,
  (field) => () => {
    const socket = field.dial(anyAddress());
    socket.once('data', (answer: Buffer) => {
      if (answer[RESULT_AT] === RESULT.OK) field.admitted++;
      socket.resetAndDestroy();
    });
    socket.write(login(field.victim()));
  },
);

export const ATTACKS: readonly Attack[] = [
  row('slow senders', 'a byte on one of 600 connections, each of which gets one a second', 600, (field) => {
    const next = field.crowd(600, ofTen);
    return () => next().write(longFrame().subarray(0, 1));
  }),

  row('never-readers', 'a heartbeat in one of 4 sessions that never read an answer', 4_000, (field) => {
    const own = Array.from({ length: 4 }, () => ({ terminal: field.victim(), sequence: 0 }));
    const next = field.crowd(own.length, ofTen, 'never-reads');
    let n = 0;
    return () => {
      const caller = own[n++ % own.length]!;
      const socket = next();
      const make = socket.bytesWritten === 0 && socket.writableLength === 0 ? login : heartbeat;
      socket.write(make(caller.terminal, { sequence: ++caller.sequence }));
    };
  }),

  row('never-readers without a login', 'a frame on one of 20 connections that never read', 5_000, (field) => {
    const next = field.crowd(20, ofTen, 'never-reads');
    return () => next().write(leastFrame(COMMAND.HEARTBEAT));
  }),

  row(
    'half-open: FIN and stay',
    'a connection that begins a frame, sends FIN and never closes',
    200,
    (field) => {
      return () => field.dial(anyAddress(), 'never-reads').end(longFrame().subarray(0, 20));
    },
  ),

  row('half-open: vanished', 'a connection that begins a frame and is never heard of again', 200, (field) => {
    return () => field.dial(anyAddress(), 'never-reads').write(longFrame().subarray(0, 20));
  }),

  row('byte by byte', 'a byte of a frame on one of 50 connections', 5_000, (field) => {
    const next = field.crowd(50, ofTen);
    const frame = leastFrame(COMMAND.HEARTBEAT);
    const sent = new WeakMap<object, number>();
    return () => {
      const socket = next();
      const at = sent.get(socket) ?? 0;
      sent.set(socket, (at + 1) % frame.length);
      socket.write(frame.subarray(at, at + 1));
    };
  }),

  row('frames of the least length', 'a frame of 28 bytes on one of 50 connections', 5_000, (field) => {
    const next = field.crowd(50, ofTen);
    return () => next().write(leastFrame(COMMAND.HEARTBEAT));
  }),

  row(
    'thousands of frames at once',
    '64 KiB of frames on one of 20 connections without a session',
    20,
    (field) => {
      const next = field.crowd(20, ofTen);
      const many = Buffer.concat(Array.from({ length: 2_340 }, () => leastFrame(COMMAND.HEARTBEAT)));
      return () => next().write(many);
    },
  ),

  row('frames that are none', 'a connection that sends 28 bytes with a length of 1', 200, (field) => () => {
    field.dial(anyAddress()).write(buildFrame({ command: COMMAND.LOGIN, serial: newSerial(), length: 1 }));
  }),

  row('connections from one address', 'a connection that says nothing', 500, (field) => () => {
    field.dial(ONE_ADDRESS);
  }),

  row('connections from many addresses', 'a connection that says nothing', 300, (field) => () => {
    field.dial(anyAddress());
  }),

  row(
    'resets at every point of a login',
    'a connection, a login or the beginning of one, a reset',
    200,
    (field) => {
      let n = 0;
      return () => {
        const socket = field.dial(anyAddress());
        const frame = login(field.victim());
        const bytes = n % 2 === 0 ? frame : frame.subarray(0, n % frame.length);
        // A whole login is cut off while it is looked up, committed and answered.
        const after = n % 2 === 0 ? (n / 2) % 8 : 0;
        n++;
        socket.write(bytes, () => {
          if (after === 0) socket.resetAndDestroy();
          else setTimeout(() => socket.resetAndDestroy(), after);
        });
      };
    },
  ),

  row(
    'wrong logins from many addresses',
    'a connection, and a wrong digest for a serial that exists',
    200,
    (field) => () => {
      const socket = field.dial(anyAddress());
      socket.once('data', () => socket.resetAndDestroy()).write(login(field.victim(), { password: WRONG }));
    },
  ),

  row(
    'wrong logins without a timestamp',
    'a connection, and a wrong digest over a time that the frame leaves out',
    200,
    (field) => () => {
      const socket = field.dial(anyAddress());
      socket.once('data', () => socket.resetAndDestroy());
      socket.write(login(field.victim(), { password: WRONG, implicit: true }));
    },
  ),

  row('wrong logins from one address', 'a wrong digest on one of 50 connections', 2_000, (field) => {
    const next = field.crowd(50, () => ONE_ADDRESS);
    return () => next().write(login(field.victim(), { password: WRONG }));
  }),

  row('unknown serials', 'a login with a serial that nobody has, on one of 50 connections', 500, (field) => {
    const next = field.crowd(50, anyAddress);
    return () => next().write(login({ ...field.victim(), serial: newSerial() }));
  }),

  row(
    'challenges',
    'AUTH_CHALLENGE with a serial that nobody has, on one of 50 connections',
    1_000,
    (field) => {
      const next = field.crowd(50, anyAddress);
      return () => next().write(authChallenge(randomBytes(16))({ ...field.victim(), serial: newSerial() }));
    },
  ),

  row('recorded logins', 'a login that was taken before, on one of 50 connections', 500, (field) => {
    const next = field.crowd(50, anyAddress);
    const frames = Array.from({ length: 50 }, () => login(field.victim(), { suite: SUITE.MD5 }));
    let n = 0;
    return () => next().write(frames[n++ % frames.length]!);
  }),
];
