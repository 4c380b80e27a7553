// The view of learning curves: the chart, what it says of a point, and its values as a table.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Found } from "./chart";
import { Chart } from "./chart";
import * as format from "./format";
import type { Drawn } from "./lines";
import type { Run } from "./model";
import { fetching, following, picture } from "./picture";
import { asTable, axis, logarithmic, metric, model, useValue } from "./state";

export function CurvesView() {
  const shown = useValue(picture);
  const table = useValue(asTable);
  const log = useValue(logarithmic);
  const along = useValue(axis);
  const label = useValue(metric)?.title ?? "metric";
  const root = useRef<HTMLDivElement>(null);
  const [point, setPoint] = useState<Found | null>(null);
  useEffect(fetching, []);
  useEffect(following, []);
  const drawn = !table && shown.state === "ready";
  useLayoutEffect(() => {
    if (!drawn) return;
    const chart = new Chart(root.current!, setPoint);
    return () => chart.close();
  }, [drawn, log, along]);
  if (shown.state === "loading") return <p class="quiet">Reading the curves…</p>;
  if (shown.state === "empty") return <p class="quiet">No epoch has ended yet. The first values appear here, those inside of the first epoch by step.</p>;
  if (table) return <CurvesTable lines={shown.lines} />;
  const run = point && model.byNumber.get(point.run);
  return (
    <div class="chart">
      <div
        ref={root}
        class="canvas"
        role="img"
        aria-label={`${label} of ${format.count(shown.lines.length, "run")}, by ${along}. The button Table shows the values.`}
      />
      {run && <Tip run={run} point={point} label={label} left={point.left > root.current!.clientWidth / 2} />}
    </div>
  );
}

function Tip({ run, point, label, left }: { run: Run; point: Found; label: string; left: boolean }) {
  const along = axis.peek() === "time" ? format.duration(point.x) : `${axis.peek()} ${point.x.toLocaleString("en")}`;
  return (
    <div class={`tip ${left ? "left" : ""}`} style={{ left: `${point.left}px`, top: `${point.top}px` }}>
      <div class="tip-head"><b>run {run.number}</b> <span>{along}</span></div>
      <div class="tip-value"><span>{label}</span> <b>{format.metric(point.value)}</b></div>
      {model.knobs.slice(0, 8).map(({ short }, i) => (
        <div key={short}><span>{short}</span> {format.knob(run.knobs[i])}</div>
      ))}
    </div>
  );
}

/** The chart's values: a row for each x, a column for each of the first runs of the table. */
function CurvesTable({ lines }: { lines: Drawn[] }) {
  const shown = lines.slice(0, 30);
  const xs = [...new Set(shown.flatMap((line) => Array.prototype.slice.call(line.xs, 0, line.length) as number[]))].sort((a, b) => a - b);
  const values = shown.map((line) => new Map(Array.from({ length: line.length }, (_, i) => [line.xs[i]!, line.raw[i]!])));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Values of the curves">
      <table class="plain">
        {lines.length > shown.length && <caption>The first {shown.length} of {format.count(lines.length, "run")}</caption>}
        <thead><tr><th scope="col">{axis.peek()}</th>{shown.map(({ run }) => <th key={run} scope="col">run {run}</th>)}</tr></thead>
        <tbody>
          {xs.map((x) => (
            <tr key={x}>
              <th scope="row">{axis.peek() === "time" ? format.duration(x) : Number(x.toPrecision(6))}</th>
              {values.map((known, i) => <td key={i}>{format.metric(known.get(x))}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
