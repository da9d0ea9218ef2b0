/**
 * Terminals that keep what they were told, whatever happens to gateways and database, and compare it with what the
 * database holds. What is no answer to live with (AUTH_FAILED for right credentials, NOT_LOGGED_IN in a session
 * that stands) is a fault.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Operator } from './operator';
import {
  COMMAND,
  credentialChange,
  credentialConfirm,
  downlinkFlaw,
  heartbeat,
  login,
  loginForKey,
  parse,
  RESPONSE,
  RESULT,
  sessionKey,
  TAG,
  timestampOf,
  unwrap,
  type Parsed,
  type Terminal,
} from './oracle';
import { RawTerminal } from './socket';

const UPLINK_AND_DOWNLINK = 3;

export interface Where {
  readonly host: string;
  readonly port: number;
}

/** Of all terminals of a test. */
export interface Book {
  readonly operator: Pick<Operator, 'sql'>;
  /** 0 to 1. */
  readonly random: () => number;
  readonly counts: Map<string, number>;
  readonly faults: string[];
}

export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function newBook(operator: Book['operator'], random: () => number): Book {
  return { operator, random, counts: new Map(), faults: [] };
}

export class Keeper {
  private socket: RawTerminal | undefined;
  private sequence = 0;
  /** Answered with OK; as 32 hexadecimal digits each. */
  private readonly logins: string[] = [];
  private requests: string[] = [];
  private sessionId = '';

  constructor(
    private readonly book: Book,
    private terminal: Terminal,
  ) {}

  /** A connection, a login, some requests, and a look at the database. */
  async round(gateway: () => Where): Promise<void> {
    await this.logIn(gateway);
    await this.beat();
    if (this.isIn) await this.askKey();
    if (this.isIn && this.book.random() < 0.4) await this.change();
    await this.beat();
    if (this.isIn) await this.compare();
    this.leave();
  }

  leave(): void {
    this.socket?.close();
    this.socket = undefined;
  }

  /** Until it is in. */
  async logIn(gateway: () => Where): Promise<void> {
    for (;;) {
      if (!this.isIn) {
        this.leave();
        this.socket = await RawTerminal.open(gateway());
      }
      const make = this.book.random() < 0.5 ? login : loginForKey;
      const frame = make(this.terminal, { sequence: this.next() });
      const answer = await this.ask('login', frame, [RESULT.OK, RESULT.BUSY]);
      if (answer?.result === RESULT.OK) {
        this.logins.push(entryOf(frame));
        this.requests = [];
        this.sessionId = answer.tlvs.get(TAG.SESSION_ID)!.toString('hex');
        return;
      }
      await this.pause();
    }
  }

  async beat(): Promise<void> {
    if (!this.isIn) return;
    await this.ask('heartbeat', heartbeat(this.terminal, { sequence: this.next() }), [RESULT.OK]);
  }

  /** What the database holds is what the terminal was told. */
  async compare(): Promise<void> {
    const { serial } = this.terminal;
    const [row] = await this.book.operator.sql<Record<'session', string> & Record<'taken', string[]>>(
      `SELECT encode(s.session_id, 'hex') AS session,
        array(SELECT replace(e::text, '-', '') FROM unnest(s.logins || s.requests) AS e) AS taken
       FROM m2m.session AS s JOIN m2m.terminal AS t ON t.id = s.terminal_id WHERE t.serial = $1`,
      [serial],
    );
    const taken = new Set(row!.taken);
    for (const entry of [...this.logins, ...this.requests])
      if (!taken.has(entry)) this.fault(`answered with OK, but not in the database: ${entry}`);
    if (row!.session !== this.sessionId) this.fault(`session ${row!.session} instead of ${this.sessionId}`);
    this.count('compared');
  }

  private get isIn(): boolean {
    return this.socket !== undefined && !this.socket.closed;
  }

  private async askKey(): Promise<void> {
    await this.askTillAnswered('session-key', () => sessionKey(this.terminal, { sequence: this.next() }));
  }

  /** New passwords as ciphertext, and their confirmation. */
  private async change(): Promise<void> {
    const asked = await this.askTillAnswered('change', () =>
      credentialChange(UPLINK_AND_DOWNLINK)(this.terminal, { sequence: this.next(), keyProof: true }),
    );
    if (asked === undefined) return;
    // From the confirmation on it is the new ones that hold, answered or not.
    this.terminal = withValues(this.terminal, asked);
    const id = asked.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0);
    await this.askTillAnswered('confirm', () =>
      credentialConfirm(id)(this.terminal, { sequence: this.next() }),
    );
  }

  /** @returns undefined where the connection was lost over it */
  private async askTillAnswered(name: string, make: () => Buffer): Promise<Parsed | undefined> {
    while (this.isIn) {
      const frame = make();
      const answer = await this.ask(name, frame, [RESULT.OK, RESULT.BUSY, RESULT.INTERNAL]);
      if (answer?.result === RESULT.OK) {
        this.requests.push(entryOf(frame));
        return answer;
      }
      await this.pause();
    }
    return undefined;
  }

  private async ask(name: string, frame: Buffer, fine: readonly number[]): Promise<Parsed | undefined> {
    const answer = await this.socket!.askOnce(frame).catch(() => undefined);
    if (answer === undefined) {
      this.count(`${name}: no answer`);
      return undefined;
    }
    const isAnswer = answer.command === (parse(frame).command | RESPONSE);
    const result = Object.entries(RESULT).find(([, code]) => code === answer.result)?.[0] ?? '?';
    const told = isAnswer
      ? result
      : answer.command === COMMAND.DISCONNECT
        ? `DISCONNECT ${answer.tlvs.get(TAG.DISCONNECT_REASON)?.[0]}`
        : 'another frame';
    this.count(`${name}: ${told}`);
    if (!isAnswer || !fine.includes(answer.result)) this.fault(`${name} was answered with ${told}`);
    else if (answer.result === RESULT.OK && name !== 'confirm') this.authentic(name, answer, frame);
    if (!isAnswer) this.leave();
    return isAnswer ? answer : undefined;
  }

  private authentic(name: string, answer: Parsed, frame: Buffer): void {
    const flaw = downlinkFlaw(answer, this.terminal, frame);
    if (flaw !== undefined) this.fault(`${name} was answered with a wrong ${flaw}`);
  }

  private async pause(): Promise<void> {
    await sleep(50 + this.book.random() * 300);
  }

  private next(): number {
    return (this.sequence += 1);
  }

  private count(what: string): void {
    this.book.counts.set(what, (this.book.counts.get(what) ?? 0) + 1);
  }

  private fault(what: string): void {
    this.book.faults.push(`${new Date().toISOString()} ${this.terminal.serial}: ${what}`);
  }
}

/** How the database remembers a frame: its timestamp, and as much of its digest as a UUID holds. */
function entryOf(frame: Buffer): string {
  const parsed = parse(frame);
  return timestampOf(parsed)!.toString(16).padStart(8, '0') + parsed.digest!.toString('hex', 0, 12);
}

function withValues(terminal: Terminal, answer: Parsed): Terminal {
  const value = (tag: number) => unwrap(terminal.baseKey, answer.tlvs.get(tag)!)!;
  return {
    ...terminal,
    uplinkPassword: value(TAG.NEW_UPLINK_PASSWORD),
    downlinkPassword: value(TAG.NEW_DOWNLINK_PASSWORD),
  };
}
