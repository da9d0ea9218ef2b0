/** An SMSC that says whatever bytes it is told to: it answers binds by itself, and nothing else. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { eventually } from './eventually';

export interface RawPdu {
  readonly command: number;
  readonly status: number;
  readonly sequence: number;
  readonly body: Buffer;
}

const BIND_TRANSCEIVER = 9;
export const SUBMIT_SM = 4;
export const DELIVER_SM = 5;
export const ENQUIRE_LINK = 0x15;
export const RESPONSE = 0x8000_0000;
export const GENERIC_NACK = 0x8000_0000;

export function rawPdu(command: number, sequence: number, body: Buffer | string = '', status = 0): Buffer {
  const octets = Buffer.from(body as string, 'latin1');
  const head = Buffer.alloc(16);
  [16 + octets.length, command, status, sequence].forEach((word, i) => head.writeUInt32BE(word, i * 4));
  return Buffer.concat([head, octets]);
}

export interface RawDelivery {
  readonly esmClass?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly validity?: string;
  readonly coding?: number;
  readonly text?: string;
  /** Whole TLVs, as bytes in latin1. */
  readonly tlvs?: string;
}

/** The body of a deliver_sm by section 4.6.1 of SMPP 3.4; a receipt, where nothing else is said. */
export function deliverBody({
  esmClass = 4,
  source = '',
  destination = '',
  validity = '',
  coding = 0,
  text = '',
  tlvs = '',
}: RawDelivery): string {
  const byte = String.fromCharCode;
  const addresses = `\0\x01\x01${source}\0\x01\x01${destination}\0`;
  const flags = `${byte(esmClass)}\0\0\0${validity}\0\0\0${byte(coding)}\0`;
  return addresses + flags + byte(text.length) + text + tlvs;
}

/** A TLV with its length, right unless another is told. */
export function tlv(tag: number, value: string, length = value.length): string {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(tag, 0);
  head.writeUInt16BE(length, 2);
  return head.toString('latin1') + value;
}

export class RawSmsc {
  readonly received: RawPdu[] = [];
  binds = 0;
  /** Status of the answer to a bind. */
  bindStatus = 0;
  bindBody = 'smsc\0';
  private readonly sockets = new Set<Socket>();
  private newest: Socket | undefined;

  private constructor(private readonly server: Server) {
    server.on('connection', (socket) => this.take(socket));
  }

  static async start(): Promise<RawSmsc> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RawSmsc(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** To the newest connection. */
  send(...bytes: Buffer[]): void {
    this.newest!.write(Buffer.concat(bytes));
  }

  get socket(): Socket {
    return this.newest!;
  }

  of(command: number): RawPdu[] {
    return this.received.filter((one) => one.command === command);
  }

  /** All of a command, once there are that many. */
  got(command: number, count = 1): Promise<RawPdu[]> {
    return eventually(`${count} of 0x${command.toString(16)}`, () => {
      const found = this.of(command);
      return found.length >= count && found;
    });
  }

  /** The answer to what was sent under a number. */
  async answer(sequence: number): Promise<RawPdu> {
    return eventually(`an answer to ${sequence}`, () =>
      this.received.find((one) => one.command >= RESPONSE && one.sequence === sequence),
    );
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private take(socket: Socket): void {
    this.newest = socket;
    this.sockets.add(socket);
    let held = Buffer.alloc(0);
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 16 && held.length >= held.readUInt32BE(0)) {
        const length = held.readUInt32BE(0);
        const [command, status, sequence] = [4, 8, 12].map((at) => held.readUInt32BE(at));
        this.hear(socket, {
          command: command!,
          status: status!,
          sequence: sequence!,
          body: held.subarray(16, length),
        });
        held = held.subarray(length);
      }
    });
  }

  private hear(socket: Socket, pdu: RawPdu): void {
    this.received.push(pdu);
    if (pdu.command !== BIND_TRANSCEIVER) return;
    this.binds += 1;
    socket.write(rawPdu(BIND_TRANSCEIVER + RESPONSE, pdu.sequence, this.bindBody, this.bindStatus));
  }
}
