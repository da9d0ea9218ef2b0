// Microseconds of processor time that each stage of a login takes alone: the built functions on frames of many
// terminals, the median of many turns. Others on the machine do not count, garbage collection does. A LOGIN with a session key under HMAC-SHA-256, as `m2m bench --key` sends it.
const { randomBytes } = require('node:crypto');
const { Writable } = require('node:stream');
const { setImmediate: breath } = require('node:timers/promises');
const { provision } = require('../../dist/cli/bench/provision.js');
const { makeSessionId } = require('../../dist/crypto/sessionId.js');
const { seal } = require('../../dist/crypto/sealing.js');
const { wrapKey } = require('../../dist/crypto/keyWrap.js');
const { encodeAnswer } = require('../../dist/platform/flows/answer.js');
const { decideLogin } = require('../../dist/platform/flows/login.js');
const { replayCutoff, replayEntry } = require('../../dist/platform/flows/replay.js');
const { provenBaseKey, verifyDigest } = require('../../dist/platform/flows/verify.js');
const { KeyKeeper } = require('../../dist/platform/keys/keyKeeper.js');
const { readKeyFile } = require('../../dist/platform/keys/keyFile.js');
const { createLog } = require('../../dist/platform/ops/log.js');
const { LogSink } = require('../../dist/platform/ops/logSink.js');
const { Metrics } = require('../../dist/platform/ops/metrics.js');
const { Reporter } = require('../../dist/platform/pipeline/reporter.js');
const { Database } = require('../../dist/platform/store/database.js');
const { Sessions } = require('../../dist/platform/store/sessions.js');
const { Terminals } = require('../../dist/platform/store/terminals.js');
const { decode } = require('../../dist/protocol/decode.js');
const { Framer } = require('../../dist/protocol/framer.js');
const { headerJudge } = require('../../dist/protocol/judge.js');
const { HMAC_SHA256 } = require('../../dist/protocol/suites.js');
const { benchTerminal } = require('../../dist/terminal/load/identity.js');
const { loginRequest } = require('../../dist/terminal/requests.js');
const { spreadOf } = require('./ratios.js');
const { ownGateway } = require('./ownGateway.js');

const SEED = 'stages';
/** Terminals, and so logins of one turn: as many as a batch under load has. */
const LOT = 256;
/** Turns before those that count: what is measured is compiled code. */
const UNCOUNTED = 100;
const NETWORK = { address: '127.0.0.1', port: 40_000 };
const WINDOW = 300;

/** @param work of the n-th login @returns the median's microseconds a login */
async function timed(turns, work, after = () => undefined) {
  const taken = [];
  for (let turn = -UNCOUNTED; turn < turns; turn++) {
    const from = process.cpuUsage();
    for (let n = 0; n < LOT; n++) work(n);
    after();
    const { user, system } = process.cpuUsage(from);
    if (turn >= 0) taken.push((user + system) / LOT);
    await breath();
  }
  return spreadOf(taken).median;
}

function surroundings(ring) {
  return {
    now: Date.now(),
    timestampWindow: WINDOW,
    sessionTtl: 86_400,
    heartbeatInterval: 300,
    plainTexts: false,
    packetKeys: () => new Map(),
    random: randomBytes,
    sessionId: (id) => makeSessionId(ring, id, randomBytes(4)),
  };
}

function frameOf(device, sequence) {
  const moment = { sequence, time: Math.floor(Date.now() / 1000), explicit: true };
  return loginRequest(device, moment, { sessionKey: true, identity: true, firmware: undefined }).frame;
}

/** What each stage begins with, made by the stages before it. */
function logins(views, ring) {
  const framer = new Framer(headerJudge(4096));
  const around = surroundings(ring);
  return views.map((view, n) => {
    const frame = frameOf(benchTerminal(SEED, n, HMAC_SHA256), 1);
    const [{ header }] = framer.push(frame);
    const message = decode(header, frame);
    const cached = { record: view.record, row: undefined };
    const { granted } = decideLogin(message, cached, around, NETWORK.address);
    if (granted === undefined) throw new Error('a login of the measurement was refused');
    const authentic = verifyDigest(message, view.record, around.now);
    return { frame, header, message, view: cached, around, granted, authentic };
  });
}

function reporting() {
  const target = new Writable({ write: (_chunk, _encoding, done) => done() });
  const sink = new LogSink(target);
  const log = createLog({ sink, level: 'info', gateway: 'stages', identifiers: 'masked' });
  const metrics = new Metrics({
    databaseUp: () => true,
    waitingForDatabase: () => 0,
    droppedLogLines: () => 0,
  });
  const unused = { failures: undefined, junk: undefined, decoy: undefined };
  return { reporter: new Reporter({ log, metrics, now: Date.now, ...unused }), sink };
}

