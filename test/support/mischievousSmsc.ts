/**
 * An SMSC that takes texts and does everything wrong that one may do, by a seed: it answers late, twice, not at all, or
 * hangs up; tells receipts before answers, more than once, and in another notation; and delivers once more what is
 * not answered well. It knows what it has told about whom.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { DELIVER_SM, deliverBody, ENQUIRE_LINK, rawPdu, RESPONSE, SUBMIT_SM } from './rawSmsc';

const BIND_TRANSCEIVER = 9;
const UNBIND = 6;
const AGAIN_MS = 300;
const MOST_TOLD = 40;

interface Told {
  readonly phone: string;
  readonly body: string;
  readonly delivered: boolean;
  /** Times that it is to be told yet. */
  times: number;
}

export class MischievousSmsc {
  /** Texts taken from the gateway. */
  readonly taken = new Map<string, number>();
  /** Phones that a receipt of delivery was told about. */
  readonly delivered = new Set<string>();
  /** Off: as good as gold. */
  mischief = true;
  private readonly sessions = new Set<Socket>();
  private receipts: Told[] = [];
  private readonly waiting = new Map<number, Told>();
  private sequence = 0;
  private id = 0x9ab0;
  private readonly telling = setInterval(() => this.tell(), AGAIN_MS);

  private constructor(
    private readonly server: Server,
    private readonly random: () => number,
  ) {
    server.on('connection', (socket) => this.accept(socket));
  }

  static async start(random: () => number): Promise<MischievousSmsc> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new MischievousSmsc(server, random);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Receipts that were not answered well yet. */
  get untold(): number {
    return this.receipts.length;
  }

  async stop(): Promise<void> {
    clearInterval(this.telling);
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sessions) socket.destroy();
    await closed;
  }

  private accept(socket: Socket): void {
    let held = Buffer.alloc(0);
    socket.on('error', () => undefined).on('close', () => this.sessions.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 16 && held.length >= held.readUInt32BE(0)) {
        const pdu = held.subarray(0, held.readUInt32BE(0));
        held = held.subarray(pdu.length);
        this.hear(socket, pdu);
      }
    });
  }

  private hear(socket: Socket, pdu: Buffer): void {
    const [command, status, sequence] = [4, 8, 12].map((at) => pdu.readUInt32BE(at)) as [
      number,
      number,
      number,
    ];
    if (command === BIND_TRANSCEIVER) this.sessions.add(socket);
    if (command === BIND_TRANSCEIVER || command === ENQUIRE_LINK || command === UNBIND) {
      socket.write(rawPdu(command + RESPONSE, sequence, command === BIND_TRANSCEIVER ? 'smsc\0' : ''));
    }
    if (command === SUBMIT_SM) this.take(socket, sequence, pdu.toString('latin1', 16).split('\0'));
    if (command === DELIVER_SM + RESPONSE && status === 0) this.heard(sequence);
  }

  /** One of these for each text. */
  private take(socket: Socket, sequence: number, fields: string[]): void {
    const phone = fields.map((one) => /(\d{8,})$/.exec(one)?.[1]).find((one) => one !== undefined)!;
    const turn = this.mischief ? this.random() : 1;
    const answer = (body: string, status = 0, to = sequence) =>
      socket.write(rawPdu(SUBMIT_SM + RESPONSE, to, body, status));
    if (turn < 0.1) return void answer('', 0x58);
    if (turn < 0.15) return void answer('', 0x0b);
    if (turn < 0.2) return void socket.destroy();
    this.taken.set(phone, (this.taken.get(phone) ?? 0) + 1);
    const id = (this.id += 1 + Math.floor(this.random() * 100));
    const hex = `${id.toString(16)}\0`;
    const receipt = this.receiptOf(phone, id);
    if (turn < 0.3) return this.tellFirst(socket, receipt, () => answer(hex));
    this.receipts.push(receipt);
    if (turn < 0.4) return;
    if (turn < 0.45) return void socket.destroy();
    if (turn < 0.5) answer(`f${hex}`, 0, sequence + 7_777);
    answer(hex);
    if (turn < 0.6) answer(hex);
    if (turn >= 0.6 && turn < 0.65) socket.destroy();
  }

  private receiptOf(phone: string, id: number): Told {
    const delivered = !this.mischief || this.random() < 0.6;
    const text = `id:${String(id).padStart(10, '0')} stat:${delivered ? 'DELIVRD' : 'UNDELIV'} err:000`;
    return {
      phone,
      body: deliverBody({ source: phone, text }),
      delivered,
      times: this.random() < 0.3 ? 3 : 1,
    };
  }

  private tellFirst(socket: Socket, receipt: Told, answer: () => void): void {
    this.receipts.push(receipt);
    this.deliver(socket, receipt);
    setTimeout(answer, this.random() * 1_000);
  }

  private tell(): void {
    const socket = [...this.sessions][Math.floor(this.random() * this.sessions.size)];
    if (socket === undefined) return;
    for (const receipt of this.receipts.slice(0, MOST_TOLD)) this.deliver(socket, receipt);
  }

  private deliver(socket: Socket, receipt: Told): void {
    if (receipt.delivered) this.delivered.add(receipt.phone);
    this.sequence += 1;
    this.waiting.set(this.sequence, receipt);
    socket.write(rawPdu(DELIVER_SM, this.sequence, receipt.body));
  }

  private heard(sequence: number): void {
    const receipt = this.waiting.get(sequence);
    this.waiting.delete(sequence);
    if (receipt === undefined) return;
    receipt.times -= 1;
    if (receipt.times <= 0) this.receipts = this.receipts.filter((one) => one !== receipt);
  }
}
