// Parallel coordinates: an axis for each knob that varies and one for the metric, a line for each run. Dragging
// along an axis leaves only the runs that pass there, in all views.
import { computed } from "@preact/signals-core";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import * as format from "./format";
import type { Run } from "./model";
import {
  asTable, best, brushes, colours, filtered, hovered, metric, model, opened, positions, useValue, visible,
} from "./state";
import { theme } from "./theme";

const MOST = 10; // axes
const DECADES = 20; // times the smallest value; an axis that spans more is logarithmic
const [TOP, BOTTOM, SIDE] = [34, 22, 56];

interface Axis { name: string; head: string; value: (run: Run) => number | undefined; ticks: { at: number; text: string }[] }

/** Axes over all runs that pass the filter; `value` is a place from 0 (below) to 1. */
const axes = computed<Axis[]>(() => {
  const runs = filtered.value;
  const found: Axis[] = [];
  model.knobs.forEach(({ path, short }, at) => {
    const values = runs.map((run) => run.knobs[at]).filter((value) => value !== undefined);
    if (found.length >= MOST || new Set(values.map((value) => JSON.stringify(value))).size < 2) return;
    if (values.every((value) => typeof value === "number")) {
      found.push(numeric(`knob:${path}`, short, values as number[], (run) => run.knobs[at] as number | undefined));
    } else {
      const texts = [...new Set(values.map((value) => format.knob(value)))].sort();
      const place = new Map(texts.map((text, i) => [text, texts.length > 1 ? i / (texts.length - 1) : 0.5]));
      found.push({
        name: `knob:${path}`, head: short, ticks: texts.length > 12 ? [] : texts.map((text) => ({ at: place.get(text)!, text })),
        value: (run) => (run.knobs[at] === undefined ? undefined : place.get(format.knob(run.knobs[at]))),
      });
    }
  });
  const shown = metric.value;
  if (shown) {
    const values = runs.map((run) => run.metrics.get(shown.key)).filter((value): value is number => Number.isFinite(value));
    if (values.length) found.push(numeric(`metric:${shown.key}`, shown.title, values, (run) => run.metrics.get(shown.key)));
  }
  positions.clear();
  for (const { name, value } of found) positions.set(name, (run) => value(run) ?? NaN);
  return found;
});

function numeric(name: string, head: string, values: number[], of: (run: Run) => number | undefined): Axis {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const log = low > 0 && high >= DECADES * low;
  const scale = log ? Math.log10 : (value: number) => value;
  const [from, to] = [scale(low), scale(high)];
  const place = (value: number) => (to > from ? (scale(value) - from) / (to - from) : 0.5);
  const distinct = [...new Set(values)];
  const marks = distinct.length <= 6 ? distinct : log ? decades(low, high) : [low, low + (high - low) / 2, high];
  return {
    name, head, ticks: marks.map((value) => ({ at: place(value), text: format.short(Number(value.toPrecision(4))) })),
    value: (run) => {
      const value = of(run);
      return value === undefined || !Number.isFinite(value) ? undefined : place(value);
    },
  };
}

function decades(low: number, high: number): number[] {
  const found = [low];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) found.push(10 ** power);
  return [...found, high].filter((value, i, all) => i === 0 || i === all.length - 1 || (value / low > 1.6 && high / value > 1.6));
}

