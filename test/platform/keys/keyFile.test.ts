import fs, {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { addKeys, makeKeyFile, readKeyFile } from '../../../src/platform/keys/keyFile';

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'm2m-keys-'));
  file = join(directory, 'keys.json');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test.each([0, 0o777])(
  'a new file has keys, mode 0600 whatever the umask (%i), and is never replaced',
  (umask) => {
    const before = process.umask(umask);
    makeKeyFile(file);
    process.umask(before);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const keys = readKeyFile(file);
    expect(keys.sealing).toHaveLength(1);
    expect(keys.sealing[0]!.key).toHaveLength(32);
    makeKeyFile(file);
    expect(readKeyFile(file)).toEqual(keys);
  },
);

test('what a start was killed over is not in the way of one with the same process number', () => {
  writeFileSync(`${file}.${process.pid}.new`, '');
  expect(makeKeyFile(file)).toBe(true);
  expect(addKeys(file, ['packet'])).toHaveLength(1);
  expect(readKeyFile(file).packet).toHaveLength(2);
});

test('a file that cannot be replaced is named, and nothing is left beside it', () => {
  makeKeyFile(file);
  const failing = jest.spyOn(fs, 'renameSync').mockImplementationOnce(() => {
    throw Object.assign(new Error('no'), { code: 'EROFS' });
  });
  expect(() => addKeys(file, ['sealing'])).toThrow(`key file ${file}: cannot be replaced: EROFS`);
  failing.mockRestore();
  expect(fs.readdirSync(directory)).toEqual(['keys.json']);
});

test('of two who add keys at once one is told so, and neither loses the other’s', () => {
  makeKeyFile(file);
  const { readFileSync: read } = fs;
  const reading = jest.spyOn(fs, 'readFileSync').mockImplementationOnce(((path: string) => {
    const text = read(path, 'utf8');
    expect(() => addKeys(file, ['sealing'])).toThrow(
      `key file ${file}: somebody else is adding keys; if nobody is, one was cut off: delete ${file}.lock`,
    );
    return text;
  }) as typeof read);
  const [added] = addKeys(file, ['sealing']);
  reading.mockRestore();
  const [next] = addKeys(file, ['sealing']);
  expect(
    readKeyFile(file)
      .sealing.map(({ id }) => id)
      .slice(1),
  ).toEqual([added!.id, next!.id]);
  expect(fs.readdirSync(directory)).toEqual(['keys.json']);
});

test('keys cannot be added where no file is, and the lock is not left', () => {
  const missing = /ENOENT, it is not there; m2m keys init makes one/;
  expect(() => addKeys(file, ['sealing'])).toThrow(missing);
  expect(() => addKeys(join(directory, 'no', 'keys.json'), ['sealing'])).toThrow(missing);
  expect(fs.readdirSync(directory)).toEqual([]);
});

test('of a link the file that it leads to gets the keys', () => {
  const link = join(directory, 'link.json');
  mkdirSync(join(directory, 'elsewhere'));
  file = join(directory, 'elsewhere', 'keys.json');
  makeKeyFile(file);
  symlinkSync('elsewhere/keys.json', link);
  addKeys(link, ['packet']);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readKeyFile(file).packet).toHaveLength(2);
});

test('a file stays its owner’s, whoever adds keys', () => {
  makeKeyFile(file);
  const { uid, gid } = statSync(file);
  const made = jest.spyOn(fs, 'fstatSync').mockReturnValue({ uid: uid + 1 } as fs.Stats);
  const given = jest.spyOn(fs, 'fchownSync');
  addKeys(file, ['packet']);
  expect(given).toHaveBeenCalledWith(expect.any(Number), uid, gid);
  made.mockRestore();
  given.mockClear();
  addKeys(file, ['packet']);
  expect(given).not.toHaveBeenCalled();
  given.mockRestore();
});

test('a folder in which nothing can be made is told', () => {
  makeKeyFile(file);
  const failing = jest.spyOn(fs, 'openSync').mockImplementationOnce(() => {
    throw Object.assign(new Error('no'), { code: 'EACCES' });
  });
  expect(() => addKeys(file, ['sealing'])).toThrow(
    `key file ${file}: nothing can be written beside it: EACCES`,
  );
  failing.mockRestore();
});

const good = () => {
  makeKeyFile(file);
  return JSON.parse(readFileSync(file, 'utf8')) as { sealing: { id: string; key: string }[] };
};

test.each<[string, (content: ReturnType<typeof good>) => unknown, RegExp]>([
  ['no list', (content) => ({ ...content, sealing: undefined }), /sealing: /],
  ['an empty list', (content) => ({ ...content, sealing: [] }), /sealing: at least one key/],
  [
    'a short key',
    (content) => ({ ...content, sealing: [{ ...content.sealing[0], key: 'ab' }] }),
    /sealing\.0\.key: 64/,
  ],
  [
    'a wrong id',
    (content) => ({ ...content, sealing: [{ ...content.sealing[0], id: 'XY' }] }),
    /sealing\.0\.id: 8/,
  ],
  [
    'an id twice',
    (content) => ({ ...content, sealing: [content.sealing[0], content.sealing[0]] }),
    /ids that differ/,
  ],
  ['another version', (content) => ({ ...content, version: 2 }), /version: /],
])('%s is named, and no key is shown', (_name, change, message) => {
  const content = good();
  writeFileSync(file, JSON.stringify(change(content)));
  expect(() => readKeyFile(file)).toThrow(message);
  expect(() => readKeyFile(file)).not.toThrow(content.sealing[0]!.key);
});

test('not JSON, not there, readable by others', () => {
  expect(() => readKeyFile(relative('', file))).toThrow(
    `M2M_KEY_FILE: key file ${file}: ENOENT, it is not there; m2m keys init makes one`,
  );
  writeFileSync(file, '{', { mode: 0o600 });
  expect(() => readKeyFile(file)).toThrow(/not JSON/);
  chmodSync(file, 0o640);
  expect(() => readKeyFile(file)).toThrow(/others may read it \(mode 0640\)/);
});
