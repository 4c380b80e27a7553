// What the chart of curves draws: the lines of runs on the chosen axis, and bands over replicates.
import type { Run } from "./model";
import type { Curves, Line } from "./series";
import { smoothed } from "./series";
import type { Axis } from "./state";

export interface Drawn {
  run: number;
  xs: ArrayLike<number>;
  ys: Float32Array;
  raw: Float32Array; // before smoothing
  length: number;
}

export interface Band { runs: number[]; xs: number[]; mean: number[]; low: number[]; high: number[] }

export interface Extent { x: [number, number]; y: [number, number]; positive: number }

/** The lines of these runs that have a point. */
export function linesOf(runs: Run[], curves: Curves, times: Curves | undefined, axis: Axis, weight: number): Drawn[] {
  const found: Drawn[] = [];
  for (const { number } of runs) {
    const line = curves.lines.get(number);
    const inside = curves.inside.get(number);
    if (inside && axis !== "time") {
      const both = joined(line, inside, axis);
      const smooth = weight ? smoothed(both.raw, both.length, weight) : both.raw;
      if (both.length) found.push({ run: number, ...both, ys: smooth });
      continue;
    }
    if (!line?.length) continue;
    let xs: ArrayLike<number> = axis === "step" ? line.steps : line.epochs;
    if (axis === "time") {
      const spent = times?.lines.get(number);
      if (!spent) continue;
      const seconds = new Float32Array(line.length).fill(NaN);
      for (let i = 0, j = 0; i < line.length; i++) {
        while (j < spent.length && spent.epochs[j]! < line.epochs[i]!) j++;
        if (j < spent.length && spent.epochs[j] === line.epochs[i]) seconds[i] = spent.values[j]!;
      }
      xs = seconds;
    }
    const ys = weight ? smoothed(line.values, line.length, weight) : line.values;
    found.push({ run: number, xs, ys, raw: line.values, length: line.length });
  }
  return found;
}

/** The values at the ends of epochs and inside of them, by step; an epoch's steps divide it evenly. */
function joined(line: Line | undefined, inside: Line, axis: Axis): { xs: Float64Array; raw: Float32Array; length: number } {
  const ends = line?.length ?? 0;
  const room = ends + inside.length;
  const [xs, raw] = [new Float64Array(room), new Float32Array(room)];
  const end = new Map<number, number>([[0, 0]]); // the step at the end of each epoch
  for (let i = 0; i < ends; i++) end.set(line!.epochs[i]!, line!.steps[i]!);
  let [length, i, j] = [0, 0, 0];
  while (i < ends || j < inside.length) {
    if (j >= inside.length || (i < ends && line!.steps[i]! < inside.steps[j]!)) {
      xs[length] = axis === "step" ? line!.steps[i]! : line!.epochs[i]!;
      raw[length++] = line!.values[i++]!;
      continue;
    }
    const [epoch, step] = [inside.epochs[j]!, inside.steps[j]!];
    const start = end.get(epoch - 1);
    // Until an epoch has ended, it is taken to be as long as those before; of the first nothing is known.
    const steps = start === undefined ? NaN : (end.get(epoch) ?? start + start / (epoch - 1)) - start;
    const x = axis === "step" ? step : epoch - 1 + (step - start!) / steps;
    if (Number.isFinite(x)) {
      xs[length] = x;
      raw[length++] = inside.values[j]!;
    }
    j++;
  }
  return { xs: xs.subarray(0, length), raw: raw.subarray(0, length), length };
}

export function extent(lines: Drawn[]): Extent {
  let [left, right, low, high, positive] = [Infinity, -Infinity, Infinity, -Infinity, Infinity];
  for (const { xs, ys, length } of lines) {
    for (let i = 0; i < length; i++) {
      const x = xs[i]!;
      const y = ys[i]!;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y - y !== 0) continue; // NaN and infinities
      if (y < low) low = y;
      if (y > high) high = y;
      if (y > 0 && y < positive) positive = y;
    }
  }
  return { x: [left, right], y: [low, high], positive };
}

/** The mean of replicates, and the least and largest of them, at each x that any of them has. */
export function bandsOf(lines: Drawn[], leaf: (run: number) => number): Band[] {
  const groups = new Map<number, Drawn[]>();
  for (const line of lines) {
    const group = groups.get(leaf(line.run));
    if (group) group.push(line);
    else groups.set(leaf(line.run), [line]);
  }
  const found: Band[] = [];
  for (const group of groups.values()) {
    if (group.length < 2) continue;
    const at = new Map<number, number[]>();
    for (const { xs, ys, length } of group) {
      for (let i = 0; i < length; i++) {
        if (!Number.isFinite(ys[i])) continue;
        const values = at.get(xs[i]!);
        if (values) values.push(ys[i]!);
        else at.set(xs[i]!, [ys[i]!]);
      }
    }
    const points = [...at].sort(([a], [b]) => a - b);
    found.push({
      runs: group.map(({ run }) => run),
      xs: points.map(([x]) => x),
      mean: points.map(([, values]) => values.reduce((sum, value) => sum + value, 0) / values.length),
      low: points.map(([, values]) => Math.min(...values)),
      high: points.map(([, values]) => Math.max(...values)),
    });
  }
  return found;
}

/** Linear maps from values to pixels; `log` takes the logarithm first. */
export interface Scale { log: boolean; from: number; factor: number; offset: number }

export function scaleOf(low: number, high: number, start: number, end: number, log: boolean): Scale {
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  return { log, from, factor: (end - start) / (to - from || 1), offset: start };
}

export function place(value: number, { log, from, factor, offset }: Scale): number {
  return offset + ((log ? Math.log10(value) : value) - from) * factor;
}

/** The inverse of `place` on a scale that is not logarithmic. */
export function value(at: number, { from, factor, offset }: Scale): number {
  return from + (at - offset) / factor;
}

/** Draws a line; beyond two points to a pixel only the least and the largest of each pixel column. */
export function trace(context: CanvasRenderingContext2D, line: { xs: ArrayLike<number>; ys: ArrayLike<number>; length: number }, x: Scale, y: Scale): void {
  context.beginPath();
  const { xs, ys, length } = line;
  const width = Math.abs(place(xs[length - 1]!, x) - place(xs[0]!, x));
  let pen = false;
  if (length > 2 * width && length > 4) {
    let column = NaN;
    let [low, high] = [Infinity, -Infinity];
    const flush = () => {
      if (!(low <= high)) return;
      if (pen) context.lineTo(column, low);
      else context.moveTo(column, low);
      context.lineTo(column, high);
      pen = true;
    };
    for (let i = 0; i < length; i++) {
      const [px, py] = [Math.round(place(xs[i]!, x)), place(ys[i]!, y)];
      if (px !== column) {
        flush();
        column = px;
        [low, high] = [Infinity, -Infinity];
      }
      if (py < low) low = py;
      if (py > high) high = py;
    }
    flush();
  } else {
    for (let i = 0; i < length; i++) {
      const [px, py] = [place(xs[i]!, x), place(ys[i]!, y)];
      if (!Number.isFinite(py) || !Number.isFinite(px)) {
        pen = false;
      } else if (pen) {
        context.lineTo(px, py);
      } else {
        context.moveTo(px, py);
        pen = true;
        if (length === 1) context.arc(px, py, context.lineWidth, 0, 7);
      }
    }
  }
  context.stroke();
}