/** Rows of [stage, microseconds]; an indented one is part of the one above it. */
async function pureStages(turns, all, ring) {
  const framer = new Framer(headerJudge(4096));
  const { reporter, sink } = reporting();
  const key = randomBytes(16);
  const rows = [];
  const stage = async (name, work, after) =>
    rows.push([name, await timed(turns, (n) => work(all[n]), after)]);
  await stage('framer and header', ({ frame }) => framer.push(frame));
  await stage('decode', ({ header, frame }) => decode(header, frame));
  await stage('decide', ({ message, view, around }) => decideLogin(message, view, around, NETWORK.address));
  await stage('  verify the digest', ({ message, view, around }) =>
    verifyDigest(message, view.record, around.now),
  );
  await stage('  base key digest', ({ message, view, authentic }) =>
    provenBaseKey(message, view.record, authentic),
  );
  await stage('  session id', ({ around, view }) => around.sessionId(view.record.id));
  await stage('  session key, wrapped', ({ view }) => wrapKey(view.record.baseKey, randomBytes(16)));
  await stage('seal the session key', ({ view }) => seal(ring, 'session_key', view.record.serial, key));
  await stage('encode and sign', ({ header, message, granted, around }) =>
    encodeAnswer(header, message.digest, granted.answer, around.now),
  );
  await stage(
    'log line and counters',
    ({ message, granted, view, around }) =>
      reporter.login(message, { ...NETWORK, session: granted.session }, around.now, granted.answer, view),
    () => void sink.flush(),
  );
  return rows;
}

/** Wall clock and this process's CPU a login: the statement, the driver, the server and its disk. */
async function statement(name, turns, run) {
  const [wall, own] = [[], []];
  for (let turn = -10; turn < turns; turn++) {
    const [from, cpu] = [performance.now(), process.cpuUsage()];
    await run();
    const { user, system } = process.cpuUsage(cpu);
    if (turn < 0) continue;
    wall.push(((performance.now() - from) * 1000) / LOT);
    own.push((user + system) / LOT);
  }
  return [
    [`${name}, from sending to outcome`, spreadOf(wall).median],
    ['  of it this process’s own', spreadOf(own).median],
  ];
}

async function databaseStages(turns, store, all) {
  const { terminals, sessions } = store;
  let timestamp = Math.floor(Date.now() / 1000);
  const lookup = () => Promise.all(all.map(({ view }) => terminals.find(view.record.serial)));
  const commit = async () => {
    // Entries of an hour apart: the replay memory stays as short as that of a terminal that logs in now and then.
    const entry = replayEntry((timestamp += 3600), randomBytes(32));
    store.cutoff = replayCutoff(timestamp * 1000, WINDOW);
    const outcomes = await Promise.all(
      all.map(({ granted }) => sessions.login({ ...granted.write, replayEntry: entry })),
    );
    if (!outcomes.every(({ committed }) => committed))
      throw new Error('a commit of the measurement was refused');
  };
  return [
    ...(await statement(`lookup, ${LOT} in a statement`, turns, lookup)),
    ...(await statement(`commit, ${LOT} in a statement`, turns, commit)),
  ];
}

function openStore({ databaseUrl, keyFile }) {
  const ring = new KeyKeeper(readKeyFile(keyFile)).ring;
  const database = new Database(databaseUrl, 2, { lost: () => undefined, back: () => undefined }, 60_000);
  const onUnreadable = (serial, error) => {
    throw error;
  };
  const store = {
    database,
    ring: ring(),
    cutoff: '',
    terminals: new Terminals({ database, ring, onUnreadable }),
  };
  store.sessions = new Sessions({
    database,
    ring,
    instance: () => 1,
    sessionTtl: 86_400,
    cutoff: () => store.cutoff,
  });
  return store;
}

async function profileStages(scope, turns) {
  const gateway = await ownGateway(scope);
  await provision(gateway.databaseUrl, SEED, { first: 0, terminals: LOT }, new AbortController().signal);
  const store = openStore(gateway);
  try {
    const serials = Array.from({ length: LOT }, (_, n) => benchTerminal(SEED, n, HMAC_SHA256).serial);
    const views = await Promise.all(serials.map((serial) => store.terminals.find(serial)));
    const all = logins(views, store.ring);
    const rows = [
      ...(await pureStages(turns, all, store.ring)),
      ...(await databaseStages(Math.max(10, Math.floor(turns / 4)), store, all)),
    ];
    show(rows);
  } finally {
    await store.database.close();
  }
}

function show(rows) {
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, time] of [['microseconds a login', undefined], ...rows])
    process.stdout.write(`${name.padEnd(width)}  ${time === undefined ? '' : time.toFixed(1).padStart(7)}\n`);
}

module.exports = { profileStages };
