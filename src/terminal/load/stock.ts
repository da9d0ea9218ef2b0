/** Login frames that were signed before the clock started, in one block of memory. */
import type { SignedSuite } from '../../protocol/suites';
import { loginRequest, heartbeatRequest, type Asked, type LoginWishes } from '../requests';
import type { DeviceState } from '../state';
import { benchTerminal, isWrong, withWrongPassword } from './identity';

/** Milliseconds after which a frame is signed anew: the gateway's window for timestamps is 300 s by default. */
const STALE_AFTER = 200_000;

/** The terminals of one thread, and how they log in. */
export interface Crew {
  readonly seed: string;
  readonly suite: SignedSuite;
  /** Number of the first one, and how many there are. */
  readonly first: number;
  readonly count: number;
  /** Percent of all terminals whose password is wrong. */
  readonly wrong: number;
  readonly sessionKey: boolean;
  /** Sequence of the first frame of each terminal; another one in every run, or its frames might be replays. */
  readonly sequence: number;
  /** Whether signed frames are sent again when all of them have been: no gateway takes one twice. */
  readonly again: boolean;
}

export interface LoginFrame {
  readonly bytes: Buffer;
  readonly sequence: number;
}

export class Stock {
  /** Terminals whose password is wrong. */
  readonly wrong: Uint8Array;
  /** Frames that had to be signed while the clock ran. */
  signedLate = 0;
  private readonly devices: DeviceState[];
  /** Logins of each terminal so far. */
  private readonly used: Uint32Array;
  /** Frames of each terminal so far, logins and heartbeats. */
  private readonly sequences: Uint32Array;
  private readonly wishes: LoginWishes;
  private frames = Buffer.alloc(0);
  private size = 0;
  /** Logins of each terminal that the block reaches to, and the first that it holds. */
  private from = 0;
  private until = 0;
  private signedAt = 0;

  constructor(private readonly crew: Crew) {
    const { seed, suite, first, count } = crew;
    this.wrong = Uint8Array.from({ length: count }, (_, i) => (isWrong(first + i, crew.wrong) ? 1 : 0));
    this.devices = Array.from({ length: count }, (_, i) => {
      const device = benchTerminal(seed, first + i, suite);
      return this.wrong[i] === 1 ? withWrongPassword(device) : device;
    });
    this.used = new Uint32Array(count);
    this.sequences = new Uint32Array(count);
    this.wishes = { sessionKey: crew.sessionKey, identity: true, firmware: undefined };
  }

  get count(): number {
    return this.devices.length;
  }

  logins(terminal: number): number {
    return this.used[terminal]!;
  }

  /** Signs frames for the next `rounds` logins of every terminal, in place of what was signed before. */
  fill(rounds: number): void {
    const { count } = this;
    this.from = this.used.reduce((most, used) => Math.max(most, used), 0);
    this.until = this.from + rounds;
    this.signedAt = Date.now();
    if (count === 0) return;
    this.size = this.sign(0, this.from).frame.length;
    this.frames = Buffer.allocUnsafeSlow(Math.max(1, rounds * count * this.size));
    for (let login = this.from; login < this.until; login++) {
      for (let i = 0; i < count; i++) this.sign(i, login).frame.copy(this.frames, this.at(i, login));
    }
  }

  /** The next login frame of a terminal. */
  take(terminal: number): LoginFrame {
    const login = this.turn(this.used[terminal]!++);
    const sequence = this.sequenceOf(login);
    this.sequences[terminal] = sequence;
    const signed = login >= this.from && login < this.until;
    const stale = !this.crew.again && Date.now() - this.signedAt >= STALE_AFTER;
    if (!signed || stale) {
      this.signedLate++;
      return { bytes: this.sign(terminal, login).frame, sequence };
    }
    const at = this.at(terminal, login);
    return { bytes: this.frames.subarray(at, at + this.size), sequence };
  }

  /** A HEARTBEAT above all that the terminal has sent. */
  heartbeat(terminal: number): LoginFrame {
    const sequence = (this.sequences[terminal]! + 1) >>> 0;
    this.sequences[terminal] = sequence;
    const moment = { sequence, time: Math.floor(Date.now() / 1000), explicit: true };
    return { bytes: heartbeatRequest(this.devices[terminal]!, moment).frame, sequence };
  }

  /** A login frame that was sent, with what it takes to judge its answer. */
  asked(terminal: number, { bytes, sequence }: LoginFrame): Asked {
    const device = this.devices[terminal]!;
    const { suite, sessionKey } = this.crew;
    const like = loginRequest(device, { sequence, time: 0, explicit: true }, this.wishes);
    const digest = bytes.subarray(bytes.length - like.digest.length);
    return { ...like, frame: bytes, digest, suite, owedSessionKey: sessionKey };
  }

  private turn(login: number): number {
    const { from, until } = this;
    return this.crew.again && login >= until && until > from
      ? from + ((login - from) % (until - from))
      : login;
  }

  private sign(terminal: number, login: number): Asked {
    const time = Math.floor(Date.now() / 1000);
    const moment = { sequence: this.sequenceOf(login), time, explicit: true };
    return loginRequest(this.devices[terminal]!, moment, this.wishes);
  }

  private sequenceOf(login: number): number {
    return (this.crew.sequence + login) >>> 0;
  }

  private at(terminal: number, login: number): number {
    return ((login - this.from) * this.count + terminal) * this.size;
  }
}
