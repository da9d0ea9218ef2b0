/** protocol <- crypto <- { platform, terminal } <- cli. Nothing points the other way. */
const rule = (name, from, to, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: from },
  to: { path: to },
});

module.exports = {
  forbidden: [
    rule(
      'protocol-is-the-ground',
      '^src/protocol',
      '^src/(crypto|platform|terminal|cli)',
      'wire facts know nobody',
    ),
    rule(
      'protocol-is-pure',
      '^src/protocol',
      '^(node:)?(net|fs|crypto|http|https|tls|dgram|child_process|os|timers)($|/)',
      'no socket, clock or crypto in wire facts',
    ),
    rule(
      'crypto-above-protocol',
      '^src/crypto',
      '^src/(platform|terminal|cli)',
      'crypto is bytes in, bytes out',
    ),
    rule('platform-alone', '^src/platform', '^src/(terminal|cli)', 'the gateway never uses the device side'),
    rule('terminal-alone', '^src/terminal', '^src/(platform|cli)', 'a device shares tables, never decisions'),
    rule(
      'deciders-are-pure',
      '^src/platform/flows',
      '^((node:)?(net|fs|http|timers)|src/platform/(listener|store|ops)|node_modules/(pg|winston|prom-client|node-cache))',
      'rules are tested without sockets or a database; types are shared through src/platform/model',
    ),
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, pathNot: ['^src/cli/main', '[.]d[.]ts$'] },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
