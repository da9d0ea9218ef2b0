import { roomFor } from '../../../src/platform/listener/capacity';

const limits = (open: string) => `Limit                     Soft Limit           Hard Limit           Units
Max processes             95000                95000                processes
Max open files            ${open.padEnd(21)}${open.padEnd(21)}files
Max locked memory         8388608              8388608              bytes
`;

test.each([
  ['enough', 100_000, limits('1048576'), 100_000],
  ['too few', 100_000, limits('4096'), 3_696],
  ['hardly any', 100_000, limits('64'), 1],
  ['no limit', 100_000, limits('unlimited'), 100_000],
  ['no such file', 100_000, '', 100_000],
])('%s', (_, wanted, text, room) => {
  expect(roomFor(wanted, text)).toBe(room);
});
