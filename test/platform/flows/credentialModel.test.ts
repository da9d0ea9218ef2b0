/**
 * A terminal and a platform, both as they are in the product but for socket and database, through random sequences of
 * changes, losses, power cuts and operators. After every step: the terminal can log in with what it has; nothing that
 * was replaced and confirmed away gets anybody in; and who has read all that went over the air gets in neither.
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { decideChange, decideConfirm } from '../../../src/platform/flows/credentialChange';
import { authenticate, isAuthentic, refuseByRow } from '../../../src/platform/flows/inSession';
import { decideLogin } from '../../../src/platform/flows/login';
import { replayEntry } from '../../../src/platform/flows/replay';
import { encodeAnswer } from '../../../src/platform/flows/answer';
import {
  NO_CHANGES,
  type Answer,
  type CredentialWrite,
  type Session,
  type SessionRow,
  type TerminalRecord,
} from '../../../src/platform/model';
import { decode, type Message } from '../../../src/protocol/decode';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { isOk, type Arrival } from '../../../src/terminal/answers';
import { Client, type ChangeStep } from '../../../src/terminal/client';
import { ConnectionError, type Link } from '../../../src/terminal/connection';
import { MemoryFlash } from '../../../src/terminal/flash';
import { newState, parseState, stateText, type DeviceState } from '../../../src/terminal/state';
import { newTerminal } from '../../support/operator';

const SOURCE = '127.0.0.1';
const around = () => ({
  now: Date.now(),
  timestampWindow: 300,
  sessionTtl: 3600,
  heartbeatInterval: 60,
  plainTexts: false,
  packetKeys: () => new Map(),
  random: randomBytes,
  sessionId: () => randomBytes(8),
});

/** What is lost on the way: the request before it was committed, or the answer after. */
type Loss = 'none' | 'request' | 'answer';

class PowerCut extends Error {}

class Platform {
  record: TerminalRecord;
  row: SessionRow = { sessionId: undefined, endReason: undefined, logins: [], requests: [] };
  session: Session | undefined;
  /** The last text, as the terminal's SIM may or may not receive it. */
  text: string | undefined;
  readonly texts: string[] = [];
  /** Frames that must never be taken again. */
  readonly taken: Buffer[] = [];
  /** Uplink passwords that were replaced. */
  readonly dead: Buffer[] = [];

  constructor(device: DeviceState) {
    this.record = {
      id: 1,
      serial: device.serial,
      imei: device.imei,
      imsi: device.imsi,
      status: 'active',
      leastLogin: 'md5',
      uplinkPassword: device.uplinkPassword,
      downlinkPassword: device.downlinkPassword,
      baseKey: device.baseKey,
      changes: NO_CHANGES,
      msisdn: '+4912345678',
      packetsRevokedAt: 0,
      revision: 1,
    };
  }

  /** @returns the answer's bytes */
  handle(bytes: Buffer): Buffer {
    const header = readHeader(bytes);
    const message = decode(header, bytes);
    if (isFault(message)) throw new Error(`the terminal sent ${message.name}`);
    const answer = message.command === 'LOGIN' ? this.login(message) : this.request(message);
    if (answer.result === 'OK' || answer.result === 'WAIT_FOR_SMS') this.taken.push(bytes);
    return encodeAnswer(header, message.digest, answer, Date.now());
  }

  private login(message: Parameters<typeof decideLogin>[0]): Answer {
    const decision = decideLogin(message, { record: this.record, row: this.row }, around(), SOURCE);
    if ('refused' in decision) return decision.refused;
    const { write, session, answer } = decision.granted;
    this.row = { ...this.row, sessionId: write.sessionId, logins: [...this.row.logins, write.replayEntry] };
    this.commit(write.credentials);
    this.session = { ...session, terminal: this.record };
    return answer;
  }

  private request(message: Message): Answer {
    const { session } = this;
    if (session === undefined) return { result: 'NOT_LOGGED_IN' };
    session.terminal = this.record;
    const authentic = authenticate(message, session, around());
    if (!isAuthentic(authentic)) return authentic;
    const entry = replayEntry(authentic.timestamp, message.digest ?? Buffer.alloc(0));
    const request = { message, session, authentic, around: around(), record: this.record, entry };
    const refused = refuseByRow(request, this.row);
    if (refused) return refused;
    const decision = message.command === 'CREDENTIAL_CHANGE' ? decideChange(request) : decideConfirm(request);
    if (!('write' in decision)) return decision.answer;
    this.row = { ...this.row, requests: [...this.row.requests, decision.write.replayEntry] };
    this.commit(decision.write.credentials);
    session.signer = { ...session.signer, password: this.record.downlinkPassword };
    return decision.answer;
  }

