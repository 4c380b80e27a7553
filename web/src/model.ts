// What the page knows about the experiment: a snapshot, and what changed since.
//
// Documents come column by column and name their own metrics and knobs. A run's knobs, id and origin never
// change; everything else is replaced by what came last. `version` counts the merges, so that whatever is
// computed from runs knows when to be computed anew.
import { signal } from "@preact/signals-core";

export type Plain = null | boolean | number | string | Plain[] | { [key: string]: Plain };
export type State =
  | "queued" | "running" | "interrupted" | "stopped" | "completed" | "pruned" | "failed" | "deleted";
export const STATES: State[] = [
  "running", "queued", "interrupted", "stopped", "completed", "pruned", "failed", "deleted",
];
export const UNFINISHED = new Set<State>(["queued", "running", "interrupted"]);

export interface Origin { why: "oom" | "clone" | "proposal" | "fork"; run?: number; place?: number }

/** What a run is to the one that it was made of. */
export const LINEAGE = { clone: "clone of", fork: "fork of", oom: "replaces", proposal: "" };

export interface Run {
  number: number;
  id: string;
  group: number;
  state: State;
  epoch: number;
  epochs: number;
  step: number;
  seed: number;
  replicate: number;
  leaf: number; // the first run with the same leaf config
  listed: boolean;
  training: boolean;
  error: string;
  origin: Origin | null;
  partial: Record<string, number>;
  best: { epoch: number; value: number } | null;
  metrics: Map<string, number>;
  knobs: (Plain | undefined)[]; // undefined where the run lacks the knob
}

export interface Metric { key: string; split: string; name: string; title: string }
export interface Knob { path: string; short: string }
export interface Objective { key: string; metric: string; direction: "min" | "max"; at: "last" | "best" }
export type Point = [run: number, epoch: number, step: number, split: string, name: string, value: number | string | null];

export interface Document {
  seq: number;
  journal?: string;
  requests: number;
  experiment: string;
  directory: string;
  state: State;
  objective: { metric: string; split: string; direction: "min" | "max"; at: "last" | "best" };
  metrics: [string, string][];
  knobs: [string, string][];
  runs: Record<string, unknown[]>;
  points: Point[];
}

export interface Problem { code: string; message: string; found: string | null; expected: string | null; hint: string | null }

export type Phase =
  | { kind: "connecting" }
  | { kind: "empty" }
  | { kind: "problem"; problems: Problem[] }
  | { kind: "ready" };

export const key = (split: string, name: string) => `${split}.${name}`;
export const title = (split: string, name: string) => (split === "validation" ? name : `${split} ${name}`);
export const number = (value: number | string | null): number => (value === null ? NaN : Number(value));

export class Model {
  readonly version = signal(0);
  readonly phase = signal<Phase>({ kind: "connecting" });
  experiment = "";
  directory = "";
  journal = "";
  seq = 0;
  requests = 0;
  state: State = "queued";
  objective: Objective = { key: "", metric: "", direction: "min", at: "last" };
  metrics: Metric[] = [];
  knobs: Knob[] = [];
  runs: Run[] = []; // by number
  byNumber = new Map<number, Run>();
  generation = 0; // counts snapshots

  snapshot(found: Document): void {
    this.runs = [];
    this.byNumber = new Map();
    this.metrics = [];
    this.knobs = found.knobs.map(([path, short]) => ({ path, short }));
    this.experiment = found.experiment;
    this.directory = found.directory;
    this.journal = found.journal ?? "";
    this.generation += 1;
    this.merge(found);
    this.phase.value = { kind: "ready" };
  }

  merge(found: Document): void {
    this.seq = found.seq;
    this.requests = found.requests;
    this.state = found.state;
    const { metric, split, direction, at } = found.objective;
    // A change about runs without any metric cannot say on which split the objective is read.
    if (found.metrics.length || !this.objective.key) {
      this.objective = { key: key(split, metric), metric, direction, at };
    }
    for (const [split, name] of found.metrics) this.know(split, name);
    for (const point of found.points) this.know(point[3], point[4]);
    const columns = found.runs as {
      number: number[]; id: string[]; group: number[]; state: State[]; epoch: number[]; epochs: number[];
      step: number[]; seed: number[]; replicate: number[]; leaf: number[]; listed: boolean[];
      training: boolean[]; error: string[]; origin: (Origin | null)[]; partial: Record<string, number | string>[];
      best: ([number, number | string] | null)[]; metrics: (number | string | null)[][]; knobs: [Plain?][][];
    };
    const keys = found.metrics.map(([split, name]) => key(split, name));
    const places = this.knobs.map(({ path }) => found.knobs.findIndex(([each]) => each === path));
    const touched = new Set(columns.number);
    for (const run of this.runs) if (run.training && !touched.has(run.number)) run.training = false;
    let born = false;
    columns.number.forEach((number_, i) => {
      let run = this.byNumber.get(number_);
      if (!run) {
        run = {
          number: number_, id: columns.id[i]!, group: columns.group[i]!, seed: columns.seed[i]!,
          replicate: columns.replicate[i]!, leaf: columns.leaf[i]!, origin: columns.origin[i]!,
          knobs: places.map((place) => (place < 0 ? undefined : columns.knobs[place]![i]![0])),
          metrics: new Map(), partial: {}, best: null, state: "queued", epoch: 0, epochs: 0, step: 0,
          listed: true, training: false, error: "",
        };
        this.runs.push(run);
        this.byNumber.set(number_, run);
        born = true;
      }
      run.state = columns.state[i]!;
      run.epoch = columns.epoch[i]!;
      run.epochs = columns.epochs[i]!;
      run.step = columns.step[i]!;
      run.listed = columns.listed[i]!;
      run.training = columns.training[i]!;
      run.error = columns.error[i]!;
      run.partial = Object.fromEntries(Object.entries(columns.partial[i]!).map(([name, value]) => [name, number(value)]));
      const best = columns.best[i];
      run.best = best ? { epoch: best[0], value: number(best[1]) } : null;
      keys.forEach((each, at) => {
        const value = columns.metrics[at]![i]!;
        if (value !== null) run.metrics.set(each, number(value));
      });
    });
    if (born) this.runs.sort((a, b) => a.number - b.number);
    this.version.value += 1;
  }

  /** Which of two values of the objective's metric is better: negative where it is the first. */
  compare(a: number, b: number): number {
    return this.objective.direction === "min" ? a - b : b - a;
  }

  /** The value by which the run is ranked; NaN where it has none. */
  merit(run: Run): number {
    if (run.state === "failed" || run.state === "deleted") return NaN;
    if (this.objective.at === "best") return run.best?.value ?? NaN;
    return run.metrics.get(this.objective.key) ?? NaN;
  }

  private know(split: string, name: string): void {
    const found = key(split, name);
    if (!this.metrics.some((each) => each.key === found)) {
      this.metrics.push({ key: found, split, name, title: title(split, name) });
    }
  }
}
