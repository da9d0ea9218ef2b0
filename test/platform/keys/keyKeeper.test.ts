import { KeyKeeper } from '../../../src/platform/keys/keyKeeper';

const key = (id: string, fill = 1) => ({ id, key: Buffer.alloc(32, fill) });
const A = key('0000000a');
const B = key('0000000b');
const keeperOf = (...sealing: ReturnType<typeof key>[]) =>
  new KeyKeeper({ sealing, packet: [key('000000ff')] });

test('at start the newest key that the database knows is used; a later one is a candidate', () => {
  const keeper = keeperOf(A, B);
  keeper.useNewestOf(new Set([A.id]));
  expect([keeper.ring().newest.id, keeper.candidate?.id]).toEqual([A.id, B.id]);
  keeper.use(B.id);
  expect([keeper.ring().newest.id, keeper.candidate]).toEqual([B.id, undefined]);
});

test('a database that knows none: the last key of the file', () => {
  const keeper = keeperOf(A, B);
  keeper.useNewestOf(new Set());
  expect([keeper.ring().newest.id, keeper.candidate]).toEqual([B.id, undefined]);
});

test('a key that is added opens at once, and seals only when it is told to', () => {
  const keeper = keeperOf(A);
  keeper.replace({ sealing: [A, B], packet: [key('000000fe')] });
  expect([keeper.ring().newest.id, keeper.candidate?.id]).toEqual([A.id, B.id]);
  expect([...keeper.ring().byId.keys()]).toEqual([A.id, B.id]);
  expect(keeper.sealingIds).toEqual([A.id, B.id]);
  expect([...keeper.packetKeys().keys()]).toEqual(['000000fe']);
});

test('it holds the keys that it was given last, and no others', () => {
  const keeper = keeperOf(A);
  const later = { sealing: [key(A.id), key(B.id)], packet: [key('000000ff')] };
  expect(keeper.holds({ sealing: [key(A.id)], packet: [key('000000ff')] })).toBe(true);
  expect([later, { ...later, sealing: [key(A.id, 2)] }].map((keys) => keeper.holds(keys))).toEqual([
    false,
    false,
  ]);
  keeper.replace(later);
  expect(keeper.holds(later)).toBe(true);
});

test.each([
  ['is gone', B],
  ['is another one under its id', key(A.id, 2)],
])('a file whose key in use %s is not taken', (_how, other) => {
  const keeper = keeperOf(A);
  expect(() => keeper.replace({ sealing: [other], packet: [] })).toThrow(/is not in the file any more/);
  expect(keeper.ring().byId.get(A.id)).toBe(A);
});