  private commit(write: CredentialWrite | undefined): void {
    if (write === undefined) return;
    if (!write.record.uplinkPassword.equals(this.record.uplinkPassword))
      this.dead.push(this.record.uplinkPassword);
    this.record = write.record;
    if (write.text === undefined) return;
    this.text = write.text.text;
    this.texts.push(write.text.text);
  }

  setCredentials(uplinkPassword: Buffer, downlinkPassword: Buffer): void {
    this.dead.push(this.record.uplinkPassword);
    this.void();
    this.record = { ...this.record, uplinkPassword, downlinkPassword };
    this.row = { ...this.row, sessionId: undefined, endReason: 'identity-changed' };
    this.session = undefined;
  }

  void(): void {
    const changes = { ...this.record.changes, pending: undefined };
    this.record = { ...this.record, changes, revision: this.record.revision + 1 };
    this.text = undefined;
  }

  /** A copy that may be asked without consequences. */
  copy(): Platform {
    const copy = Object.create(Platform.prototype) as Platform;
    return Object.assign(copy, this, {
      texts: [...this.texts],
      taken: [],
      dead: [...this.dead],
      session: undefined,
    });
  }
}

/** A client over a wire that loses what it is told to. */
async function clientOf(
  platform: Platform,
  flash: MemoryFlash,
  loss: Loss,
  cut?: ChangeStep,
): Promise<Client> {
  let gone = false;
  const link: Link = {
    send: () => undefined,
    close: () => Promise.resolve(),
    ask: <T>(
      frame: Buffer,
      _sequence: number,
      _timeout: number,
      judge: (arrival: Arrival) => T,
    ): Promise<T> => {
      const isLogin = frame.readUInt16BE(2) === 1;
      if (gone || (loss === 'request' && !isLogin)) return Promise.reject(new ConnectionError('lost'));
      const bytes = platform.handle(frame);
      if (loss === 'answer' && !isLogin) {
        gone = true;
        return Promise.reject(new ConnectionError('lost'));
      }
      return Promise.resolve().then(() =>
        judge({ header: readHeader(bytes), bytes, elapsed: 1, at: Date.now() }),
      );
    },
  };
  const onStep = (step: ChangeStep): void => {
    if (step === cut) throw new PowerCut();
  };
  const options = { explicitTime: true, timeout: 1000 };
  return Client.over(() => Promise.resolve(link), flash, options, { onStep });
}

class World {
  flash: MemoryFlash;
  readonly platform: Platform;

  constructor(suite: 1 | 2, keySize: number) {
    const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = newTerminal(keySize);
    const state = newState({ serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey, suite }, 7);
    this.flash = new MemoryFlash(state);
    this.platform = new Platform(state);
  }

  /** Logs in and does something; what is lost or cut off is lost. */
  async visit(
    loss: Loss,
    cut: ChangeStep | undefined,
    key: boolean,
    work: (client: Client) => Promise<unknown>,
  ) {
    const client = await clientOf(this.platform, this.flash, loss, cut);
    try {
      const answer = await client.login({ sessionKey: key, identity: true, firmware: undefined });
      expect(isOk(answer)).toBe(true);
      await work(client);
    } catch (error) {
      if (!(error instanceof ConnectionError) && !(error instanceof PowerCut)) throw error;
    }
    // What a power cut leaves is what the file holds.
    this.flash = new MemoryFlash(parseState(stateText(this.flash.read())));
  }

  async mayLogIn(): Promise<void> {
    for (const sessionKey of [false, true]) {
      const flash = new MemoryFlash(this.flash.read());
      const client = await clientOf(this.platform.copy(), flash, 'none');
      const answer = await client.login({ sessionKey, identity: true, firmware: undefined });
      expect({ sessionKey, ok: isOk(answer) }).toEqual({ sessionKey, ok: true });
    }
  }

