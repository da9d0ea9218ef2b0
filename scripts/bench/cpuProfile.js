// Reads a .cpuprofile of V8: whose time it was, by function and by the gateway's own part that asked for it.

/** Microseconds that each node of the call tree was on top between two moments of the profile's clock. */
function selfTimes({ samples, timeDeltas, startTime }, from, until) {
  const times = new Map();
  let at = startTime;
  samples.forEach((id, i) => {
    at += timeDeltas[i];
    if (at >= from && at < until) times.set(id, (times.get(id) ?? 0) + timeDeltas[i]);
  });
  return times;
}

/** `dist/` file of the gateway, package, or Node.js itself. */
function placeOf({ url, functionName }) {
  const own = /\/dist\/(.+)$/.exec(url);
  if (own !== null) return own[1];
  const installed = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url);
  if (installed !== null) return installed[1];
  return url === '' ? functionName : url;
}

function parentsOf(nodes) {
  const parents = new Map();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  return parents;
}

/** The nearest file of the gateway's on the stack; what has none is the runtime's own. */
function askerOf(id, byId, parents) {
  for (let at = id; at !== undefined; at = parents.get(at)) {
    const { callFrame } = byId.get(at);
    if (/\/dist\//.test(callFrame.url)) return placeOf(callFrame);
  }
  return `${placeOf(byId.get(id).callFrame)} (below no part of the gateway)`;
}

const NOT_WORK = new Set(['(idle)', '(root)']);

/**
 * @param from microseconds on the profile's clock; what lies outside is left out
 * @returns rows of [name, microseconds], most first
 */
function summary(profile, from = -Infinity, until = Infinity) {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = parentsOf(profile.nodes);
  const [functions, askers] = [new Map(), new Map()];
  let [busy, idle] = [0, 0];
  for (const [id, time] of selfTimes(profile, from, until)) {
    const { callFrame } = byId.get(id);
    if (NOT_WORK.has(callFrame.functionName)) {
      idle += time;
      continue;
    }
    busy += time;
    const line = callFrame.lineNumber >= 0 ? `:${callFrame.lineNumber + 1}` : '';
    add(functions, `${callFrame.functionName || '(anonymous)'}  ${placeOf(callFrame)}${line}`, time);
    add(askers, askerOf(id, byId, parents), time);
  }
  return { busy, idle, functions: ranked(functions), askers: ranked(askers) };
}

function add(times, name, time) {
  times.set(name, (times.get(name) ?? 0) + time);
}

function ranked(times) {
  return [...times].sort((a, b) => b[1] - a[1]);
}

module.exports = { placeOf, summary };
