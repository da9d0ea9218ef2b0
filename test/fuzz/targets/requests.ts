/** Targets: settings, and what other services send over HTTP and SMPP. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { PDU } from 'smpp';
import { isWithin, parseNetworks } from '../../../src/platform/config/networks';
import { readSettings, SettingError, SETTINGS, unknownSettings } from '../../../src/platform/config/settings';
import { Introspection } from '../../../src/platform/ops/introspection';
import { readReceipt, spellings } from '../../../src/platform/sms/receipt';
import { PduFramer, readDelivery, type Pdu } from '../../../src/platform/sms/smppPdu';
import { Webhook } from '../../../src/platform/sms/webhook';
import { must, refusedAs, text, type Target } from '../target';

const TOKEN = 'secret-token-0123456789';
const STATUS = [200, 400, 401, 429];

/** The first line is the authorization header, the rest the body. */
export const introspection: Target = {
  seeds: text(
    `Bearer ${TOKEN}\n{"session_id":"13ddb37c3eac2743"}`,
    `Bearer ${TOKEN}\n{"serial":"T100-116"}`,
    `Bearer ${TOKEN}\n{"serial":"T100-116","session_id":"13ddb37c3eac2743"}`,
    `Bearer ${TOKEN}\n{"serial":"${'T'.repeat(2000)}"}`,
    'Bearer wrong-token-0123456789\n{}',
    '\n{}',
  ),
  kinds: 3,
  run: async (bytes) => {
    const end = bytes.indexOf(10) < 0 ? bytes.length : bytes.indexOf(10);
    const request = Object.assign(Readable.from([bytes.subarray(end + 1)]), {
      headers: { authorization: bytes.toString('latin1', 0, end) },
      socket: { remoteAddress: '192.0.2.1' },
    });
    const asked: unknown[] = [];
    const door = new Introspection({
      tokens: () => [createHash('sha256').update(TOKEN).digest()],
      find: (name) => Promise.resolve(void asked.push(name)),
      log: { event: () => undefined },
      counted: () => undefined,
      now: () => 1,
    });
    const { status, body } = await door.answer(request as unknown as IncomingMessage);
    must(STATUS.includes(status) && typeof JSON.parse(body) === 'object', `status ${status}`);
    must((status === 200) === (asked.length === 1), 'asked without an answer');
    must(!body.includes('secret') && !body.includes('"active":true'), 'more than there is');
    const [name] = asked as { serial?: string; sessionId?: string }[];
    const good = /^([A-Za-z0-9._-]{1,16}|[0-9a-f]{16})$/.test(name?.serial ?? name?.sessionId ?? 'x');
    must(good, 'asked for what is no name');
    return `${status}`;
  },
};

const VARIABLES = Object.values(SETTINGS).map(({ variable }) => variable);
const isAddress = (host: string) => !host.includes(':') || isIP(host) !== 0;

/** Lines of NAME=value. */
export const settings: Target = {
  seeds: text(
    ...VARIABLES.map((name) => `${name}=1`),
    'M2M_LISTEN=[::1]:7750\nM2M_OPS_LISTEN=gw.example:0',
    'M2M_PROXY_PROTOCOL=v2\nM2M_PROXY_TRUSTED=10.0.0.0/8, 2001:db8::/32',
    'M2M_SMS=smpp://user:secret@smsc.example:2775',
    'M2M_SMS=https://user:secret%20@hook.example/x?y',
    'DATABASE_URL=postgresql://m2m:secret@[::1]:5432/m2m',
    'M2M_COLOUR=blue\nM2M_WORKERS=128',
  ),
  kinds: 20,
  run: (bytes) => {
    const lines = bytes.toString('utf8').split('\n');
    const environment = Object.fromEntries(
      lines.map((line): [string, string] => {
        const [name = '', ...rest] = line.split('=');
        return [name, rest.join('=')];
      }),
    );
    unknownSettings(environment);
    const read = refusedAs(SettingError, () => readSettings(environment));
    if ('refused' in read) {
      const [name = ''] = read.refused.split(' ');
      must(VARIABLES.includes(name), `no variable is named: ${read.refused}`);
      must(!/DATABASE_URL|M2M_SMS$/.test(name) || !read.refused.includes('secret'), 'a password is shown');
      return name;
    }
    for (const { host, port } of [read.listen, read.opsListen, read.tlsListen ?? read.listen])
      must(port >= 0 && port <= 65_535 && isAddress(host), `no endpoint: ${host} ${port}`);
    if (read.sms.kind === 'webhook') void new Webhook(read.sms.url).close();
    if (read.sms.kind === 'smpp') must(read.sms.port <= 65_535 && read.sms.host !== '', 'no SMSC');
    return read.sms.kind;
  },
};

