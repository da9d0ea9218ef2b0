/** The curve of a storm as text and as SVG: terminals that are in, and attempts that were put off. */
import type { CurvePoint } from './results';

const WIDTH = 72;
const HEIGHT = 12;

/** A column of the plot. */
interface Column {
  readonly in: number;
  readonly later: number;
}

/** Columns of equal time: the last count of terminals that are in, and the sum of attempts put off. */
export function columnsOf(curve: readonly CurvePoint[], width: number): Column[] {
  const columns = Math.min(width, curve.length);
  return Array.from({ length: columns }, (_, i) => {
    const part = curve.slice(
      Math.floor((i * curve.length) / columns),
      Math.floor(((i + 1) * curve.length) / columns),
    );
    return { in: part.at(-1)?.in ?? 0, later: part.reduce((sum, { later }) => sum + later, 0) };
  });
}

/** `#` counts terminals that are in, `o` attempts put off in that time; each has its own scale. Empty without points. */
export function stormPlot(curve: readonly CurvePoint[]): string {
  const columns = columnsOf(curve, WIDTH);
  if (columns.length === 0) return '';
  const mostIn = Math.max(1, ...columns.map((column) => column.in));
  const mostLater = Math.max(1, ...columns.map(({ later }) => later));
  const height = (value: number, most: number): number => Math.ceil((value / most) * HEIGHT);
  const rows = Array.from({ length: HEIGHT }, (_, i) => {
    const row = HEIGHT - i;
    const cells = columns.map((column) => {
      if (height(column.later, mostLater) === row) return 'o';
      return height(column.in, mostIn) >= row ? '#' : ' ';
    });
    const scale = row === HEIGHT ? String(mostIn) : row === 1 ? '0' : '';
    return `${scale.padStart(8)} |${cells.join('').trimEnd()}`;
  });
  const end = `${curve.at(-1)?.at ?? 0} s`;
  const axis = `${' '.repeat(9)}+${'-'.repeat(columns.length)} ${end}`;
  const put = columns.some(({ later }) => later > 0)
    ? `, o attempts put off (at most ${mostLater} a column)`
    : '';
  return [...rows, axis, `${' '.repeat(10)}# terminals in${put}`].join('\n');
}

const BOX = { width: 800, height: 400, left: 70, right: 70, top: 40, bottom: 40 } as const;

/** The same as a drawing, with all points. */
export function stormSvg(curve: readonly CurvePoint[], title: string): string {
  const seconds = Math.max(curve.at(-1)?.at ?? 0, 0.1);
  const mostIn = Math.max(1, ...curve.map((point) => point.in));
  const mostLater = Math.max(1, ...curve.map(({ later }) => later));
  const x = (at: number): string =>
    (BOX.left + (at / seconds) * (BOX.width - BOX.left - BOX.right)).toFixed(1);
  const y = (share: number): string =>
    (BOX.height - BOX.bottom - share * (BOX.height - BOX.top - BOX.bottom)).toFixed(1);
  const line = (value: (point: CurvePoint) => number, most: number): string =>
    [`${x(0)},${y(0)}`, ...curve.map((point) => `${x(point.at)},${y(value(point) / most)}`)].join(' ');
  const text = (at: string, height: string, anchor: string, what: string, color = '#333'): string =>
    `<text x="${at}" y="${height}" text-anchor="${anchor}" fill="${color}">${escaped(what)}</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${BOX.width} ${BOX.height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(String(BOX.width / 2), '20', 'middle', title),
    `<path d="M${x(0)} ${y(1)}V${y(0)}H${x(seconds)}V${y(1)}" fill="none" stroke="#999"/>`,
    `<polyline fill="none" stroke="#c60" points="${line(({ later }) => later, mostLater)}"/>`,
    `<polyline fill="none" stroke="#06c" stroke-width="2" points="${line((point) => point.in, mostIn)}"/>`,
    text(String(BOX.left - 6), y(1), 'end', `${mostIn} in`, '#06c'),
    text(String(BOX.width - BOX.right + 6), y(1), 'start', `${mostLater} later`, '#c60'),
    text(x(seconds), String(BOX.height - 15), 'end', `${seconds} s`),
    '</svg>',
    '',
  ].join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
