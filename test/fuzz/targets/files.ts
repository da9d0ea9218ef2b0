/** Targets: files that operators and their tools hand over. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { inspectFrame } from '../../../src/cli/inspectFrame';
import { statement } from '../../../src/cli/seal';
import { readTerminals, type TerminalLine } from '../../../src/cli/sealCsv';
import { keyRing, unseal, type SealedColumn } from '../../../src/crypto/sealing';
import { KeyFileError, readKeyFile, readKeyInfo } from '../../../src/platform/keys/keyFile';
import { readTokenFile, TokenFileError, tokenIndex } from '../../../src/platform/ops/tokenFile';
import { CaptureError, readCapture } from '../../../src/terminal/capture/capture';
import { FIN, ipv4, pcap, pcapng, SYN, tcp } from '../../support/capture';
import { readStatement } from '../../support/sqlLiterals';
import { bytesOf, vectors } from '../../support/vectors';
import { must, refusedAs, text, type Target } from '../target';

const folder = mkdtempSync(join(tmpdir(), 'm2m-fuzz-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

function file(name: string, bytes: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, bytes, { mode: 0o600 });
  return path;
}

const KEY = 'a5'.repeat(32);
const key = (id: string) => ({ id, key: KEY, created: '2026-11-22T05:00:00.000Z' });
const keys = JSON.stringify({
  version: 1,
  sealing: [key('00000001'), key('00000002')],
  packet: [key('00000003')],
});

export const keyFile: Target = {
  seeds: text(
    keys,
    '{}',
    '[]',
    '{"version":1,"sealing":[],"packet":[]}',
    keys.replace('00000002', '00000001'),
  ),
  kinds: 4,
  run: (bytes) => {
    const path = file('keys.json', bytes);
    const found = refusedAs(KeyFileError, () => readKeyFile(path));
    if ('refused' in found) {
      must(!found.refused.includes('a5a5a5'), 'a key is shown');
      return found.refused.replace(/^key file \S+ /, '').replace(/\d+/g, '0');
    }
    const listed = readKeyInfo(path);
    must(listed.length === found.sealing.length + found.packet.length, 'not all are listed');
    must(
      [...found.sealing, ...found.packet].every((one) => one.key.length === 32),
      'a key of another size',
    );
    return 'read';
  },
};

const TOKEN = 'secret-token-0123456789';

export const tokenFile: Target = {
  seeds: text(`# one\n${TOKEN}\n\n  ${TOKEN}==  \r\n`, `${TOKEN}\nshort`, '', `\ufeff${TOKEN}`),
  kinds: 3,
  run: (bytes) => {
    const found = refusedAs(TokenFileError, () => readTokenFile(file('tokens', bytes)));
    if ('refused' in found) {
      must(!found.refused.includes('secret'), 'a token is shown');
      return found.refused.replace(/\d+/g, '0').slice(-20);
    }
    must(found.length > 0 && found.every((hash) => hash.length === 32), 'no hash');
    must(tokenIndex(found, '') === undefined && tokenIndex(found, '#') === undefined, 'nobody is let in');
    return tokenIndex(found, TOKEN) === undefined ? 'read' : 'found';
  },
};

const ring = keyRing([{ id: '00000001', key: Buffer.alloc(32, 7) }]);
const HEAD = 'serial,imei,imsi,uplink_password,downlink_password,base_key,label';

/** Every value stands in the SQL as in the CSV, secrets under a seal. */
function checkStatement(terminal: TerminalLine, sql: string): void {
  const values = readStatement(sql);
  must(Object.keys(values).join() === [...terminal.fields.keys()].join(), 'other columns');
  for (const [name, held] of terminal.fields) {
    const value = values[name]!;
    if (!/password|base_key/.test(name)) must(value === held, `${name} was altered`);
    else {
      const stored = Buffer.from(value.slice(2), 'hex');
      const opened = unseal(ring, name as SealedColumn, values['serial']!, stored);
      const plain = held.startsWith('\\x') ? Buffer.from(held.slice(2), 'hex') : Buffer.from(held);
      must(opened.equals(plain), `${name} was altered`);
    }
  }
}

export const csv: Target = {
  seeds: text(
    `${HEAD}\nT-1,868123000000019,460001234567890,it's plain,\\x00ff,0123456789abcdef,"a ""b"", 'c'\\"\n`,
    `\ufeff${HEAD}\r\nT-1,1,2,"u\r\np",d,,\r\nT-2,1,2,u,d,,x\r\n`,
    `${HEAD}\rT-1,1,2,u"p,d,,\r`,
    `${HEAD}\nT-1,1,2,"u"p,d,,\n`,
    'serial,serial\n',
  ),
  kinds: 8,
  run: async (bytes) => {
    let count = 0;
    try {
      for await (const terminal of readTerminals(Readable.from([bytes.subarray(0, 9), bytes.subarray(9)]))) {
        checkStatement(terminal, statement(ring, terminal));
        count++;
      }
    } catch (error) {
      const { message } = error as Error;
      if (!/^line \d+: /.test(message)) throw error;
      return message.replace(/\d+/g, '0').slice(0, 40);
    }
    return `${Math.min(count, 3)} terminals`;
  },
};

const frames = vectors.filter(({ hex }) => hex !== undefined).map(bytesOf);
const packets = [
  ipv4(tcp(0, { flags: SYN })),
  ipv4(tcp(0, { payload: frames[0]!.subarray(0, 30) })),
  ipv4(tcp(60, { payload: frames[0]!.subarray(60) })),
  ipv4(tcp(30, { payload: frames[0]!.subarray(30, 60) })),
  ipv4(tcp(0, { up: false, payload: frames[2]! })),
  ipv4(tcp(frames[0]!.length, { flags: FIN })),
].map((bytes, i) => ({ bytes, at: 1_800_000_000_000_000 + i }));

export const capture: Target = {
  seeds: [
    pcap(packets),
    pcap(packets, { order: 'big', nanoseconds: true }),
    pcap(packets.slice(0, 2), { link: 1 }),
    pcapng(packets.slice(0, 3), 'big').subarray(0, 200),
    pcapng(packets, 'little', true),
  ],
  kinds: 4,
  run: (bytes) => {
    let at = 0;
    const source = (size: number) => bytes.subarray(at, (at += Math.min(size, bytes.length - at)));
    let read = 0;
    const kinds = new Set<string>();
    const found = refusedAs(CaptureError, () => {
      for (const event of readCapture(source, 7750)) {
        kinds.add(event.kind === 'frame' ? event.state : 'gap');
        if (event.kind !== 'frame') continue;
        read += event.bytes.length;
        inspectFrame(event.bytes, event.offset, event.direction, undefined);
      }
    });
    must(read <= bytes.length, 'more bytes of frames than of the file');
    return found === undefined ? [...kinds].sort().join(' ') : found.refused.replace(/\d+/g, '0');
  },
};
