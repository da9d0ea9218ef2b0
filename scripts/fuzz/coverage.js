/** Which parts of src/ a piece of work reaches: V8's own block coverage, asked through the inspector. */
'use strict';
const { Session } = require('node:inspector');

class Coverage {
  /** @param {string} folder absolute; scripts elsewhere do not count */
  constructor(folder) {
    this.prefix = `file://${folder}/`;
    /** Per function: which of its characters were reached, and where blocks begin. */
    this.functions = new Map();
    this.session = new Session();
    this.session.connect();
    this.post('Profiler.enable');
    this.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** With in-process sessions the answer is there when post() returns. */
  post(method, parameters) {
    let answer;
    this.session.post(method, parameters, (error, result) => {
      if (error) throw new Error(`${method}: ${error.message}`);
      answer = result;
    });
    return answer;
  }

  /** Forgets what was reached since the last call. */
  skip() {
    this.post('Profiler.takePreciseCoverage');
  }

  /**
   * What was reached since the last call and never before, as characters of source.
   *
   * @param {boolean} keep whether it counts as reached from now on
   */
  fresh(keep) {
    let found = 0;
    for (const { url, functions } of this.post('Profiler.takePreciseCoverage').result) {
      if (!url.startsWith(this.prefix) && !url.startsWith(this.prefix.slice(7))) continue;
      for (const each of functions) found += this.note(url, each, keep);
    }
    return found;
  }

  /** Ranges come outer ones first; each is painted over those around it. */
  note(url, { ranges }, keep) {
    const [{ startOffset: start, endOffset: end, count }] = ranges;
    if (count === 0) return 0;
    const painted = new Uint8Array(end - start);
    for (const range of ranges)
      painted.fill(range.count > 0 ? 1 : 0, range.startOffset - start, range.endOffset - start);
    const key = `${url}:${start}`;
    const known = this.functions.get(key) ?? { reached: new Uint8Array(end - start), begins: new Set() };
    let found = 0;
    painted.forEach((is, at) => {
      if (is && !known.reached[at]) found++;
    });
    if (!keep) return found;
    painted.forEach((is, at) => {
      if (is) known.reached[at] = 1;
    });
    for (const { startOffset } of ranges) known.begins.add(startOffset - start);
    this.functions.set(key, known);
    return found;
  }

  /** Blocks reached so far. */
  get blocks() {
    let count = 0;
    for (const { reached, begins } of this.functions.values())
      for (const at of begins) count += reached[at] ?? 0;
    return count;
  }
}

module.exports = { Coverage };
