import fc from 'fast-check';
import { LONGEST_TEXT, readCredentialText, writeCredentialText } from '../../src/crypto/credentialText';
import { terminalOf, VARIANTS, vectors, type Vector } from '../support/vectors';

type TextVector = Vector & {
  readonly text: string;
  readonly changeId: number;
  readonly newUplinkPassword: string;
  readonly newDownlinkPassword: string;
  readonly newBaseKey: string;
};

const texts = vectors.filter(({ what }) => what === 'sms') as TextVector[];

function opened(vector: TextVector) {
  const { suite, imei, imsi, downlinkPassword } = terminalOf(vector);
  return {
    context: { suite, changeId: vector.changeId, imei, imsi, downlinkPassword },
    secrets: {
      uplinkPassword: Buffer.from(vector.newUplinkPassword, 'hex'),
      downlinkPassword: Buffer.from(vector.newDownlinkPassword, 'hex'),
      baseKey: Buffer.from(vector.newBaseKey, 'hex'),
    },
  };
}

test('there are texts of both forms in every variant', () => {
  expect(texts).toHaveLength(2 * VARIANTS.length);
});

test.each(texts)('$name: written and read', (vector) => {
  const { context, secrets } = opened(vector);
  expect(writeCredentialText(secrets, context, vector.text.startsWith('M2M1'))).toBe(vector.text);
  expect(readCredentialText(vector.text, context)).toEqual(secrets);
});

const bytes = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((one) => Buffer.from(one));
const context = fc.record({
  suite: fc.constantFrom(1 as const, 2 as const),
  changeId: fc.integer({ min: 1, max: 0xffffffff }),
  imei: fc.constant('868123000000019'),
  imsi: fc.constantFrom('460001', '460001234567890'),
  downlinkPassword: fc.uint8Array({ minLength: 1, maxLength: 64 }).map((one) => Buffer.from(one)),
});
const secrets = fc.record(
  {
    uplinkPassword: bytes(16),
    downlinkPassword: bytes(16),
    baseKey: fc.oneof(bytes(16), bytes(32)),
  },
  { requiredKeys: [] },
);

test('whatever is written is read, fits one SMS, and is of the GSM alphabet', () => {
  fc.assert(
    fc.property(secrets, context, fc.boolean(), (values, under, plain) => {
      const text = writeCredentialText(values, under, plain);
      expect(text.length).toBeLessThanOrEqual(LONGEST_TEXT);
      expect(text).toMatch(/^[A-Za-z0-9 =_-]+$/);
      expect(readCredentialText(text, under)).toEqual(values);
    }),
  );
});

test('a masked text shows nothing of what it carries', () => {
  fc.assert(
    fc.property(bytes(16), context, (uplinkPassword, under) => {
      const text = writeCredentialText({ uplinkPassword }, under, false);
      expect(text).not.toContain(uplinkPassword.toString('base64url'));
    }),
  );
});

test('one character altered, another change, another device or another password: not taken', () => {
  fc.assert(
    fc.property(secrets, context, fc.nat(), fc.constantFrom(...'AbZ09_- ='), (values, under, at, letter) => {
      const text = writeCredentialText(values, under, false);
      const position = at % text.length;
      if (text[position] !== letter) {
        const altered = text.slice(0, position) + letter + text.slice(position + 1);
        expect(typeof readCredentialText(altered, under)).toBe('string');
      }
      expect(readCredentialText(text, { ...under, changeId: (under.changeId % 0xffffffff) + 1 })).toBe(
        'other-change',
      );
      expect(readCredentialText(text, { ...under, imei: '868123000000027' })).toBe('wrong-seal');
      const other = Buffer.concat([under.downlinkPassword, Buffer.of(1)]);
      expect(readCredentialText(text, { ...under, downlinkPassword: other })).toBe('wrong-seal');
    }),
  );
});

test.each(['', 'M2M2', 'M2M3 C=1 S=AAAAAAAAAAA', 'M2M2 C=0 S=AAAAAAAAAAA', `M2M2 C=1 ${'U'.repeat(200)}`])(
  'no text of ours: %j',
  (text) => {
    const under = opened(texts[0]!).context;
    expect(readCredentialText(text, under)).toBe('not-a-text');
  },
);
