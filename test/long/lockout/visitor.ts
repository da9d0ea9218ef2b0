/** A device on bad lines: connections break at any moment, frames come twice or long after, the power fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  COMMAND,
  credentialChange,
  credentialConfirm,
  downlinkFlaw,
  heartbeat,
  login,
  logout,
  parse,
  RESPONSE,
  RESULT,
  sessionKey,
  TAG,
  unwrap,
  type Parsed,
} from '../../support/oracle';
import { RawTerminal } from '../../support/socket';
import { readText } from '../../support/texts';
import type { Device, Values } from './device';

/** The connection is gone, or the power failed; what is in flash is all that is left. */
export class Lost extends Error {}

/**
 * What becomes of a request: it does not leave; the line breaks before its answer; the answer is not heard; it is
 * heard, and the power fails right after; it is sent twice; all but its end arrives, and that much later.
 */
export const FATES = ['unsent', 'cut', 'unheard', 'dies', 'twice', 'late'] as const;
export type Fate = (typeof FATES)[number] | undefined;

const LATER: readonly number[] = [RESULT.BUSY, RESULT.THROTTLED, RESULT.INTERNAL];

export interface World {
  readonly where: () => { readonly host: string; readonly port: number };
  /** Texts that the terminal's phone has received, now and before. */
  readonly texts: (device: Device) => readonly string[];
  readonly random: () => number;
  readonly count: (what: string) => void;
}

export class Visitor {
  /** What the gateway must never do. */
  readonly faults: string[] = [];
  private socket: RawTerminal | undefined;
  /** The one that the session's requests are signed under. */
  private uplink: Buffer | undefined;
  private readonly underWay: { readonly socket: RawTerminal; readonly rest: Buffer }[] = [];

  constructor(
    private readonly world: World,
    readonly device: Device,
    private readonly address: string,
  ) {}

  get isIn(): boolean {
    return this.uplink !== undefined && this.socket?.closed === false;
  }

  leave(): void {
    this.socket?.close();
    this.forget();
  }

  /** The connection stands, for what is under way on it; the next login is on another one. */
  forget(): void {
    this.socket = this.uplink = undefined;
  }

  /** What was given up long ago. */
  arriveLate(): void {
    const late = this.underWay.shift();
    late?.socket.send(late.rest);
  }

  get hasUnderWay(): boolean {
    return this.underWay.length > 0;
  }

  /** Tries what it may try, once each. @returns the last result */
  async logIn(withKey: boolean, fate?: Fate): Promise<number> {
    const { device } = this;
    const uplinks = device.candidates('uplinkPassword');
    const keys = device.candidates('baseKey');
    for (;;) {
      const [password, keyProof] = [uplinks[0]!, keys[0]!];
      const proof = withKey ? { askKey: true, keyProof } : {};
      const asked = (sequence: number) =>
        login(device.terminal, { suite: device.suite, sequence, password, ...proof });
      const answer = await this.ask(asked, fate);
      this.world.count(`login: ${answer.result}`);
      if (answer.result === RESULT.OK) {
        this.proven(answer, { uplinkPassword: password, ...(withKey && { baseKey: keyProof }) }, fate);
        this.uplink = password;
      }
      if (answer.result === RESULT.AUTH_FAILED && uplinks.length > 1) uplinks.shift();
      else if (answer.result === RESULT.BASE_KEY_MISMATCH && keys.length > 1) keys.shift();
      else return answer.result;
    }
  }

  async change(targets: number, delivery: number | undefined, withKey: boolean, fate?: Fate): Promise<void> {
    const { device } = this;
    const keyProof = withKey ? this.pick(device.candidates('baseKey')) : undefined;
    const answer = await this.request(credentialChange(targets, delivery), keyProof, fate);
    this.world.count(`change: ${answer.result}`);
    const id = answer.tlvs.get(TAG.CHANGE_ID)?.readUInt32BE(0);
    if (answer.result === RESULT.WAIT_FOR_SMS) device.await({ id: id!, targets });
    if (answer.result !== RESULT.OK) return;
    const value = (tag: number) => {
      const wrapped = answer.tlvs.get(tag);
      return wrapped && unwrap(keyProof!, wrapped)!;
    };
    const values = {
      uplinkPassword: value(TAG.NEW_UPLINK_PASSWORD),
      downlinkPassword: value(TAG.NEW_DOWNLINK_PASSWORD),
      baseKey: value(TAG.NEW_BASE_KEY),
    };
    device.take({ id: id!, targets, values: defined(values), isLive: true });
    this.proven(answer, { uplinkPassword: this.uplink!, ...(keyProof && { baseKey: keyProof }) }, fate);
  }

  /** One of the texts that have come, early or late. */
  takeText(): void {
    const { device, world } = this;
    const text = this.pick(world.texts(device));
    const { waiting } = device;
    if (text === undefined || waiting === undefined) return;
    for (const downlinkPassword of device.candidates('downlinkPassword')) {
      const read = readable(() => readText(text, { ...device.terminal, downlinkPassword }, device.suite));
      if (read?.id !== waiting.id) continue;
      const { changed } = read;
      const values = {
        uplinkPassword: waiting.targets & 1 ? changed.uplinkPassword : undefined,
        downlinkPassword: waiting.targets & 2 ? changed.downlinkPassword : undefined,
        baseKey: waiting.targets & 4 ? changed.baseKey : undefined,
      };
      device.take({ ...waiting, values: defined(values), isLive: false });
      return world.count('text taken');
    }
  }

