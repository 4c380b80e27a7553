// Curves: what each run measured, epoch by epoch and inside of epochs. Thousands of runs share one buffer until they grow.
import type { Point } from "./model";
import { key, number } from "./model";

export interface Line { epochs: Uint32Array; steps: Uint32Array; values: Float32Array; length: number }

const UNDER_WAY = 2 ** 31; // is added to the epoch of a value inside of it

export class Curves {
  readonly lines = new Map<number, Line>();
  readonly inside = new Map<number, Line>(); // values inside of epochs, which are then those under way
  changes = 0; // counts what was added

  static decode(buffer: ArrayBuffer): Curves {
    const curves = new Curves();
    const [runs, points] = new Uint32Array(buffer, 0, 2) as unknown as [number, number];
    const numbers = new Uint32Array(buffer, 8, runs);
    const counts = new Uint32Array(buffer, 8 + 4 * runs, runs);
    const start = 8 + 8 * runs;
    const epochs = new Uint32Array(buffer, start, points);
    const steps = new Uint32Array(buffer, start + 4 * points, points);
    const values = new Float32Array(buffer, start + 8 * points, points);
    let at = 0;
    const divided = epochs.some((epoch) => epoch >= UNDER_WAY);
    for (let i = 0; i < runs; i++) {
      const end = at + counts[i]!;
      if (divided) for (let j = at; j < end; j++) curves.put(numbers[i]!, epochs[j]!, steps[j]!, values[j]!);
      else curves.lines.set(numbers[i]!, {
        epochs: epochs.subarray(at, end), steps: steps.subarray(at, end), values: values.subarray(at, end),
        length: counts[i]!,
      });
      at = end;
    }
    return curves;
  }

  private put(run: number, epoch: number, step: number, value: number): void {
    if (epoch >= UNDER_WAY) this.add(run, epoch - UNDER_WAY, step, value, true);
    else this.add(run, epoch, step, value);
  }

  /** Adds a value, or replaces the one of the same epoch; of values inside of epochs, the one of the same step. */
  add(run: number, epoch: number, step: number, value: number, inside = false): void {
    const lines = inside ? this.inside : this.lines;
    const line = lines.get(run) ?? { epochs: new Uint32Array(0), steps: new Uint32Array(0), values: new Float32Array(0), length: 0 };
    lines.set(run, line);
    const [places, wanted] = inside ? [line.steps, step] : [line.epochs, epoch];
    let at = line.length;
    while (at > 0 && places[at - 1]! >= wanted) at--;
    if (at < line.length && places[at] === wanted) {
      if (Object.is(line.values[at], Math.fround(value))) return;
    } else {
      if (line.length === line.epochs.length) grow(line);
      line.epochs.copyWithin(at + 1, at, line.length);
      line.steps.copyWithin(at + 1, at, line.length);
      line.values.copyWithin(at + 1, at, line.length);
      line.length += 1;
    }
    line.epochs[at] = epoch;
    line.steps[at] = step;
    line.values[at] = value;
    this.changes += 1;
  }
}

function grow(line: Line): void {
  const room = Math.max(8, 2 * line.length);
  const [epochs, steps, values] = [new Uint32Array(room), new Uint32Array(room), new Float32Array(room)];
  epochs.set(line.epochs.subarray(0, line.length));
  steps.set(line.steps.subarray(0, line.length));
  values.set(line.values.subarray(0, line.length));
  Object.assign(line, { epochs, steps, values });
}

/** The curves that are on the page, by metric; points that come while one is fetched are added to it. */
export class CurveCache {
  private readonly known = new Map<string, Curves>();
  private readonly stale = new Map<string, Curves>(); // shown until they are fetched again
  private readonly fetching = new Map<string, [Point, boolean][]>();

  constructor(private readonly fetch: (split: string, name: string) => Promise<ArrayBuffer>) {}

  get(metric: string): Curves | undefined {
    return this.known.get(metric) ?? this.stale.get(metric);
  }

  has(metric: string): boolean {
    return this.known.has(metric);
  }

  async load(split: string, name: string): Promise<void> {
    const metric = key(split, name);
    if (this.known.has(metric) || this.fetching.has(metric)) return;
    const late: [Point, boolean][] = [];
    this.fetching.set(metric, late);
    try {
      const curves = Curves.decode(await this.fetch(split, name));
      for (const [[run, epoch, step, , , value], inside] of late) curves.add(run, epoch, step, number(value), inside);
      if (this.fetching.get(metric) === late) {
        this.known.set(metric, curves);
        this.stale.delete(metric);
      }
    } finally {
      if (this.fetching.get(metric) === late) this.fetching.delete(metric);
    }
  }

  /** Takes curves that came without being asked for. */
  put(split: string, name: string, packed: ArrayBuffer): void {
    const metric = key(split, name);
    this.fetching.delete(metric);
    this.stale.delete(metric);
    this.known.set(metric, Curves.decode(packed));
  }

  /** Adds ends of epochs, or values inside of them. */
  add(points: Point[], inside = false): void {
    for (const point of points) {
      const metric = key(point[3], point[4]);
      this.known.get(metric)?.add(point[0], point[1], point[2], number(point[5]), inside);
      this.fetching.get(metric)?.push([point, inside]);
    }
  }

  /** Fetch everything again, as changes may have been missed. */
  renew(): void {
    for (const [metric, curves] of this.known) this.stale.set(metric, curves);
    this.known.clear();
    this.fetching.clear();
  }

  clear(): void {
    this.renew();
    this.stale.clear();
  }
}

/** The exponential moving average without the bias of its first values; NaN is left out. */
export function smoothed(values: Float32Array, length: number, weight: number): Float32Array {
  const found = new Float32Array(length);
  let sum = 0;
  let total = 0;
  for (let i = 0; i < length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value)) {
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      found[i] = sum / total;
    } else {
      found[i] = value;
    }
  }
  return found;
}