/** Networks, a semicolon, and addresses to look for; node's own BlockList as the judge. */
export const networks: Target = {
  seeds: text(
    '10.0.0.0/8, 2001:db8::/32,192.0.2.7;10.1.2.3,2001:db8::1,::ffff:10.0.0.1',
    'fe80::/10;fe80::1%eth0,febf::',
    '::ffff:1:2:3:4/128;::ffff:1:2:3:4,1:2:3:4::',
    '0.0.0.0/0,::/0;1.2.3.4,::1',
    '64:ff9b::192.0.2.0/120;64:ff9b::c000:2ff',
    '::ffff:10.0.0.1;10.0.0.1',
  ),
  kinds: 3,
  run: (bytes) => {
    const [list = '', looked = ''] = bytes.toString('latin1').split(';');
    const found = parseNetworks(list);
    if (found === undefined) return 'refused';
    // One list for each: node's looks for IPv4 addresses in IPv6 networks too.
    const judges = { ipv4: new BlockList(), ipv6: new BlockList() };
    for (const item of list.split(',').map((one) => one.trim())) {
      const [address = '', prefix] = item.split('/');
      const family = isIPv4(address) ? 'ipv4' : 'ipv6';
      judges[family].addSubnet(
        address,
        prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix),
        family,
      );
      must(isWithin(found, address), `${address} is not within itself`);
    }
    const inside = looked.split(',').map((address) => {
      const plain = address.replace(/%.*$/, '');
      const family = isIPv4(plain) ? 'ipv4' : isIPv6(plain) ? 'ipv6' : undefined;
      const is = isWithin(found, address);
      must(
        is === (family !== undefined && judges[family].check(plain, family)),
        `${address} in ${list}: ${is}`,
      );
      return is;
    });
    return inside.includes(true) ? 'inside' : 'outside';
  },
};

const receipt = (fields: Record<string, unknown>) => new PDU('deliver_sm', fields).toBuffer();
const DELIVERIES = ['deliver_sm', 'data_sm'];
const APPENDIX_B =
  'id:0123456789 sub:001 dlvrd:001 submit date:2611220501 done date:2611220502 stat:DELIVRD err:000';

/** A stream from an SMSC, in one piece and byte by byte, as the link takes it. */
export const receipts: Target = {
  seeds: [
    receipt({ esm_class: 4, short_message: APPENDIX_B }),
    receipt({ esm_class: 4, short_message: Buffer.from('ID:ab-1 STAT:undeliv'), data_coding: 4 }),
    receipt({ esm_class: 4, receipted_message_id: 'tlv', message_state: 2, short_message: '' }),
    receipt({ esm_class: 0, short_message: APPENDIX_B }),
    receipt({ esm_class: 4, message_payload: Buffer.from(APPENDIX_B, 'utf16le').swap16(), data_coding: 8 }),
  ],
  kinds: 4,
  run: (bytes) => {
    const pdus = new PduFramer().push(bytes);
    must(sameInPieces(bytes, pdus), 'other PDUs in pieces');
    const deliveries = pdus?.filter(({ command }) => DELIVERIES.includes(command)).map(readDelivery);
    const found = deliveries?.flatMap((one) => (one && readReceipt(one)) ?? []);
    for (const { messageId, state, phones } of found ?? []) {
      must(/^[\x20-\x7e\xa0-\uffff]{1,255}$/.test(messageId), 'an id that no database takes');
      must(/^(state \d+|\w{1,20})$/.test(state), `state ${state}`);
      must(
        phones.every((one) => /^\d{7,20}$/.test(one)),
        `numbers ${phones.join()}`,
      );
      must(spellings(messageId)[0] === messageId, 'its own spelling comes first');
    }
    if (found === undefined) return 'no SMPP';
    return found[0] === undefined ? 'none' : found[0].delivered ? 'delivered' : 'not delivered';
  },
};

function sameInPieces(bytes: Buffer, whole: Pdu[] | undefined): boolean {
  const framer = new PduFramer();
  const found: Pdu[] = [];
  for (const byte of bytes) {
    const pdus = framer.push(Buffer.of(byte));
    if (pdus === undefined) return whole === undefined;
    found.push(...pdus);
  }
  return whole !== undefined && isDeepStrictEqual(found, whole);
}
