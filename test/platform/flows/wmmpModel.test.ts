/**
 * A WMMP 3.0 terminal as stacks are, and the gateway's rules, over random sequences of changes, lost answers, cut
 * connections and operators: after each step the terminal still gets in with what it has.
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { decideLogin, type LoginGrant } from '../../../src/platform/flows/login';
import { encodeLoginAnswer, encodeSecurityConfig } from '../../../src/platform/flows/wmmp/answer';
import { decideSecurityConfig, decideSettling } from '../../../src/platform/flows/wmmp/requests';
import type { RequestDecision } from '../../../src/platform/flows/inSession';
import {
  NO_CHANGES,
  type CredentialWrite,
  type Session,
  type TerminalRecord,
} from '../../../src/platform/model';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { decodeWmmp } from '../../../src/protocol/wmmp/decode';
import { newTerminal } from '../../support/operator';
import type { Terminal } from '../../support/oracle';
import {
  loginAnswerOf,
  openedSecurityConfig,
  openedSessionKey,
  parseWmmp,
  WMMP_TAG,
  wmmpDigestIsGood,
  wmmpLogin,
} from '../../support/wmmpOracle';

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

/** The gateway's side: the deciders, and a record in place of a database. */
class Platform {
  session: Session | undefined;
  /** Uplink passwords that were replaced. */
  readonly dead: Buffer[] = [];

  constructor(public record: TerminalRecord) {}

  judge(bytes: Buffer): LoginGrant | undefined {
    const message = decodeWmmp(readHeader(bytes), bytes);
    if (isFault(message)) throw new Error(message.name);
    const decision = decideLogin(message, { record: this.record, row: undefined }, around(), '127.0.0.1');
    return 'granted' in decision ? decision.granted : undefined;
  }

  login(bytes: Buffer): Buffer {
    const granted = this.judge(bytes);
    const header = readHeader(bytes);
    this.session = undefined;
    if (granted === undefined) return encodeLoginAnswer(header, { result: 'AUTH_FAILED' });
    this.commit(granted.write.credentials);
    this.session = { ...granted.session, terminal: this.record };
    return encodeLoginAnswer(header, granted.answer);
  }

  /** A frame that is not LOGIN. */
  frame(): void {
    const wmmp = this.session?.wmmp;
    if (wmmp === undefined || wmmp.unsettled === 0) return;
    this.decide(decideSettling);
    wmmp.unsettled = 0;
  }

  /** The SECURITY_CONFIG that it has for the terminal, committed. */
  offer(): Buffer | undefined {
    const wmmp = this.session?.wmmp;
    if (!wmmp?.sessionKey || wmmp.unsettled !== 0 || this.record.changes.wished === 0) return undefined;
    const decision = this.decide(decideSecurityConfig);
    const { pending } = this.record.changes;
    if (decision.answer.result !== 'OK' || pending === undefined) return undefined;
    return encodeSecurityConfig(this.session!, wmmp, wmmp.sessionKey, 1, pending);
  }

  /** As request_credential_change and cancel_credential_change do it. */
  wish(targets: number): void {
    this.record = { ...this.record, changes: { ...this.record.changes, wished: targets } };
  }

  cancel(): void {
    const { pending } = this.record.changes;
    const kept = pending?.shown === 'never' ? undefined : pending;
    this.record = { ...this.record, changes: { ...this.record.changes, wished: 0, pending: kept } };
  }

  private decide(decider: typeof decideSettling): RequestDecision {
    const decision = decider({ session: this.session!, around: around(), record: this.record, entry: '' });
    if ('write' in decision) this.commit(decision.write.credentials);
    this.session = { ...this.session!, terminal: this.record };
    return decision;
  }

  private commit(write: CredentialWrite | undefined): void {
    if (write === undefined) return;
    const before = this.record.uplinkPassword;
    if (!before.equals(write.record.uplinkPassword)) this.dead.push(before);
    this.record = write.record;
  }
}

interface Visit {
  readonly key: boolean;
  /** Where the connection is cut, if anywhere. */
  readonly cut: 'login-answer' | 'offer' | 'swap' | 'new-login-answer' | 'never';
  /** Whether it stays long enough for a heartbeat. */
  readonly beats: boolean;
}

