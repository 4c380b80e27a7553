// What the person looks at: one selection, one filter and one order, shared by all views and kept in the URL.
import { batch, computed, effect, signal } from "@preact/signals-core";
import type { ReadonlySignal } from "@preact/signals-core";
import { useLayoutEffect, useState } from "preact/hooks";
import { condition } from "./condition";
import type { Metric, Run } from "./model";
import { Model, STATES } from "./model";
import type { Source } from "./source";
import { CurveCache } from "./series";

export type View = "curves" | "parallel" | "importance" | "rungs" | "requests";
export type Axis = "epoch" | "step" | "time";
export interface Order { column: string; down: boolean }
export interface Form { verb: "stop" | "resume" | "clone" | "delete" | "restore" | "purge" | "keep" | "undo"; runs: number[] }
export interface Notice { text: string; hint: string; bad: boolean; id: number }
export type Brushes = ReadonlyMap<string, readonly [number, number]>;

export const model = new Model();
let source: Source;
export const curves = new CurveCache((split, name) => source.series(split, name));
export const use = (found: Source) => (source = found);
export const from = () => source;

export const view = signal<View>("curves");
export const experiment = signal(""); // empty for that with which the server was started
export const shownMetric = signal(""); // empty for the objective's
export const axis = signal<Axis>("epoch");
export const logarithmic = signal(false);
export const smoothing = signal(0);
export const bands = signal(true);
export const asTable = signal(false);
export const filter = signal("");
export const order = signal<Order>({ column: "run", down: false });
export const whole = signal(false);
export const selection = signal<ReadonlySet<number>>(new Set());
export const cursor = signal<number | null>(null);
export const opened = signal<number | null>(null);
export const hovered = signal<number | null>(null);
export const brushes = signal<Brushes>(new Map());
export const help = signal(false);
export const form = signal<Form | null>(null);
export const notices = signal<readonly Notice[]>([]);
export const loaded = signal(0); // counts the curves that were fetched

/** The signal's value; the component is drawn again when it changes. */
export function useValue<T>(of: ReadonlySignal<T>): T {
  const [, redraw] = useState(0);
  const value = of.peek();
  useLayoutEffect(() => {
    let first = true;
    return effect(() => {
      const now = of.value;
      if (!first || now !== value) redraw((count) => count + 1);
      first = false;
    });
  }, [of]);
  return value;
}

// Runs in the order of the table

export const tested = computed(() => {
  model.version.value;
  return condition(filter.value, model.metrics, model.knobs);
});

export const present = computed<Run[]>(() => {
  model.version.value;
  const all = whole.value;
  return all ? [...model.runs] : model.runs.filter((run) => run.listed && run.state !== "deleted");
});

export const filtered = computed<Run[]>(() => {
  const { test } = tested.value;
  const runs = present.value;
  return test ? runs.filter(test) : runs;
});

export const visible = computed<Run[]>(() => {
  const ranges = [...brushes.value];
  const runs = ranges.length
    ? filtered.value.filter((run) => ranges.every(([name, [low, high]]) => within(name, run, low, high)))
    : filtered.value;
  return sorted(runs, order.value);
});

export const best = computed<number | null>(() => {
  model.version.value;
  let found: Run | null = null;
  for (const run of model.runs) {
    const merit = model.merit(run);
    if (run.listed && !Number.isNaN(merit) && (!found || model.compare(merit, model.merit(found)) < 0)) found = run;
  }
  return found?.number ?? null;
});

/** How a run's value is placed on an axis of parallel coordinates; set by that view. */
export const positions = new Map<string, (run: Run) => number>();

function within(name: string, run: Run, low: number, high: number): boolean {
  const at = positions.get(name)?.(run);
  return at === undefined || (at >= low && at <= high);
}

export function column(name: string): (run: Run) => unknown {
  if (name === "run") return (run) => run.number;
  if (name === "state") return (run) => STATES.indexOf(run.state);
  if (name === "epoch") return (run) => run.epoch;
  if (name === "best") return (run) => run.best?.value;
  if (name.startsWith("metric:")) {
    const key = name.slice(7);
    return (run) => run.metrics.get(key);
  }
  const at = model.knobs.findIndex(({ path }) => `knob:${path}` === name);
  return (run) => run.knobs[at];
}

function sorted(runs: Run[], { column: name, down }: Order): Run[] {
  const value = column(name);
  const keyed = runs.map((run) => ({ run, key: value(run) }));
  const sign = down ? -1 : 1;
  keyed.sort((a, b) => {
    const [left, right] = [rank(a.key), rank(b.key)];
    if (left !== right) return left - right; // what has no value comes last in both directions
    if (left === 0) return sign * ((a.key as number) - (b.key as number)) || a.run.number - b.run.number;
    if (left === 1 && a.key !== b.key) {
      const [one, other] = [text(a.key), text(b.key)];
      if (one !== other) return one < other ? -sign : sign;
    }
    return a.run.number - b.run.number;
  });
  return keyed.map(({ run }) => run);
}

function rank(key: unknown): number {
  if (typeof key === "number") return Number.isNaN(key) ? 2 : 0;
  return key === undefined || key === null ? 3 : 1;
}

const text = (key: unknown) => (typeof key === "string" ? key : JSON.stringify(key));