  /** @returns the result; undefined: there is nothing to confirm */
  async confirm(fate?: Fate): Promise<number | undefined> {
    const { device } = this;
    const { change } = device;
    if (change === undefined) return undefined;
    device.confirming();
    const { uplinkPassword = this.uplink!, downlinkPassword, baseKey } = change.values;
    const answer = await this.request(credentialConfirm(change.id), baseKey, fate, uplinkPassword);
    this.world.count(`confirm: ${answer.result}`);
    if (answer.result === RESULT.CHANGE_REFUSED) device.giveUp();
    if (answer.result !== RESULT.OK) return answer.result;
    this.uplink = uplinkPassword;
    this.proven(answer, { uplinkPassword, ...(baseKey && { baseKey }) }, fate);
    const isAnswered =
      downlinkPassword === undefined || device.terminal.downlinkPassword.equals(downlinkPassword);
    if (!isAnswered) this.faults.push('a confirmation was answered under the old downlink password');
    return answer.result;
  }

  async askKey(fate?: Fate): Promise<void> {
    const keyProof = this.pick(this.device.candidates('baseKey'))!;
    const answer = await this.request(sessionKey, keyProof, fate);
    if (answer.result === RESULT.OK)
      this.proven(answer, { uplinkPassword: this.uplink!, baseKey: keyProof }, fate);
  }

  async beat(fate?: Fate): Promise<void> {
    await this.request(heartbeat, undefined, fate);
  }

  async logOut(fate?: Fate): Promise<void> {
    await this.request(logout, undefined, fate);
    this.leave();
  }

  private request(
    asker: typeof heartbeat,
    keyProof: Buffer | undefined,
    fate: Fate,
    password = this.uplink!,
  ): Promise<Parsed> {
    const { terminal, suite } = this.device;
    const proof = keyProof === undefined ? {} : { keyProof };
    return this.ask(
      (sequence) => asker(terminal, { keyProof: false, suite, sequence, password, ...proof }),
      fate,
    );
  }

  /** What was made with these was answered with OK: they are in flash before the power can fail. */
  private proven(answer: Parsed, values: Values, fate: Fate): void {
    const { device } = this;
    const downlinkPassword = this.signedUnder.get(answer);
    const { uplinkPassword: uplink, downlinkPassword: downlink } = device.change?.values ?? {};
    const isNew = uplink !== undefined && values.uplinkPassword?.equals(uplink) === true;
    if (isNew && downlink !== undefined && downlinkPassword?.equals(downlink) === false)
      this.faults.push('one of two passwords was settled without the other');
    device.prove({ ...values, ...(downlinkPassword && { downlinkPassword }) });
    if (fate !== 'dies') return;
    this.leave();
    throw new Lost(fate);
  }

  private readonly signedUnder = new WeakMap<Parsed, Buffer>();

  private async ask(make: (sequence: number) => Buffer, fate: Fate): Promise<Parsed> {
    const socket = (this.socket ??= await this.open());
    const frame = make(this.device.next());
    try {
      const answer = await this.fare(socket, frame, fate);
      this.hold(answer, frame);
      return answer;
    } catch (error) {
      if (fate !== 'late') socket.close();
      this.forget();
      throw error instanceof Lost ? error : new Lost('closed');
    }
  }

  private async open(): Promise<RawTerminal> {
    try {
      return await RawTerminal.open(this.world.where(), this.address);
    } catch {
      throw new Lost('no connection');
    }
  }

  private async fare(socket: RawTerminal, frame: Buffer, fate: Fate): Promise<Parsed> {
    const { random } = this.world;
    if (fate === 'unsent') throw new Lost(fate);
    if (fate === 'late') {
      const end = 1 + Math.floor(random() * (frame.length - 1));
      socket.send(frame.subarray(0, end));
      this.underWay.push({ socket, rest: frame.subarray(end) });
      throw new Lost(fate);
    }
    socket.send(...(fate === 'twice' ? [frame, frame] : [frame]));
    if (fate === 'cut') {
      await sleep(random() * 12);
      throw new Lost(fate);
    }
    const answer = await answerTo(socket, frame);
    if (fate === 'unheard') throw new Lost(fate);
    return answer;
  }

  /** A signed answer is under one of the downlink passwords that the terminal may hold it to. */
  private hold(answer: Parsed, frame: Buffer): void {
    if (answer.digest === undefined) return;
    const { device } = this;
    const password = device
      .candidates('downlinkPassword')
      .find((one) => downlinkFlaw(answer, device.terminal, frame, one) === undefined);
    if (password === undefined)
      this.faults.push(`result ${answer.result} is under no downlink password of the terminal`);
    else this.signedUnder.set(answer, password);
  }

  private pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.world.random() * from.length)];
  }
}

/** Notices, and answers to what was sent twice, come between. */
async function answerTo(socket: RawTerminal, frame: Buffer): Promise<Parsed> {
  const { command, sequence } = parse(frame);
  for (;;) {
    const answer = await socket.next();
    if (answer.command === (command | RESPONSE) && answer.sequence === sequence) return answer;
    if (answer.command === COMMAND.DISCONNECT) throw new Lost('disconnected');
  }
}

/** What is only to be asked again later. */
export function isForLater(result: number): boolean {
  return LATER.includes(result);
}

function defined(values: Record<keyof Values, Buffer | undefined>): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
