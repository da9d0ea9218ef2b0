/**
 * File descriptors set aside, so that running out of them is noticed and told. Without that libuv drops connections
 * that cannot be accepted, and nobody hears of it.
 */
import { closeSync, openSync } from 'node:fs';

/** Enough for a log file, a scrape and a few connections that are told from each other before they are closed. */
const SET_ASIDE = 16;

/** How descriptors are opened and closed. `open` throws where there are none. */
export interface Files {
  open(): number;
  close(descriptor: number): void;
}

const NULL_DEVICE: Files = { open: () => openSync('/dev/null', 'r'), close: closeSync };

export class Descriptors {
  private held: number[] = [];
  private scarce = false;

  constructor(private readonly files = NULL_DEVICE) {
    this.look();
  }

  /** Whether the latest look, or a connection that could not be accepted, found none left. */
  get areScarce(): boolean {
    return this.scarce;
  }

  /** Takes what is missing from those set aside, and one more. */
  look(): void {
    try {
      while (this.held.length <= SET_ASIDE) this.held.push(this.files.open());
      this.files.close(this.held.pop()!);
      this.scarce = false;
    } catch {
      this.letGo();
    }
  }

  /** Those set aside are there for others: the next connections can be accepted, and closed. */
  letGo(): void {
    this.scarce = true;
    for (const descriptor of this.held.splice(0)) this.files.close(descriptor);
  }

  close(): void {
    for (const descriptor of this.held.splice(0)) this.files.close(descriptor);
  }
}
