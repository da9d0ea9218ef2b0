/** One connection to an SMSC: requests find their answers, and whatever goes wrong ends it. */
import { connect, type Socket } from 'node:net';
import { PDU } from 'smpp';
import { PduFramer, type Pdu } from './smppPdu';

type Fields = Readonly<Record<string, unknown>>;

const LAST_SEQUENCE = 0x7fff_ffff;
/** Octets for a peer that does not read. */
const MOST_UNREAD = 1 << 20;

export interface SessionEvents {
  readonly onConnect: () => void;
  readonly onRequest: (request: Pdu) => void;
  /** Once, and not after destroy(). */
  readonly onEnd: (why: string) => void;
}

interface Asked {
  readonly command: string;
  readonly settle: (answer?: Pdu) => void;
}

export class SmppSession {
  private readonly socket: Socket;
  private readonly framer = new PduFramer();
  private readonly asked = new Map<number, Asked>();
  private sequence = 0;
  private ended = false;

  constructor(
    host: string,
    port: number,
    private readonly events: SessionEvents,
  ) {
    this.socket = connect({ host, port, noDelay: true, keepAlive: true });
    this.socket.on('connect', events.onConnect);
    this.socket.on('data', (chunk: Buffer) => this.read(chunk));
    this.socket.on('error', (error: NodeJS.ErrnoException) => this.end(error.code ?? 'connection failed'));
    this.socket.on('close', () => this.end('connection closed'));
  }

  /** @returns undefined: no answer within so many milliseconds, or none that could come any more */
  ask(command: string, fields: Fields, timeout: number): Promise<Pdu | undefined> {
    this.sequence = (this.sequence % LAST_SEQUENCE) + 1;
    const { sequence } = this;
    return new Promise((resolve) => {
      const settle = (answer?: Pdu): void => {
        clearTimeout(timer);
        this.asked.delete(sequence);
        resolve(answer);
      };
      const timer = setTimeout(() => settle(), timeout);
      this.asked.set(sequence, { command, settle });
      if (!this.write(command, { ...fields, sequence_number: sequence })) settle();
    });
  }

  reply({ command, sequence }: Pdu, status = 0): void {
    this.write(`${command}_resp`, { command_status: status, sequence_number: sequence });
  }

  nack({ sequence }: Pdu, status: number): void {
    this.write('generic_nack', { command_status: status, sequence_number: sequence });
  }

  end(why: string): void {
    if (this.ended) return;
    this.destroy();
    this.events.onEnd(why);
  }

  destroy(): void {
    this.ended = true;
    this.socket.destroy();
    for (const { settle } of this.asked.values()) settle();
  }

  private write(command: string, fields: Fields): boolean {
    if (this.ended || !this.socket.writable) return false;
    this.socket.write(new PDU(command, fields).toBuffer());
    if (this.socket.writableLength > MOST_UNREAD) this.end('the SMSC does not read');
    return true;
  }

  private read(chunk: Buffer): void {
    const pdus = this.framer.push(chunk);
    if (pdus === undefined) return this.end('protocol error');
    for (const pdu of pdus) {
      if (this.ended) return;
      if (pdu.isResponse) this.answered(pdu);
      else this.events.onRequest(pdu);
    }
  }

  /** An answer to something else than was asked under its number is none; nor is one that comes too late. */
  private answered(pdu: Pdu): void {
    const asked = this.asked.get(pdu.sequence);
    if (asked === undefined) return;
    if (pdu.command === `${asked.command}_resp` || pdu.command === 'generic_nack') {
      asked.settle(pdu);
    }
  }
}
