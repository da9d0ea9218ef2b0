/**
 * Logins of one thread's terminals, one at a time each: connects where no connection stands, sends, takes the answer.
 *
 * A terminal is idle or under way. begin() makes it under way, and the driver is told once when it is idle again. A
 * connection stays after the answer where the plan has standing ones and the answer leaves the terminal a use for it.
 */
import { RESPONSE_BIT } from '../../protocol/header';
import { commandRow } from '../../protocol/commands';
import { decode } from '../../protocol/decode';
import { isFault } from '../../protocol/faults';
import { readHeader } from '../../protocol/header';
import { cappedRetry, judgeAnswer } from '../answers';
import { clock } from './clock';
import { Link, type Arrived, type LinkOwner } from './link';
import { isLater, OK, SILENT, UNBELIEVED } from './outcomes';
import type { ThreadPlan } from './plan';
import { Pool } from './pool';
import { Sources } from './sources';
import { Stock, type LoginFrame } from './stock';
import { newTally, type Tally } from './tally';

/** Who decides what terminals do next. */
export interface Driver {
  /** @param from what begin() was given @param retryAfter milliseconds, with BUSY and THROTTLED */
  settled(terminal: number, outcome: number, from: number, retryAfter: number | undefined): void;
  /** A connection has gone on which nothing was asked. */
  lost?(terminal: number): void;
  /** The answer to a heartbeat. */
  beaten?(terminal: number, result: number): void;
}

const LOGIN_ANSWER = commandRow('LOGIN').code | RESPONSE_BIT;
const HEARTBEAT_ANSWER = commandRow('HEARTBEAT').code | RESPONSE_BIT;
const IDLE = -1;

export class Logins implements LinkOwner {
  readonly stock: Stock;
  readonly pool: Pool;
  driver: Driver | undefined;
  tally: Tally = newTally();
  private readonly sources: Sources | undefined;
  private readonly links: (Link | undefined)[];
  /** What the latency of the login under way counts from, and when it was begun; or IDLE. */
  private readonly from: Float64Array;
  private readonly begun: Float64Array;
  private readonly frames: (LoginFrame | undefined)[];
  private readonly progress: Int32Array;
  private answers = 0;

  constructor(readonly plan: ThreadPlan) {
    const { count } = plan.crew;
    this.stock = new Stock(plan.crew);
    this.pool = new Pool(count);
    this.sources = plan.chooseSource ? new Sources(plan.thread) : undefined;
    this.links = new Array<Link | undefined>(count).fill(undefined);
    this.frames = new Array<LoginFrame | undefined>(count).fill(undefined);
    this.from = new Float64Array(count);
    this.begun = new Float64Array(count).fill(IDLE);
    this.progress = new Int32Array(plan.progress, plan.thread * 4, 1);
  }

  get count(): number {
    return this.begun.length;
  }

  /** A terminal that may log in now; undefined: there is none. */
  idle(): number | undefined {
    for (;;) {
      const terminal = this.pool.take();
      if (terminal === undefined || this.stock.logins(terminal) < this.plan.allowed) return terminal;
    }
  }

  /** @param from what the latency counts from, on clock.ts */
  begin(terminal: number, from: number): void {
    const frame = this.stock.take(terminal);
    this.from[terminal] = from;
    this.begun[terminal] = clock();
    this.frames[terminal] = frame;
    const link = this.links[terminal];
    if (link !== undefined) link.send(frame.bytes);
    else this.links[terminal] = new Link(terminal, this.plan.target, this.sources, this);
  }

  /** @returns its sequence, or undefined where no connection stands */
  beat(terminal: number): number | undefined {
    const link = this.links[terminal];
    if (link === undefined) return undefined;
    const { bytes, sequence } = this.stock.heartbeat(terminal);
    link.send(bytes);
    return sequence;
  }

  opened(link: Link): void {
    const frame = this.frames[link.terminal];
    if (frame !== undefined) link.send(frame.bytes);
  }

  arrived(link: Link, frame: Arrived): void {
    const { terminal } = link;
    if (frame.command === HEARTBEAT_ANSWER) return this.driver?.beaten?.(terminal, frame.result);
    // A DISCONNECT: what follows is the end of the connection.
    if (frame.command !== LOGIN_ANSWER || this.begun[terminal] === IDLE) return;
    const outcome = this.judge(terminal, frame);
    const later = isLater(outcome);
    const stays = this.plan.standing && (outcome === OK || later);
    if (!stays) this.hangUp(terminal);
    this.settle(terminal, outcome, later ? retryAfter(frame.bytes) : undefined);
  }

  closed(link: Link, outcome: number): void {
    const { terminal } = link;
    this.links[terminal] = undefined;
    if (this.begun[terminal] !== IDLE) return this.settle(terminal, outcome);
    this.tally.connectionsLost++;
    this.driver?.lost?.(terminal);
  }

  /** Gives up what has been under way for too long. */
  sweep(): void {
    const eldest = clock() - this.plan.timeout;
    for (let terminal = 0; terminal < this.count; terminal++) {
      const begun = this.begun[terminal]!;
      if (begun === IDLE || begun > eldest) continue;
      this.hangUp(terminal);
      this.settle(terminal, SILENT);
    }
  }

  private hangUp(terminal: number): void {
    this.links[terminal]?.close();
    this.links[terminal] = undefined;
  }

  private settle(terminal: number, outcome: number, retryAfter?: number): void {
    this.begun[terminal] = IDLE;
    this.frames[terminal] = undefined;
    this.progress[0]!++;
    this.driver?.settled(terminal, outcome, this.from[terminal]!, retryAfter);
  }

  private judge(terminal: number, frame: Arrived): number {
    const sent = this.frames[terminal];
    if (sent === undefined || frame.sequence !== sent.sequence) return UNBELIEVED;
    const { verifyEvery } = this.plan;
    if (frame.result !== OK || verifyEvery === 0 || ++this.answers % verifyEvery !== 0) return frame.result;
    this.tally.verified++;
    const header = readHeader(frame.bytes);
    const arrival = { header, bytes: frame.bytes, elapsed: 0, at: Date.now() };
    const answer = judgeAnswer(this.stock.asked(terminal, sent), arrival);
    return answer.kind === 'signed' ? OK : UNBELIEVED;
  }
}

/** Milliseconds, or undefined where none is told. */
function retryAfter(bytes: Buffer): number | undefined {
  const message = decode(readHeader(bytes), bytes);
  return isFault(message) ? undefined : cappedRetry(message.fields.retryAfter);
}
