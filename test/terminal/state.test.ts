import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileFlash } from '../../src/terminal/flash';
import { newState, parseState, stateText } from '../../src/terminal/state';
import { TERMINAL } from '../support/fakeGateway';

const state = newState({ ...TERMINAL, suite: 2 }, 0xfffffffe);
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'flash-'))));
afterEach(() => rmSync(folder, { recursive: true }));

test('what is stored is read again', () => {
  expect(parseState(stateText(state))).toEqual(state);
  expect(parseState(stateText({ ...state, baseKey: undefined, clockOffset: -40 }))).toMatchObject({
    baseKey: undefined,
    clockOffset: -40,
  });
});

test('values of WMMP 3.0 that are aside have its sizes', () => {
  const aside = { uplinkPassword: Buffer.from('12345678'), downlinkPassword: undefined, baseKey: undefined };
  expect(parseState(stateText({ ...state, aside })).aside).toEqual(aside);
  const long = { ...aside, uplinkPassword: Buffer.from('123456789') };
  expect(() => parseState(stateText({ ...state, aside: long }))).toThrow(
    /aside.uplink_password: must be 8 bytes/,
  );
});

test('an update is on storage, only for its owner, and leaves nothing beside', () => {
  const file = join(folder, 'state.json');
  const flash = FileFlash.create(file, state);
  flash.update((old) => ({ ...old, nextSequence: 3 }));
  expect(new FileFlash(file).read().nextSequence).toBe(3);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['state.json']);
});

test('another process that plays the same device is not overwritten', () => {
  const file = join(folder, 'state.json');
  const [one, other] = [FileFlash.create(file, state), new FileFlash(file)];
  const rise = (flash: FileFlash) =>
    flash.update((old) => ({ ...old, nextSequence: (old.nextSequence + 1) >>> 0 }));
  rise(one);
  rise(other);
  expect(rise(one).nextSequence).toBe(1);
});

test('a lock left by a process that died is taken', () => {
  const file = join(folder, 'state.json');
  const flash = FileFlash.create(file, state);
  writeFileSync(`${file}.lock`, '');
  utimesSync(`${file}.lock`, 1, 1);
  expect(flash.update((old) => ({ ...old, clockOffset: 5 })).clockOffset).toBe(5);
});

test('an update that took so long that its lock was taken over writes nothing', () => {
  const file = join(folder, 'state.json');
  const flash = FileFlash.create(file, state);
  const other = new FileFlash(file);
  const slow = () =>
    flash.update((held) => {
      utimesSync(`${file}.lock`, 0, 0);
      other.update((found) => ({ ...found, nextSequence: found.nextSequence + 1 }));
      return { ...held, nextSequence: held.nextSequence + 1 };
    });
  expect(slow).toThrow(/took the lock over/);
  expect(other.read().nextSequence).toBe(state.nextSequence + 1);
  expect(flash.update((held) => held).nextSequence).toBe(state.nextSequence + 1);
});

test('a state that is there is never made anew', () => {
  const file = join(folder, 'state.json');
  FileFlash.create(file, state);
  expect(() => FileFlash.create(file, state)).toThrow(/is there already/);
});

const BROKEN: [what: string, text: string, says: RegExp][] = [
  ['empty', '', /state\.json: is not JSON/],
  ['half', stateText(state).slice(0, 60), /state\.json: is not JSON/],
  [
    'secret of odd digits',
    stateText(state).replace('"uplink_password": "', '$&a'),
    /field uplink_password: must be 1 to 64/,
  ],
  ['no IMEI', stateText(state).replace(/.*"imei".*\n/, ''), /field imei/],
  ['unknown field', stateText(state).replace('{', '{"other": 1,'), /other/],
  ['sequence past 32 bits', stateText({ ...state, nextSequence: 2 ** 32 }), /field next_sequence/],
  ['suite 0', stateText(state).replace('"suite": 2', '"suite": 0'), /field suite: must be 1 or 2/],
  ['other format', stateText(state).replace('"format": 1', '"format": 9'), /field format: must be 1/],
];
test.each(BROKEN)('a broken file (%s) names file and field, and no secret', (_, text, says) => {
  const file = join(folder, 'state.json');
  writeFileSync(file, text);
  let message = '';
  try {
    new FileFlash(file).read();
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message).toMatch(says);
  expect(message).not.toContain(TERMINAL.uplinkPassword.toString('hex').slice(0, 8));
  expect(readFileSync(file, 'utf8')).toBe(text);
});
