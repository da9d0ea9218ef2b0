/** Numbers, plots and checks of `m2m bench` that need no gateway. */
import { checkOpenFiles, roomForConnections } from '../../src/cli/bench/machine';
import { columnsOf, stormPlot, stormSvg } from '../../src/cli/bench/plot';
import { loginRow, stormRow, type CurvePoint } from '../../src/cli/bench/results';
import { AUTH_FAILED, OK, SILENT } from '../../src/terminal/load/outcomes';
import { CURVE_STEP, curveStep, newTally, recordMs } from '../../src/terminal/load/tally';

const point = (at: number, inside: number, later: number): CurvePoint => ({
  at,
  in: inside,
  later,
  unanswered: 0,
  answers: {},
});
const curve = [point(0.1, 1, 0), point(0.2, 5, 9), point(0.3, 5, 1), point(0.4, 10, 0)];

test('columns have the last count of terminals, and all attempts of their time', () => {
  expect(columnsOf(curve, 2)).toEqual([
    { in: 5, later: 9 },
    { in: 10, later: 1 },
  ]);
  expect(columnsOf(curve, 100)).toHaveLength(4);
  expect(columnsOf([], 10)).toEqual([]);
});

test('the plot has its scale, its curve and its legend', () => {
  const lines = stormPlot(curve).split('\n');
  expect(lines[0]).toBe('      10 | o #');
  expect(lines[11]).toBe('       0 |####');
  expect(lines[12]).toBe('         +---- 0.4 s');
  expect(lines[13]).toContain('attempts put off (at most 9 a column)');
  expect(stormPlot([point(0.1, 3, 0)])).not.toContain('put off');
  expect(stormPlot([])).toBe('');
});

test('the drawing has every point, and a title that is text', () => {
  const svg = stormSvg(curve, 'a < b & c');
  expect(svg).toContain('a &lt; b &amp; c');
  expect(svg).toContain('>10 in<');
  const points = [...svg.matchAll(/points="([^"]*)"/g)].map(([, list]) => list!.split(' ').length);
  expect(points).toEqual([5, 5]);
});

test('a row counts what should have been otherwise, and wrong passwords apart', () => {
  const tally = newTally();
  tally.outcomes[OK] = 20;
  tally.outcomes[SILENT] = 3;
  tally.wrongOutcomes[AUTH_FAILED] = 5;
  tally.wrongOutcomes[OK] = 1;
  recordMs(tally.ok, 2);
  tally.lastAt = 3000;
  const row = loginRow(tally, 1000, 10);
  expect(row).toMatchObject({ rate: 10, seconds: 2, logins_per_second: 10, ok: 20, failed: 4 });
  expect(row.refused).toEqual({ 'no answer': 3 });
  expect(row.wrong_password).toMatchObject({ auth_failed: 5, other: { OK: 1 } });
  expect(row.latency_ms?.p50).toBeCloseTo(2, 2);
});

test('who is outside at the end of a storm has failed; who was put off and got in has not', () => {
  const tally = newTally();
  tally.outcomes[OK] = 7;
  tally.putOff[6] = 4;
  tally.in = 7;
  Object.assign(curveStep(tally, 0), { in: 3, outcomes: { 6: 4, 0: 3 } });
  Object.assign(curveStep(tally, CURVE_STEP), { in: 4, outcomes: { 0: 4 } });
  const row = stormRow(tally, 0, 9, CURVE_STEP);
  expect(row).toMatchObject({ in: 7, still_outside: 2, failed: 2, put_off: { BUSY: 4 } });
  expect(row.curve).toEqual([
    { at: 0.1, in: 3, later: 4, unanswered: 0, answers: { OK: 3, BUSY: 4 } },
    { at: 0.2, in: 7, later: 0, unanswered: 0, answers: { OK: 4 } },
  ]);
});

test('too few open files are told with what is needed', () => {
  const limits =
    'Max processes 5 5 processes\nMax open files            1024                 4096                 files\n';
  expect(roomForConnections(limits)).toBe(924);
  expect(roomForConnections('')).toBe(Infinity);
  expect(() => checkOpenFiles(924, 0, 924)).not.toThrow();
  expect(() => checkOpenFiles(600, 400, 924)).toThrow(
    /600 connections need 1100 open files, .* 1024: ulimit -n 1100/,
  );
});
