/** What scripts/bench makes of its figures: medians, ratios, and whether a change made the gateway slower. */
import { createRequire } from 'node:module';

const load = createRequire(__filename);

interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}
interface Turn {
  readonly per_second: number;
  readonly latency_ms?: { readonly p99: number };
  readonly failed?: number;
}
type Rounds = readonly Readonly<Record<string, Turn>>[];
interface Figure {
  readonly name: string;
  readonly rounds: number;
  readonly per_second: Spread;
  readonly p99_ms?: Spread;
  readonly failed: number;
}
type Ratio = Spread & { readonly name: string; readonly rounds: number };

const { figuresOf, ratiosOf, reportText, spreadOf } = load('../../scripts/bench/ratios.js') as {
  readonly figuresOf: (rounds: Rounds) => Figure[];
  readonly ratiosOf: (rounds: Rounds) => Ratio[];
  readonly reportText: (result: { figures: Figure[]; ratios: Ratio[] }) => string;
  readonly spreadOf: (values: readonly number[]) => Spread;
};

interface Machine {
  readonly cpu: string;
  readonly cores: number;
}
interface Result {
  readonly taken_at: string;
  readonly machine: Machine;
  readonly ratios: readonly { readonly name: string; readonly median: number }[];
}
interface Baseline {
  readonly taken_at: string;
  readonly machine: Machine;
  readonly ratios: Readonly<Record<string, number>>;
}

const { baselineOf, findings, isOtherMachine } = load('../../scripts/bench/check.js') as {
  readonly baselineOf: (result: Result) => Baseline;
  readonly findings: (result: Result, baseline: Baseline) => string[];
  readonly isOtherMachine: (result: Result, baseline: Baseline) => boolean;
};

const at = (per_second: number, p99?: number): Turn => ({
  per_second,
  ...(p99 !== undefined && { latency_ms: { p99 } }),
});

describe('a spread', () => {
  test('is of the middle value, or between the two, and of both ends', () => {
    expect(spreadOf([30, 1, 2])).toEqual({ median: 2, low: 1, high: 30 });
    expect(spreadOf([4, 1, 2, 100])).toEqual({ median: 3, low: 1, high: 100 });
    expect(spreadOf([7])).toEqual({ median: 7, low: 7, high: 7 });
  });

  test('leaves the list as it is, and sorts by number', () => {
    const values = [100, 9, 20];
    expect(spreadOf(values).median).toBe(20);
    expect(values).toEqual([100, 9, 20]);
  });
});

describe('ratios', () => {
  test('are taken within each round, since the machine may be slower in the next', () => {
    const rounds = [
      { 'gateway new': at(100), 'bare-batched new': at(200) },
      { 'gateway new': at(10), 'bare-batched new': at(10) },
      { 'gateway new': at(60), 'bare-batched new': at(100) },
    ];
    expect(ratiosOf(rounds)).toEqual([
      { name: 'new: gateway / bare-batched', rounds: 3, median: 0.6, low: 0.5, high: 1 },
    ]);
  });

  test('both kinds of connections stand beside the same RADIUS server', () => {
    const round = { 'gateway new': at(30), 'gateway persistent': at(70), 'radius udp': at(10) };
    expect(ratiosOf([round]).map(({ name, median }) => [name, median])).toEqual([
      ['new: gateway / radius', 3],
      ['persistent: gateway / radius', 7],
    ]);
  });

  test('of what was not measured, or came to nothing, there is none', () => {
    expect(ratiosOf([{ 'gateway new': at(30) }, { 'radius udp': at(10) }])).toEqual([]);
    expect(ratiosOf([{ 'gateway new': at(30), 'radius udp': at(0) }])).toEqual([]);
  });
});

describe('figures', () => {
  const rounds = [
    { 'gateway new': { ...at(100, 5), failed: 1 }, 'radius udp': at(50) },
    { 'gateway new': { ...at(300, 15), failed: 2 } },
  ];

  test('are medians of every round that has them, and failures of all', () => {
    expect(figuresOf(rounds)).toEqual([
      {
        name: 'gateway new',
        rounds: 2,
        per_second: { median: 200, low: 100, high: 300 },
        p99_ms: { median: 10, low: 5, high: 15 },
        failed: 3,
      },
      { name: 'radius udp', rounds: 1, per_second: { median: 50, low: 50, high: 50 }, failed: 0 },
    ]);
  });

  test('are shown as tables, ratios below', () => {
    const text = reportText({ figures: figuresOf(rounds), ratios: ratiosOf(rounds) });
    expect(text).toContain('gateway new         200  100 to 300    10.0       3');
    expect(text).toContain('radius udp           50    50 to 50       -       0');
    expect(text).toMatch(/new: gateway \/ radius +2\.00 +2\.00 to 2\.00/);
  });
});

describe('the check against the baseline', () => {
  const machine = { cpu: 'a', cores: 2 };
  const result = (ratios: Record<string, number>, on = machine): Result => ({
    taken_at: '2026-01-01T00:00:00.000Z',
    machine: on,
    ratios: Object.entries(ratios).map(([name, median]) => ({ name, median })),
  });
  const baseline = baselineOf(result({ one: 1, other: 4 }));

  test('keeps machine and medians by name', () => {
    expect(baseline).toEqual({ taken_at: '2026-01-01T00:00:00.000Z', machine, ratios: { one: 1, other: 4 } });
  });

  test('names each ratio below 0.85 of it, and no other', () => {
    expect(findings(result({ one: 0.85, other: 4 }), baseline)).toEqual([]);
    expect(findings(result({ one: 0.849, other: 9 }), baseline)).toEqual([
      'one: 0.849, which is 0.85 of 1.000',
    ]);
    expect(findings(result({ one: 0.5, other: 2 }), baseline)).toHaveLength(2);
  });

  test('names what was not measured: no figure is no good news', () => {
    expect(findings(result({ one: 1 }), baseline)).toEqual(['other: not measured']);
  });

  test('tells a machine of another kind', () => {
    expect(isOtherMachine(result({}), baseline)).toBe(false);
    expect(isOtherMachine(result({}, { cpu: 'a', cores: 4 }), baseline)).toBe(true);
    expect(isOtherMachine(result({}, { cpu: 'b', cores: 2 }), baseline)).toBe(true);
  });
});
