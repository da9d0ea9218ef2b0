/**
 * How long POST /v1/sessions/introspect takes: 2,000 questions, one after the other, on one connection that stays open.
 *
 *     psql -At "$(npx m2m db-url)" -c 'SELECT serial FROM m2m.live_session LIMIT 1000' |
 *       node scripts/bench/introspection.js http://127.0.0.1:7751 tokens
 *
 * Serials on standard input, one a line; the first token of the file is used.
 */
const { readFileSync } = require('node:fs');
const http = require('node:http');
const os = require('node:os');

const QUESTIONS = 2000;
/** Not counted: the first ones are slower in every process. */
const WARM_UP = 200;
/** Milliseconds between two: more than 1,000 a second under one token are refused. */
const PAUSE = 1;

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(url, token, serial) {
  const began = process.hrtime.bigint();
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const request = http.request(new URL('/v1/sessions/introspect', url), { method: 'POST', agent, headers });
    request.on('error', reject);
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => {
        const ms = Number(process.hrtime.bigint() - began) / 1e6;
        if (response.statusCode !== 200) return reject(new Error(`${response.statusCode}: ${text.trim()}`));
        resolve({ ms, active: JSON.parse(text).active, reused: request.reusedSocket });
      });
    });
    request.end(JSON.stringify({ serial }));
  });
}

async function measure(url, token, serials) {
  const answers = [];
  for (let n = 0; n < WARM_UP + QUESTIONS; n++) {
    answers.push(await ask(url, token, serials[n % serials.length]));
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return answers.slice(WARM_UP);
}

function summary(answers) {
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  const percentile = (p) => `${sorted[Math.ceil((p / 100) * sorted.length) - 1].toFixed(2)} ms`;
  const count = (test) => answers.filter(test).length;
  return [
    `questions ${answers.length}, active ${count(({ active }) => active)}, on the open connection ${count(({ reused }) => reused)}`,
    `p50 ${percentile(50)}, p90 ${percentile(90)}, p99 ${percentile(99)}, max ${percentile(100)}`,
    `${os.cpus()[0]?.model.trim() ?? 'unknown processor'}, ${os.availableParallelism()} processors, ` +
      `load ${os.loadavg()[0].toFixed(1)}, Node.js ${process.version}`,
  ].join('\n');
}

async function main([url, tokenFile]) {
  if (url === undefined || tokenFile === undefined)
    throw new Error('usage: introspection.js URL TOKEN_FILE < serials');
  const lines = (text) => text.split(/\r?\n/).map((line) => line.trim());
  const token = lines(readFileSync(tokenFile, 'utf8')).find((line) => line !== '' && !line.startsWith('#'));
  const serials = lines(readFileSync(0, 'utf8')).filter((line) => line !== '');
  if (serials.length === 0) throw new Error('no serials on standard input');
  process.stdout.write(`${summary(await measure(url, token, serials))}\n`);
}

main(process.argv.slice(2))
  .catch((error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  })
  .finally(() => agent.destroy());