export function ParallelView() {
  const shown = useValue(axes);
  const runs = useValue(visible);
  const all = useValue(filtered);
  const hues = useValue(colours);
  const over = useValue(hovered);
  const first = useValue(best);
  const ranges = useValue(brushes);
  const look = useValue(theme);
  const table = useValue(asTable);
  const root = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [drag, setDrag] = useState<{ axis: number; from: number; to: number } | null>(null);
  useLayoutEffect(() => {
    if (!root.current) return;
    const sized = new ResizeObserver(() => setSize({ width: root.current!.clientWidth, height: root.current!.clientHeight }));
    sized.observe(root.current);
    return () => sized.disconnect();
  }, [table, shown.length > 1]);
  const { width, height } = size;
  const x = (i: number) => SIDE + (shown.length > 1 ? (i / (shown.length - 1)) * (width - 2 * SIDE) : 0);
  const y = (at: number) => height - BOTTOM - at * (height - TOP - BOTTOM);
  useLayoutEffect(() => {
    const element = canvas.current;
    if (!element || !width) return;
    const ratio = devicePixelRatio;
    element.width = width * ratio;
    element.height = height * ratio;
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    context.lineJoin = "round";
    const draw = (run: Run, colour: string, alpha: number, thick: number) => {
      context.strokeStyle = colour;
      context.globalAlpha = alpha;
      context.lineWidth = thick;
      context.beginPath();
      let pen = false;
      shown.forEach((axis, i) => {
        const at = axis.value(run);
        if (at === undefined) pen = false;
        else if (pen) context.lineTo(x(i), y(at));
        else {
          context.moveTo(x(i), y(at));
          pen = true;
        }
      });
      context.stroke();
    };
    const merits = runs.map((run) => model.merit(run)).filter((value) => !Number.isNaN(value)).sort((a, b) => model.compare(a, b));
    const good = merits[Math.floor(merits.length / 10)]; // the best tenth is set off
    const faint = Math.max(0.04, Math.min(0.9, 60 / Math.max(1, runs.length)));
    for (const run of runs) if (!hues.has(run.number)) draw(run, look.line, faint, 1);
    if (!hues.size && good !== undefined) {
      for (const run of runs) if (model.compare(model.merit(run), good) <= 0) draw(run, look.accent, Math.max(0.15, faint), 1.25);
    }
    for (const run of runs) if (hues.has(run.number)) draw(run, look.hues[hues.get(run.number)!]!, 0.95, 1.75);
    for (const run of runs) {
      if (run.number === first && !hues.has(run.number)) draw(run, look.accent, 1, 2);
      if (run.number === over) draw(run, look.hues[hues.get(run.number) ?? -1] ?? look.accent, 1, 3);
    }
  }, [shown, runs, hues, over, first, look, width, height]);

  if (shown.length < 2) return <p class="quiet">{all.length ? "No knob varies between these runs." : "No run matches."}</p>;
  if (table) return <ParallelTable axes={shown} runs={runs} />;
  const nearest = (px: number, py: number): Run | null => {
    const place = Math.max(0, Math.min(shown.length - 2, Math.floor(((px - SIDE) / (width - 2 * SIDE)) * (shown.length - 1))));
    const part = (px - x(place)) / (x(place + 1) - x(place));
    let [found, distance]: [Run | null, number] = [null, 10];
    for (const run of runs) {
      const [a, b] = [shown[place]!.value(run), shown[place + 1]!.value(run)];
      if (a === undefined || b === undefined) continue;
      const far = Math.abs(y(a + (b - a) * part) - py);
      if (far < distance) [found, distance] = [run, far];
    }
    return found;
  };
  const place = (event: PointerEvent) => {
    const box = root.current!.getBoundingClientRect();
    return { px: event.clientX - box.left, py: event.clientY - box.top };
  };
  const unit = (py: number) => Math.max(0, Math.min(1, (height - BOTTOM - py) / (height - TOP - BOTTOM)));
  return (
    <div
      class="chart"
      ref={root}
      onPointerMove={(event) => {
        const { px, py } = place(event);
        if (drag) setDrag({ ...drag, to: unit(py) });
        else hovered.value = nearest(px, py)?.number ?? null;
      }}
      onPointerLeave={() => (hovered.value = null)}
      onPointerUp={() => {
        if (!drag) return;
        const [low, high] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
        const next = new Map(brushes.peek());
        next.delete(shown[drag.axis]!.name);
        if (high - low > 0.015) next.set(shown[drag.axis]!.name, [low, high]);
        brushes.value = next;
        setDrag(null);
      }}
      onClick={() => !drag && hovered.peek() !== null && (opened.value = hovered.peek())}
    >
      <canvas ref={canvas} role="img" aria-label={`${format.count(runs.length, "run")} over ${shown.map(({ head }) => head).join(", ")}. The button table shows the values.`} />
      <svg width={width} height={height} aria-hidden="true">
        {shown.map((axis, i) => {
          const range = drag?.axis === i ? [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)] : ranges.get(axis.name);
          const anchor = i === shown.length - 1 ? "end" : i === 0 ? "start" : "middle";
          const shift = anchor === "end" ? SIDE - 8 : anchor === "start" ? 8 - SIDE : 0;
          return (
            <g key={axis.name} transform={`translate(${x(i)})`}>
              <text class="head" y={16} x={shift} text-anchor={anchor}>{axis.head}</text>
              <line y1={TOP} y2={height - BOTTOM} />
              {axis.ticks.map(({ at, text }) => <text key={text} x={i === shown.length - 1 ? 8 : -8} y={y(at) + 4} text-anchor={i === shown.length - 1 ? "start" : "end"}>{text.length > 14 ? `${text.slice(0, 13)}…` : text}</text>)}
              {range && <rect class="brush" x={-7} width={14} y={y(range[1]!)} height={Math.max(1, y(range[0]!) - y(range[1]!))} />}
              <rect
                class="grip"
                x={-14}
                width={28}
                y={TOP}
                height={Math.max(0, height - TOP - BOTTOM)}
                onPointerDown={(event) => {
                  (event.currentTarget as Element).setPointerCapture(event.pointerId);
                  const from = unit(place(event).py);
                  setDrag({ axis: i, from, to: from });
                }}
                onClick={(event) => event.stopPropagation()}
              />
            </g>
          );
        })}
      </svg>
    </div>
  );
}

function ParallelTable({ axes: shown, runs }: { axes: Axis[]; runs: Run[] }) {
  const first = runs.slice(0, 200);
  const label = metric.peek();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Values of the parallel coordinates">
      <table class="plain">
        {runs.length > first.length && <caption>The first {first.length} of {format.count(runs.length, "run")}</caption>}
        <thead><tr><th scope="col">run</th>{shown.map(({ name, head }) => <th key={name} scope="col">{head}</th>)}</tr></thead>
        <tbody>
          {first.map((run) => (
            <tr key={run.number}>
              <th scope="row">{run.number}</th>
              {shown.map(({ name }) => <td key={name}>{name.startsWith("knob:") ? format.knob(run.knobs[model.knobs.findIndex(({ path }) => `knob:${path}` === name)]) : format.metric(run.metrics.get(label!.key))}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
