/** A gateway of a few lines for the device side's tests: it answers as told, right or wrong, by the oracle alone. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import * as oracle from './oracle';
import {
  COMMAND,
  RESPONSE,
  RESULT,
  Splitter,
  SUITE,
  TAG,
  u16,
  u32,
  u8,
  type Parsed,
  type Terminal,
  type Tlv,
} from './oracle';
import { WmmpSplitter, type ParsedWmmp } from './wmmpOracle';

export const SESSION_ID = Buffer.from('13ddb37c3eac2743', 'hex');

/** What to send for a request, frame by frame; nothing: silence. */
export type Answering<Frame = Parsed> = (
  asked: Frame,
  socket: Socket,
  connection: number,
) => Buffer[] | undefined;

interface AnySplitter<Frame> {
  push(chunk: Buffer): Frame[];
}

export class FakeGateway<Frame extends { readonly command: number } = Parsed> {
  readonly heard: Frame[] = [];
  readonly sockets: Socket[] = [];
  private constructor(private readonly server: Server) {}

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  static start(answering: Answering): Promise<FakeGateway> {
    return FakeGateway.serve(answering, () => new Splitter());
  }

  static startWmmp(answering: Answering<ParsedWmmp>): Promise<FakeGateway<ParsedWmmp>> {
    return FakeGateway.serve(answering, () => new WmmpSplitter());
  }

  private static async serve<Frame extends { readonly command: number }>(
    answering: Answering<Frame>,
    newSplitter: () => AnySplitter<Frame>,
  ): Promise<FakeGateway<Frame>> {
    const server = createServer();
    const gateway = new FakeGateway<Frame>(server);
    server.on('connection', (socket) => {
      const connection = gateway.sockets.push(socket);
      const splitter = newSplitter();
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        for (const asked of splitter.push(chunk)) {
          gateway.heard.push(asked);
          if (asked.command & RESPONSE) continue;
          const frames = answering(asked, socket, connection) ?? [];
          if (frames.length > 0) socket.write(Buffer.concat(frames));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export interface Twist {
  readonly result?: number;
  readonly suite?: number;
  readonly sequence?: number;
  readonly serial?: string;
  readonly command?: number;
  readonly password?: Buffer;
  readonly at?: number;
  readonly requestDigest?: Buffer;
  readonly tlvs?: readonly Tlv[];
}

/** A signed answer as a right gateway makes it, but for the twist. */
export function signedAnswer(terminal: Terminal, asked: Parsed, twist: Twist = {}): Buffer {
  const timestamp = twist.at ?? oracle.now();
  const { imei, imsi } = oracle.identityOf(asked, terminal);
  const head: Tlv[] = [
    [TAG.TIMESTAMP, u32(timestamp)],
    [TAG.REQUEST_DIGEST, twist.requestDigest ?? asked.digest ?? Buffer.alloc(0)],
  ];
  return oracle.buildFrame({
    command: twist.command ?? asked.command | RESPONSE,
    serial: twist.serial ?? asked.serial,
    sequence: twist.sequence ?? asked.sequence,
    suite: twist.suite ?? asked.suite,
    result: twist.result ?? RESULT.OK,
    tlvs: [...head, ...(twist.tlvs ?? [])],
    sign: { timestamp, imei, imsi, password: twist.password ?? terminal.downlinkPassword },
  });
}

export const sessionTlvs = (heartbeat = 300): Tlv[] => [
  [TAG.SESSION_ID, SESSION_ID],
  [TAG.SESSION_TTL, u32(86400)],
  [TAG.HEARTBEAT_INTERVAL, u16(heartbeat)],
];

export const wrappedKey = (terminal: Terminal, key: Buffer): Tlv => [
  TAG.SESSION_KEY,
  oracle.wrap(terminal.baseKey, key),
];

export function unsignedAnswer(asked: Parsed, result: number, retryAfter?: number): Buffer {
  return oracle.buildFrame({
    command: asked.command | RESPONSE,
    serial: asked.serial,
    sequence: asked.sequence,
    result,
    tlvs: retryAfter === undefined ? [] : [[TAG.RETRY_AFTER, u32(retryAfter)]],
  });
}

/** A request of the gateway within the session. */
export function downlink(
  terminal: Terminal,
  command: number,
  tlvs: readonly Tlv[],
  twist: Twist = {},
): Buffer {
  const timestamp = twist.at ?? oracle.now();
  const signed: Tlv[] = [
    [TAG.TIMESTAMP, u32(timestamp)],
    [TAG.SESSION_ID, SESSION_ID],
  ];
  const suite = twist.suite ?? SUITE.HMAC;
  return oracle.buildFrame({
    command,
    serial: twist.serial ?? terminal.serial,
    sequence: twist.sequence ?? 77,
    suite,
    tlvs: [...(suite === SUITE.NONE ? [] : signed), ...tlvs],
    ...(suite !== SUITE.NONE && {
      sign: { ...terminal, timestamp, password: twist.password ?? terminal.downlinkPassword },
    }),
  });
}

export const disconnect = (terminal: Terminal, reason: number, retryAfter?: number, twist?: Twist): Buffer =>
  downlink(
    terminal,
    COMMAND.DISCONNECT,
    [
      [TAG.DISCONNECT_REASON, u8(reason)],
      ...(retryAfter === undefined ? [] : ([[TAG.RETRY_AFTER, u32(retryAfter)]] as Tlv[])),
    ],
    twist,
  );

/** Serves LOGIN (with a key where asked), HEARTBEAT and LOGOUT as it should be. */
export function wellBehaved(
  terminal: Terminal,
  heartbeat = 300,
  key = Buffer.alloc(terminal.baseKey.length, 7),
): Answering {
  return (asked) => {
    if (asked.command !== COMMAND.LOGIN) return [signedAnswer(terminal, asked)];
    const wrapped = asked.tlvs.has(TAG.SESSION_KEY_REQUEST) ? [wrappedKey(terminal, key)] : [];
    return [signedAnswer(terminal, asked, { tlvs: [...sessionTlvs(heartbeat), ...wrapped] })];
  };
}

export const TERMINAL: Terminal = {
  serial: 'T100-FAKE',
  imei: '868123000000019',
  imsi: '460001234567890',
  uplinkPassword: Buffer.from('up-secret'),
  downlinkPassword: Buffer.from('down-secret'),
  baseKey: Buffer.from('0123456789abcdef'),
};
