#!/usr/bin/env node
// Load on a RADIUS server: Access-Requests with PAP (RFC 2865), so many under way at any time, sent again where no
// answer comes. Every answer's authenticator is verified. Prints one JSON document.
//
//     radiusLoad.js --port N --secret TEXT --password TEXT --users N --window N --for SECONDS --warm-up SECONDS
const { createHash, randomFillSync } = require('node:crypto');
const { createSocket } = require('node:dgram');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const { parseArgs } = require('node:util');

const HOST = '127.0.0.1';
const [ACCESS_REQUEST, ACCESS_ACCEPT] = [1, 2];
const [USER_NAME, USER_PASSWORD, NAS_IP_ADDRESS] = [1, 2, 4];
const HEADER_SIZE = 20;
const BLOCK = 16;
const IDENTIFIERS = 256;
/** Identifiers are one byte: with several sockets one comes back long after its answer. */
const SOCKETS = 16;
/** Milliseconds until a request is sent again, and how often. */
const RESEND_AFTER = 1_000;
const MOST_TRIES = 10;
const SWEEP_EVERY = 100;
/** Requests that are begun together at first. */
const BURST = 16;

const md5 = (...parts) => {
  const hash = createHash('md5');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** Section 5.2: each block of 16 bytes is masked by a hash of the secret and the block before it. */
function hiddenPassword(password, secret, authenticator) {
  const padded = Buffer.alloc(Math.max(1, Math.ceil(password.length / BLOCK)) * BLOCK);
  password.copy(padded);
  let before = authenticator;
  for (let at = 0; at < padded.length; at += BLOCK) {
    const mask = md5(secret, before);
    for (let i = 0; i < BLOCK; i++) padded[at + i] ^= mask[i];
    before = padded.subarray(at, at + BLOCK);
  }
  return padded;
}

function attribute(type, value) {
  return Buffer.concat([Buffer.from([type, value.length + 2]), value]);
}

function accessRequest(identifier, user, password, secret) {
  const authenticator = randomFillSync(Buffer.alloc(16));
  const attributes = Buffer.concat([
    attribute(USER_NAME, Buffer.from(user)),
    attribute(USER_PASSWORD, hiddenPassword(password, secret, authenticator)),
    attribute(NAS_IP_ADDRESS, Buffer.from([127, 0, 0, 1])),
  ]);
  const head = Buffer.from([ACCESS_REQUEST, identifier, 0, 0]);
  head.writeUInt16BE(HEADER_SIZE + attributes.length, 2);
  return { packet: Buffer.concat([head, authenticator, attributes]), authenticator };
}

/** Section 3: the answer's authenticator is a hash over it, the request's authenticator and the secret. */
function isGenuine(answer, authenticator, secret) {
  const right = md5(answer.subarray(0, 4), authenticator, answer.subarray(HEADER_SIZE), secret);
  return right.equals(answer.subarray(4, HEADER_SIZE));
}

/** The user of that number, as contestants/radius.js puts them into the database. */
const userName = (n) => `BENCH-${String(n + 1).padStart(7, '0')}`;

class Load {
  #sockets = [];
  #underWay = new Map();
  #begun = 0;
  #slot = 0;
  #counts = { accepted: 0, rejected: 0, forged: 0, resent: 0, lost: 0 };
  #latencies = [];
  #lastAt = 0;

  constructor(options) {
    this.options = options;
  }

  async run() {
    const { window, seconds, warmUp } = this.options;
    await this.#open();
    this.from = performance.now() + warmUp * 1000;
    this.until = this.from + seconds * 1000;
    const sweeper = setInterval(() => this.#sweep(), SWEEP_EVERY);
    const done = new Promise((resolve) => (this.done = resolve));
    for (let i = 0; i < window; i++) {
      // All at once would not fit into the server's receive buffer.
      if (i % BURST === 0) await sleep(1);
      this.#next();
    }
    await done;
    clearInterval(sweeper);
    for (const socket of this.#sockets) socket.close();
    return this.#result();
  }

  async #open() {
    const { port } = this.options;
    for (let i = 0; i < SOCKETS; i++) {
      const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
      socket.connect(port, HOST);
      await once(socket, 'connect');
      socket.on('message', (answer) => this.#heard(i, answer));
      socket.on('error', () => undefined);
      this.#sockets.push(socket);
    }
  }

  #next() {
    const now = performance.now();
    if (now >= this.until) {
      if (this.#underWay.size === 0) this.done();
      return;
    }
    const { users, password, secret } = this.options;
    const n = this.#begun++;
    const slot = this.#freeSlot();
    const [socket, identifier] = [slot % SOCKETS, Math.floor(slot / SOCKETS)];
    const request = accessRequest(identifier, userName(n % users), password, secret);
    this.#underWay.set(slot, { ...request, begunAt: now, sentAt: now, tries: 1 });
    this.#sockets[socket].send(request.packet, () => undefined);
  }

  /** A socket and an identifier on it that no request under way has. */
  #freeSlot() {
    do this.#slot = (this.#slot + 1) % (SOCKETS * IDENTIFIERS);
    while (this.#underWay.has(this.#slot));
    return this.#slot;
  }

  #heard(socket, answer) {
    const slot = (answer[1] ?? 0) * SOCKETS + socket;
    const request = this.#underWay.get(slot);
    if (request === undefined || answer.length < HEADER_SIZE) return;
    if (!isGenuine(answer, request.authenticator, this.options.secret)) {
      this.#counts.forged++;
      return;
    }
    this.#underWay.delete(slot);
    this.#count(request, answer[0] === ACCESS_ACCEPT);
    this.#next();
  }

  #count({ begunAt }, accepted) {
    if (begunAt < this.from) return;
    const now = performance.now();
    this.#lastAt = now;
    this.#counts[accepted ? 'accepted' : 'rejected']++;
    if (accepted) this.#latencies.push(now - begunAt);
  }

  #sweep() {
    const now = performance.now();
    for (const [slot, request] of this.#underWay) {
      if (now - request.sentAt < RESEND_AFTER) continue;
      if (request.tries >= MOST_TRIES) {
        this.#underWay.delete(slot);
        this.#counts.lost++;
        this.#next();
        continue;
      }
      request.tries++;
      request.sentAt = now;
      this.#counts.resent++;
      this.#sockets[slot % SOCKETS].send(request.packet, () => undefined);
    }
    if (now >= this.until && this.#underWay.size === 0) this.done();
  }

  #result() {
    const sorted = Float64Array.from(this.#latencies).sort();
    const at = (part) =>
      Number((sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(3));
    const seconds = Math.max(0.001, (this.#lastAt - this.from) / 1000);
    const { accepted, ...others } = this.#counts;
    return {
      per_second: Number((accepted / seconds).toFixed(1)),
      accepted,
      ...others,
      latency_ms: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: at(1) },
    };
  }
}

async function main() {
  const { values } = parseArgs({
    options: Object.fromEntries(
      ['port', 'secret', 'password', 'users', 'window', 'for', 'warm-up'].map((name) => [
        name,
        { type: 'string' },
      ]),
    ),
  });
  const load = new Load({
    port: Number(values.port),
    secret: Buffer.from(values.secret),
    password: Buffer.from(values.password),
    users: Number(values.users),
    window: Number(values.window),
    seconds: Number(values.for),
    warmUp: Number(values['warm-up']),
  });
  process.stdout.write(`${JSON.stringify(await load.run())}\n`);
}

if (require.main === module) void main();
module.exports = { accessRequest, hiddenPassword, isGenuine };