export const metric = computed<Metric | undefined>(() => {
  model.version.value;
  const key = shownMetric.value || model.objective.key;
  return model.metrics.find((each) => each.key === key) ?? model.metrics[0];
});

// Colours: selected runs keep theirs; few runs have one each without being selected.

export const HUES = 8;
export const FEW = 12;
const slots = new Map<number, number>();

export const colours = computed<ReadonlyMap<number, number>>(() => {
  const chosen = selection.value.size
    ? [...selection.value]
    : present.value.length <= FEW
      ? present.value.map((run) => run.number)
      : [];
  const kept = new Set(chosen);
  for (const run of [...slots.keys()]) if (!kept.has(run)) slots.delete(run);
  const uses = new Array<number>(HUES).fill(0);
  for (const slot of slots.values()) uses[slot]! += 1;
  for (const run of chosen) {
    if (slots.has(run)) continue;
    const slot = uses.indexOf(Math.min(...uses));
    slots.set(run, slot);
    uses[slot]! += 1;
  }
  return new Map(slots);
});

// Actions

export function toggle(run: number): void {
  const next = new Set(selection.peek());
  if (!next.delete(run)) next.add(run);
  selection.value = next;
}

export function select(runs: Iterable<number>): void {
  selection.value = new Set(runs);
}

/** The runs that an action is about: the selected ones, or else the one under the cursor. */
export function acting(): number[] {
  if (selection.peek().size) return [...selection.peek()].sort((a, b) => a - b);
  const one = opened.peek() ?? cursor.peek();
  return one === null ? [] : [one];
}

export function sortBy(name: string): void {
  const { column: now, down } = order.peek();
  const merit = name === "best" || name === `metric:${model.objective.key}`;
  const first = merit && model.objective.direction === "max";
  order.value = now === name ? { column: name, down: !down } : { column: name, down: first };
}

export function notify(text: string, hint = "", bad = false): void {
  const notice = { text, hint, bad, id: Math.random() };
  notices.value = [...notices.peek().slice(-3), notice];
  window.setTimeout(() => dismiss(notice.id), bad ? 12000 : 5000);
}

export function dismiss(id: number): void {
  notices.value = notices.peek().filter((each) => each.id !== id);
}

// The URL

const VIEWS: View[] = ["curves", "parallel", "importance", "rungs", "requests"];

export function read(): void {
  const found = new URLSearchParams(location.hash.slice(1));
  const numbers = (name: string) => (found.get(name) ?? "").split(",").map(Number).filter((each) => Number.isInteger(each) && each > 0);
  batch(() => {
    experiment.value = found.get("experiment") ?? "";
    view.value = VIEWS.find((each) => each === found.get("view")) ?? "curves";
    shownMetric.value = found.get("metric") ?? "";
    axis.value = (["step", "time"] as Axis[]).find((each) => each === found.get("x")) ?? "epoch";
    logarithmic.value = found.has("log");
    smoothing.value = Math.min(0.99, Math.max(0, Number(found.get("smooth")) || 0));
    bands.value = !found.has("lines");
    asTable.value = found.has("table");
    filter.value = found.get("where") ?? "";
    whole.value = found.has("all");
    const by = found.get("sort") ?? "run";
    order.value = { column: by.replace(/^-/, ""), down: by.startsWith("-") };
    select(ranges(found.get("runs") ?? ""));
    opened.value = numbers("run")[0] ?? null;
  });
}

function ranges(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const found = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(part);
    if (!found) return [];
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    return Array.from({ length: Math.max(0, Math.min(last - first + 1, 100_000)) }, (_, i) => first + i);
  });
}

export function spans(runs: Iterable<number>): string {
  const sortedRuns = [...runs].sort((a, b) => a - b);
  const found: string[] = [];
  for (let i = 0; i < sortedRuns.length; ) {
    let end = i;
    while (sortedRuns[end + 1] === sortedRuns[end]! + 1) end++;
    found.push(end > i ? `${sortedRuns[i]}-${sortedRuns[end]}` : `${sortedRuns[i]}`);
    i = end + 1;
  }
  return found.join(",");
}

/** Looks at another experiment in the same directory, with a view of its own. */
export function change(name: string): void {
  history.replaceState(null, "", `#${new URLSearchParams({ experiment: name })}`);
  location.reload();
}

export function remember(): void {
  effect(() => {
    const { column: by, down } = order.value;
    const parts: [string, string | false][] = [
      ["experiment", experiment.value],
      ["view", view.value !== "curves" && view.value],
      ["metric", shownMetric.value],
      ["x", axis.value !== "epoch" && axis.value],
      ["log", logarithmic.value && "1"],
      ["smooth", smoothing.value > 0 && String(smoothing.value)],
      ["lines", !bands.value && "1"],
      ["table", asTable.value && "1"],
      ["where", filter.value],
      ["all", whole.value && "1"],
      ["sort", (by !== "run" || down) && `${down ? "-" : ""}${by}`],
      ["runs", spans(selection.value)],
      ["run", opened.value !== null && String(opened.value)],
    ];
    const hash = String(new URLSearchParams(parts.filter((each): each is [string, string] => !!each[1])));
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  });
  window.addEventListener("hashchange", () => {
    const before = experiment.peek();
    read();
    if (experiment.peek() !== before) location.reload();
  });
}