/** The terminal's side, as stacks are: it goes back to the old values unless the login under the new ones is answered. */
class Stack {
  constructor(
    public values: Terminal,
    private readonly platform: Platform,
  ) {}

  visit({ key, cut, beats }: Visit): void {
    const { platform } = this;
    const answer = platform.login(wmmpLogin(this.values, { keyProof: key }));
    if (cut === 'login-answer') return;
    const sessionKey = this.read(answer, this.values, key);
    if (beats) platform.frame();
    const offered = platform.offer();
    if (offered === undefined || cut === 'offer') return;
    const renewed = { ...this.values, ...openedSecurityConfig(sessionKey!, parseWmmp(offered)) };
    if (cut === 'swap') return;
    const again = platform.login(wmmpLogin(renewed, { keyProof: true, sequence: 2 }));
    if (cut === 'new-login-answer') return;
    this.read(again, renewed, true);
    this.values = renewed;
    if (beats) platform.frame();
  }

  /** Throws where the answer is not one that the stack would take. */
  private read(bytes: Buffer, values: Terminal, key: boolean): Buffer | undefined {
    const answer = parseWmmp(bytes);
    const { result, timestamp } = loginAnswerOf(answer);
    if (result !== 0) throw new Error('locked out');
    if (!wmmpDigestIsGood(answer, { ...values, timestamp, password: values.downlinkPassword }))
      throw new Error('answered under another downlink password');
    return key
      ? openedSessionKey(values.baseKey, answer.tlvs.get(WMMP_TAG.SESSION_KEY_CIPHERTEXT)!)
      : undefined;
  }
}

type Step = { visit: Visit } | { wish: number } | 'cancel' | 'replay';

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        visit: fc.record({
          key: fc.constantFrom(true, true, false),
          cut: fc.constantFrom<Visit['cut']>(
            'login-answer',
            'offer',
            'swap',
            'new-login-answer',
            'new-login-answer',
            ...Array<Visit['cut']>(5).fill('never'),
          ),
          beats: fc.boolean(),
        }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ wish: fc.integer({ min: 1, max: 7 }) }) },
    { weight: 1, arbitrary: fc.constantFrom<Step>('cancel', 'replay') },
  ),
  { minLength: 1, maxLength: 25 },
);

function newPlatform(): { platform: Platform; stack: Stack } {
  const used = randomBytes(16);
  const terminal: Terminal = {
    ...newTerminal(),
    uplinkPassword: Buffer.from('uplink00'),
    downlinkPassword: Buffer.from('downlink'),
    baseKey: Buffer.concat([used, used.subarray(0, 8)]),
  };
  const platform = new Platform({
    ...terminal,
    id: 1,
    status: 'active',
    leastLogin: 'wmmp3',
    changes: NO_CHANGES,
    msisdn: undefined,
    packetsRevokedAt: 0,
    revision: 1,
  });
  return { platform, stack: new Stack(terminal, platform) };
}

const RUNS = Number(process.env['M2M_MODEL_RUNS'] ?? 100);
let settled = 0;

test('no terminal is ever locked out, and nobody gets in with what was replaced', () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const { platform, stack } = newPlatform();
      // What somebody on the path may have recorded; under whatever values it is good, it must not undo a change.
      const first = wmmpLogin(stack.values, { keyProof: true });
      for (const step of sequence) {
        if (step === 'cancel') platform.cancel();
        else if (step === 'replay') platform.login(first);
        else if ('wish' in step) platform.wish(step.wish);
        else stack.visit(step.visit);
        if (!platform.judge(wmmpLogin(stack.values, { keyProof: true }))) throw new Error('locked out');
        for (const password of platform.dead)
          if (platform.judge(wmmpLogin(stack.values, { password }))) throw new Error('let in');
      }
      settled += platform.dead.length;
    }),
    { numRuns: RUNS },
  );
  // The sequences did come to changes that were carried through.
  expect(settled).toBeGreaterThan(RUNS / 10);
});
