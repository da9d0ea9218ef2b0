/**
 * What a terminal keeps in flash, and which of its secrets it may try: by the protocol's page alone, with nothing from
 * src/. It forgets as soon as the page lets it, so that what the gateway owes a terminal is asked for to the last bit.
 */
import type { Terminal } from '../../support/oracle';

export const NAMES = ['uplinkPassword', 'downlinkPassword', 'baseKey'] as const;
export type Name = (typeof NAMES)[number];
export type Values = Partial<Record<Name, Buffer>>;

export interface Change {
  readonly id: number;
  readonly targets: number;
  readonly values: Values;
  /** The platform may hold them as current: they came as ciphertext, or their confirmation has left. */
  readonly isLive: boolean;
}

interface Flash {
  readonly current: Terminal;
  /** Values of changes that were given up while the platform might hold them. */
  readonly spares: Readonly<Record<Name, readonly Buffer[]>>;
  readonly change: Change | undefined;
  readonly waiting: { readonly id: number; readonly targets: number } | undefined;
}

const NO_SPARES = { uplinkPassword: [], downlinkPassword: [], baseKey: [] };

export class Device {
  /** Every uplink password and base key that it ever had. */
  readonly had: Record<Name, Buffer[]> = { uplinkPassword: [], downlinkPassword: [], baseKey: [] };
  private flash: Flash;
  private sequence = 0;

  constructor(
    terminal: Terminal,
    readonly suite: number,
  ) {
    this.flash = { current: terminal, spares: NO_SPARES, change: undefined, waiting: undefined };
    this.note(terminal);
  }

  get terminal(): Terminal {
    return this.flash.current;
  }

  get change(): Change | undefined {
    return this.flash.change;
  }

  get waiting(): Flash['waiting'] {
    return this.flash.waiting;
  }

  next(): number {
    return (this.sequence += 1);
  }

  /** In the order in which they are tried. */
  candidates(name: Name): Buffer[] {
    const { current, spares, change } = this.flash;
    const live = change?.isLive ? change.values[name] : undefined;
    return distinct([live, current[name], ...spares[name]].filter((value) => value !== undefined));
  }

  /** A signed OK has come to a frame that was made with these, and is signed under this downlink password. */
  prove(proven: Values): void {
    const current = { ...this.flash.current, ...proven };
    const spares = { ...this.flash.spares };
    for (const name of NAMES) if (proven[name] !== undefined) spares[name] = [];
    const { change } = this.flash;
    const isOpen = change && NAMES.some((name) => change.values[name]?.equals(current[name]) === false);
    this.flash = { ...this.flash, current, spares, change: isOpen ? change : undefined };
  }

  await(waiting: Flash['waiting']): void {
    this.flash = { ...this.flash, waiting };
  }

  /** New values have come: no text is waited for any more. Throws where the same change has other values than before. */
  take({ id, targets, values, isLive }: Change): void {
    this.note(values);
    this.await(undefined);
    const before = this.flash.change;
    if (before?.id === id) {
      if (NAMES.some((name) => before.values[name]?.equals(values[name]!) === false))
        throw new Error(`change ${id} has other values than before`);
      this.flash = { ...this.flash, change: { ...before, isLive: before.isLive || isLive } };
      return;
    }
    this.giveUp();
    this.flash = { ...this.flash, change: { id, targets, values, isLive } };
  }

  confirming(): void {
    const { change } = this.flash;
    this.flash = { ...this.flash, change: change && { ...change, isLive: true } };
  }

  /** Nothing that the platform may hold is forgotten. */
  giveUp(): void {
    const spares = { ...this.flash.spares };
    for (const name of NAMES) spares[name] = this.candidates(name).filter((one) => !this.is(name, one));
    this.flash = { ...this.flash, spares, change: undefined };
  }

  /** Somebody brings new values to the device. */
  set(values: Values): void {
    this.note(values);
    this.giveUp();
    const spares = { ...this.flash.spares };
    for (const name of NAMES) if (values[name] !== undefined) spares[name] = [];
    const current = { ...this.flash.current, ...values };
    this.flash = { current, spares, change: undefined, waiting: undefined };
  }

  private is(name: Name, value: Buffer): boolean {
    return this.flash.current[name].equals(value);
  }

  private note(values: Values): void {
    for (const name of NAMES)
      this.had[name] = distinct([...this.had[name], ...(values[name] ? [values[name]] : [])]);
  }
}

function distinct(values: readonly Buffer[]): Buffer[] {
  return values.filter((value, i) => values.findIndex((other) => other.equals(value)) === i);
}
