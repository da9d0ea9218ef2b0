// What a measurement starts and makes, so that all of it is gone afterwards, however it ended.
const { spawn, execFileSync } = require('node:child_process');
const { chownSync, chmodSync, mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

/** Milliseconds for a process that was told to end, and for one to get ready. */
const END_PATIENCE = 60_000;
const START_PATIENCE = 300_000;
const KEPT = 4_000;

const scopes = new Set();
let stoppedBy;

class Scope {
  #children = new Map();
  #folders = [];

  constructor() {
    scopes.add(this);
  }

  /**
   * Starts a program.
   *
   * @param options.user whose process it is; undefined: ours
   * @param options.endBy signal that ends it
   * @returns its process; `said()` is the end of what it wrote, `ended` resolves with its exit code
   */
  start(file, args, { user, env = process.env, endBy = 'SIGTERM', cwd } = {}) {
    if (stoppedBy !== undefined) throw new Error(`stopped by ${stoppedBy}`);
    const child = spawn(file, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'], ...user });
    const output = { out: '', err: '' };
    child.stdout.on('data', (chunk) => (output.out += chunk));
    child.stderr.on('data', (chunk) => (output.err = (output.err + chunk).slice(-KEPT)));
    child.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(error.code));
      child.once('close', (code, signal) => resolve(signal ?? code));
    });
    this.#children.set(child, endBy);
    child.ended.then(() => this.#children.delete(child));
    child.output = output;
    child.said = () => (output.err || output.out).trim().slice(-KEPT);
    return child;
  }

  /** Runs a program to its end. @returns what it wrote to standard output; throws where it failed */
  async run(file, args, options) {
    const child = this.start(file, args, options);
    const code = await child.ended;
    if (stoppedBy !== undefined) throw new Error(`stopped by ${stoppedBy}`);
    if (code !== 0) throw new Error(`${file} ended with ${code}: ${child.said()}`);
    return child.output.out;
  }

  /** Waits until a program that was started has written what `pattern` finds. @returns the match */
  async until(child, pattern) {
    const deadline = performance.now() + START_PATIENCE;
    let code;
    child.ended.then((how) => (code = how));
    for (;;) {
      const found = pattern.exec(child.output.out) ?? pattern.exec(child.output.err);
      if (found !== null) return found;
      if (code !== undefined) throw new Error(`${child.spawnfile} ended with ${code}: ${child.said()}`);
      if (performance.now() > deadline)
        throw new Error(`${child.spawnfile} does not get ready: ${child.said()}`);
      await pause(20);
    }
  }

  /** A folder of its own under the system's one for temporary files. @param user who owns it */
  folder(prefix, user) {
    const made = mkdtempSync(join(tmpdir(), prefix));
    this.#folders.push(made);
    chmodSync(made, 0o755);
    if (user !== undefined) chownSync(made, user.uid, user.gid);
    return made;
  }

  /** Ends what was started last first, since it uses what was started before it. */
  async end(child) {
    const endBy = this.#children.get(child);
    if (endBy === undefined) return;
    child.kill(endBy);
    const late = setTimeout(() => child.kill('SIGKILL'), END_PATIENCE);
    await child.ended;
    clearTimeout(late);
  }

  async close() {
    for (const child of [...this.#children.keys()].reverse()) await this.end(child);
    for (const folder of this.#folders.splice(0)) rmSync(folder, { recursive: true, force: true });
    scopes.delete(this);
  }

  /** Tells everything to end; whoever waits for it finds out. */
  signalAll() {
    for (const [child, endBy] of [...this.#children].reverse()) child.kill(endBy);
  }
}

/** Runs `work` with a scope, which is closed whatever comes of it. */
async function withScope(work) {
  const scope = new Scope();
  try {
    return await work(scope);
  } finally {
    await scope.close();
  }
}

/** From now on a signal ends what is running, and then this process by way of its own error handling. */
function endOnSignals() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      stoppedBy = signal;
      for (const scope of [...scopes].reverse()) scope.signalAll();
    });
  }
}

function pause(milliseconds) {
  if (stoppedBy !== undefined) throw new Error(`stopped by ${stoppedBy}`);
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Where we are root: numbers of a system user for programs that refuse root. Otherwise we are user enough. */
function systemUser(name) {
  if (process.getuid() !== 0) return undefined;
  const id = (flag) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

module.exports = { Scope, withScope, endOnSignals, pause, systemUser };
