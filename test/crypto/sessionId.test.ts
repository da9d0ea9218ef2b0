import fc from 'fast-check';
import { keyRing, type SealingKey } from '../../src/crypto/sealing';
import { makeSessionId, sessionOwners } from '../../src/crypto/sessionId';

const bytes = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((all) => Buffer.from(all));
const keys = (most: number) =>
  fc
    .array(bytes(32), { minLength: 1, maxLength: most })
    .map((all) => all.map((key, n): SealingKey => ({ id: String(n).padStart(8, '0'), key })));
const terminalId = fc.integer({ min: 1, max: 0xffffffff });

test('whoever holds the key finds the terminal, also after newer keys came', () => {
  fc.assert(
    fc.property(keys(3), bytes(32), terminalId, bytes(4), (ring, newer, id, random) => {
      const made = makeSessionId(keyRing(ring), id, random);
      expect(made).toHaveLength(8);
      const later = keyRing([...ring, { id: 'ffffffff', key: newer }]);
      expect(sessionOwners(later, made)).toContain(id);
    }),
  );
});

test('the same terminal under other random bytes: nothing of the id shows', () => {
  const ring = keyRing([{ id: '00000000', key: Buffer.alloc(32, 7) }]);
  const halves = Array.from({ length: 1000 }, (_, n) => {
    const random = Buffer.alloc(4);
    random.writeUInt32BE(n);
    return makeSessionId(ring, 5, random).toString('hex', 4);
  });
  expect(new Set(halves).size).toBeGreaterThan(990);
});
