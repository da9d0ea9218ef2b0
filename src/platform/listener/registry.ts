/** Which connection of this gateway holds the session of which terminal. */
import type { Connection } from './connection';

export class Registry {
  private readonly byTerminal = new Map<number, Connection>();

  get size(): number {
    return this.byTerminal.size;
  }

  get(terminalId: number): Connection | undefined {
    return this.byTerminal.get(terminalId);
  }

  /** @returns the connection that held the terminal's session until now, if it is another one */
  take(terminalId: number, connection: Connection): Connection | undefined {
    const before = this.byTerminal.get(terminalId);
    this.byTerminal.set(terminalId, connection);
    return before === connection ? undefined : before;
  }

  /** Forgets the terminal, unless another connection has taken it since. */
  release(terminalId: number, connection: Connection): void {
    if (this.byTerminal.get(terminalId) === connection) this.byTerminal.delete(terminalId);
  }

  terminals(): number[] {
    return [...this.byTerminal.keys()];
  }

  connections(): IterableIterator<Connection> {
    return this.byTerminal.values();
  }
}