  async nobodyElseMay(): Promise<void> {
    const { platform } = this;
    const read = platform.texts.flatMap((text) =>
      [...text.matchAll(/ [UDK]=(\S+)/g)].map((found) => Buffer.from(found[1]!, 'base64url')),
    );
    const current = platform.record.uplinkPassword;
    for (const uplinkPassword of [...platform.dead, ...read].filter((one) => !one.equals(current))) {
      const state = { ...this.flash.read(), uplinkPassword, change: undefined, spares: EMPTY };
      const client = await clientOf(platform.copy(), new MemoryFlash(state), 'none');
      const answer = await client.login({ sessionKey: false, identity: true, firmware: undefined });
      expect(answer).toMatchObject({ kind: 'unsigned', result: 'AUTH_FAILED' });
    }
    for (const frame of platform.taken.slice(-20)) {
      const answer = platform.copy().handle(frame);
      expect(answer.readUInt8(11)).not.toBe(0);
    }
  }
}

const EMPTY = { uplinkPasswords: [], downlinkPasswords: [], baseKeys: [] };

type Step = (world: World) => Promise<unknown>;

const loss = fc.constantFrom<Loss>('none', 'none', 'none', 'request', 'answer');
const cut = fc.option(
  fc.constantFrom<ChangeStep>(
    'change-answered',
    'change-stored',
    'text-stored',
    'confirm-stored',
    'confirm-answered',
    'confirm-settled',
  ),
  { nil: undefined, freq: 4 },
);

const change = fc
  .record({
    targets: fc.integer({ min: 1, max: 7 }),
    delivery: fc.constantFrom(undefined, 0, 1, 2),
    confirms: fc.constantFrom(0, 0, 1, 1, 2),
    loss,
    cut,
    key: fc.boolean(),
    smsArrives: fc.boolean(),
  })
  .map((told) => {
    const step: Step = (world) =>
      world.visit(told.loss, told.cut, told.key, async (client) => {
        await client.change(told.targets, told.delivery);
        const { text } = world.platform;
        if (text !== undefined && told.smsArrives) client.takeText(text);
        for (let n = 0; n < told.confirms && world.flash.read().change; n++) await client.confirm();
      });
    return Object.assign(step, { toString: () => `change ${JSON.stringify(told)}` });
  });

const confirm = fc.record({ loss, cut, key: fc.boolean() }).map((told) => {
  const step: Step = (world) =>
    world.visit(told.loss, told.cut, told.key, async (client) => {
      if (world.flash.read().change) await client.confirm();
    });
  return Object.assign(step, { toString: () => `confirm ${JSON.stringify(told)}` });
});

const lateText = fc.constant(
  Object.assign(
    (world: World) =>
      world.visit('none', undefined, false, async (client) => {
        const { text } = world.platform;
        if (text !== undefined && client.takeText(text) === undefined) await client.confirm();
      }),
    { toString: () => 'the text arrives late' },
  ),
);

const operator = fc.constantFrom('set_credentials', 'cancel', 'no phone', 'phone').map((what) => {
  const step: Step = (world) => {
    const { platform } = world;
    if (what === 'cancel') platform.void();
    if (what === 'no phone') platform.record = { ...platform.record, msisdn: undefined };
    if (what === 'phone') platform.record = { ...platform.record, msisdn: '4912345678' };
    if (what === 'set_credentials') {
      const [uplinkPassword, downlinkPassword] = [randomBytes(8), randomBytes(8)];
      platform.setCredentials(uplinkPassword, downlinkPassword);
      // Who sets them brings them to the device as well.
      world.flash.update((state) => ({ ...state, uplinkPassword, downlinkPassword }));
    }
    return Promise.resolve();
  };
  return Object.assign(step, { toString: () => what });
});

const steps = fc.array(
  fc.oneof({ weight: 6, arbitrary: change }, { weight: 2, arbitrary: confirm }, lateText, operator),
  { minLength: 1, maxLength: 14 },
);

const RUNS = Number(process.env['M2M_MODEL_RUNS'] ?? 60);

test('whatever happens to a change, the terminal stays in and everybody else out', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<1 | 2>(1, 2),
      fc.constantFrom(16, 32),
      steps,
      async (suite, keySize, sequence) => {
        const world = new World(suite, keySize);
        for (const step of sequence) {
          await step(world);
          await world.mayLogIn();
          await world.nobodyElseMay();
        }
      },
    ),
    { numRuns: RUNS },
  );
});
