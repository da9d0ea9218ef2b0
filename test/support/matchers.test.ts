const [bytes, more] = [Buffer.from('abc'), Buffer.from('abcd')];

test('bytes are the same or not, at whatever depth and by whatever matcher', () => {
  expect({ deep: [{ bytes }] }).toMatchObject({ deep: [{ bytes: Buffer.from('abc') }] });
  expect({ deep: [{ bytes: more }] }).not.toMatchObject({ deep: [{ bytes }] });
  expect({ bytes, besides: 1 }).not.toMatchObject({ bytes: more });
  expect({ bytes: more }).not.toEqual(expect.objectContaining({ bytes }));
  expect({ bytes: more }).not.toMatchObject({ bytes: bytes.toString() });
});
