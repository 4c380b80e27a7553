// The table of runs. Only the rows in sight are in the document, so ten thousand cost as much as thirty.
import { computed, effect } from "@preact/signals-core";
import { useEffect, useRef, useState } from "preact/hooks";
import * as format from "./format";
import type { Plain, Run } from "./model";
import { LINEAGE } from "./model";
import {
  acting, best, brushes, colours, cursor, filter, filtered, form, from, hovered, model, opened, order, present, select,
  selection, sortBy, tested, toggle, useValue, visible, whole,
} from "./state";

const ROW = 30; // pixels, as in the style sheet
const MORE = 12; // rows beyond those in sight

interface Column { name: string; head: string; about?: string; right: boolean; width: number; cell: (run: Run) => preact.ComponentChild }

const columns = computed<Column[]>(() => {
  model.version.value;
  const goal = model.objective.key;
  const several = model.runs.some((run) => run.best && run.epoch > 1);
  const found: Column[] = [
    { name: "run", head: "run", right: true, width: 92, cell: (run) => <Name run={run} /> },
    { name: "state", head: "state", right: false, width: 116, cell: (run) => <StateMark run={run} /> },
    { name: "epoch", head: "epoch", right: true, width: 132, cell: (run) => <Progress run={run} /> },
  ];
  const add = (key: string, title: string) =>
    found.push({ name: `metric:${key}`, head: title, right: true, width: width(title, 78), cell: (run) => format.metric(run.metrics.get(key)) });
  for (const { key, title } of model.metrics.filter((each) => each.key === goal)) {
    add(key, title);
    if (several) {
      const head = `best ${title}`;
      found.push({
        name: "best", head, right: true, width: width(head, 108),
        cell: (run) => (run.best ? <>{format.metric(run.best.value)} <small>@ {run.best.epoch}</small></> : format.NOTHING),
      });
    }
  }
  model.knobs.forEach(({ path, short }, at) => {
    const sample = model.runs.slice(0, 200).map((run) => run.knobs[at]);
    const right = sample.every((value) => value === undefined || value === null || typeof value === "number");
    const widest = Math.max(...sample.map((value: Plain | undefined) => format.knob(value).length), 1);
    found.push({
      name: `knob:${path}`, head: short, about: path, right, width: width(short, Math.min(240, 24 + 7.5 * widest)),
      cell: (run) => <span title={format.knob(run.knobs[at])}>{format.knob(run.knobs[at])}</span>,
    });
  });
  for (const { key, title } of model.metrics) if (key !== goal) add(key, title);
  return found;
});

const width = (head: string, least: number) => Math.max(least, 34 + 7 * head.length);

function Name({ run }: { run: Run }) {
  const parent = run.origin?.run;
  return (
    <>
      {run.number === best.value && <span class="star" title="best run" role="img" aria-label="best">★</span>}
      {parent !== undefined && <small class="parent" title={`${LINEAGE[run.origin!.why]} run ${parent}`}>{run.origin!.why === "oom" ? "↻" : "⑂"}{parent}</small>}
      <button class="link" tabIndex={-1} aria-label={`open run ${run.number}`} onClick={(event) => { event.stopPropagation(); cursor.value = run.number; opened.value = run.number; }}>{run.number}</button>
    </>
  );
}

export function StateMark({ run }: { run: Run }) {
  return <span class={`state ${run.state} ${run.training ? "training" : ""}`} title={run.error || undefined}>{run.state}</span>;
}

function Progress({ run }: { run: Run }) {
  const part = run.epochs ? run.epoch / run.epochs : 0;
  return (
    <span class="progress">
      <span class={`bar ${run.state}`} aria-hidden="true"><i style={{ width: `${100 * part}%` }} /></span>
      {run.epoch}/{run.epochs}
    </span>
  );
}

export function Runs() {
  const runs = useValue(visible);
  const shown = useValue(columns);
  const { column: by, down } = useValue(order);
  const chosen = useValue(selection);
  const hues = useValue(colours);
  const at = useValue(cursor);
  const over = useValue(hovered);
  const open = useValue(opened);
  const first = useValue(best);
  const root = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const box = root.current!;
    const sized = new ResizeObserver(() => setHeight(box.clientHeight)); // which may come after the end
    sized.observe(box);
    return () => sized.disconnect();
  }, []);
  useEffect(() => effect(() => {
    const place = visible.peek().findIndex((run) => run.number === cursor.value);
    const box = root.current;
    if (place < 0 || !box) return;
    const [from_, to] = [place * ROW, (place + 1) * ROW];
    if (from_ < box.scrollTop) box.scrollTop = from_;
    else if (to > box.scrollTop + box.clientHeight - ROW - 4) box.scrollTop = to - box.clientHeight + ROW + 4;
  }), []);
  const from_ = Math.max(0, Math.floor(top / ROW) - MORE);
  const to = Math.min(runs.length, Math.ceil((top + height) / ROW) + MORE);
  const all = runs.length > 0 && runs.every((run) => chosen.has(run.number));
  return (
    <div class="runs" ref={root} tabIndex={0} role="region" aria-label="Runs" onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
      <table aria-rowcount={runs.length + 1} style={{ width: `${46 + shown.reduce((sum, each) => sum + each.width, 0)}px` }}>
        <colgroup><col style={{ width: "46px" }} />{shown.map((each) => <col key={each.name} style={{ width: `${each.width}px` }} />)}<col /></colgroup>
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col"><input type="checkbox" aria-label="select all runs in the table" checked={all} onChange={() => select(all ? [] : runs.map((run) => run.number))} /></th>
            {shown.map(({ name, head, about, right }) => (
              <th key={name} scope="col" class={right ? "right" : ""} aria-sort={by === name ? (down ? "descending" : "ascending") : undefined}>
                <button onClick={() => sortBy(name)} title={about ?? head}>{head}<i aria-hidden="true">{by === name ? (down ? "↓" : "↑") : ""}</i></button>
              </th>
            ))}
            <th aria-hidden="true" />
          </tr>
        </thead>
        <tbody>
          {from_ > 0 && <tr aria-hidden="true" style={{ height: `${from_ * ROW}px` }} />}
          {runs.slice(from_, to).map((run, i) => (
            <tr
              key={run.number}
              aria-rowindex={from_ + i + 2}
              aria-selected={chosen.has(run.number)}
              class={classes(run, { chosen: chosen.has(run.number), cursor: run.number === at, over: run.number === over, open: run.number === open, first: run.number === first })}
              onMouseEnter={() => (hovered.value = run.number)}
              onMouseLeave={() => (hovered.value = null)}
              onClick={(event) => {
                cursor.value = run.number;
                if (event.metaKey || event.ctrlKey) toggle(run.number);
                else if (event.shiftKey) extend(run.number, at, runs);
                else opened.value = run.number;
              }}
            >
              <td onClick={(event) => event.stopPropagation()}>
                <label class="pick" style={hues.has(run.number) ? { "--hue": `var(--hue-${hues.get(run.number)})` } : undefined}>
                  <input type="checkbox" tabIndex={-1} aria-label={`select run ${run.number}`} checked={chosen.has(run.number)} onChange={() => { cursor.value = run.number; toggle(run.number); }} />
                  {hues.has(run.number) && <i aria-hidden="true" />}
                </label>
              </td>
              {shown.map(({ name, right, cell }) => <td key={name} class={right ? "right" : ""}>{cell(run)}</td>)}
              <td aria-hidden="true" />
            </tr>
          ))}
          {to < runs.length && <tr aria-hidden="true" style={{ height: `${(runs.length - to) * ROW}px` }} />}
        </tbody>
      </table>
      {runs.length === 0 && <p class="quiet">{model.runs.length ? "No run matches." : "No run has begun yet."}</p>}
    </div>
  );
}

function extend(run: number, anchor: number | null, runs: Run[]): void {
  const places = [runs.findIndex((each) => each.number === anchor), runs.findIndex((each) => each.number === run)].sort((a, b) => a - b);
  select(new Set([...selection.peek(), ...runs.slice(Math.max(0, places[0]!), places[1]! + 1).map((each) => each.number)]));
}

function classes(run: Run, flags: Record<string, boolean>): string {
  const found = Object.keys(flags).filter((flag) => flags[flag]);
  if (!run.listed || run.state === "deleted") found.push("gone");
  return found.join(" ");
}

export function TableBar() {
  const text = useValue(filter);
  const { error } = useValue(tested);
  const matching = useValue(filtered).length;
  const shown = useValue(visible).length;
  const total = useValue(present).length;
  const hidden = model.runs.length - total;
  const all = useValue(whole);
  const chosen = useValue(selection);
  const ranges = useValue(brushes);
  return (
    <div class="table-bar">
      <div class="search">
        <input
          id="filter"
          type="text"
          spellcheck={false}
          autocomplete="off"
          placeholder="Filter: lr > 0.01 and model == &quot;cnn&quot;"
          aria-label="Filter runs by a condition or text"
          aria-invalid={error ? true : undefined}
          aria-describedby={error ? "filter-error" : undefined}
          value={text}
          onInput={(event) => (filter.value = event.currentTarget.value)}
        />
        <kbd aria-hidden="true">/</kbd>
        {error && <div id="filter-error" class="error" role="alert">{error}</div>}
      </div>
      <span class="count">{shown === total ? format.count(total, "run") : `${shown.toLocaleString("en")} of ${format.count(total, "run")}`}</span>
      {ranges.size > 0 && <button class="chip" onClick={() => (brushes.value = new Map())}>{format.count(matching - shown, "run")} brushed away <span aria-hidden="true">×</span></button>}
      {(hidden > 0 || all) && <label class="check"><input type="checkbox" checked={all} onChange={() => (whole.value = !all)} /> deleted and unlisted</label>}
      <span class="spacer" />
      {chosen.size > 0 && <span class="count">{chosen.size} selected <button class="link" onClick={() => select([])}>clear</button></span>}
      {!from().readOnly && <Actions chosen={chosen.size} />}
    </div>
  );
}

function Actions({ chosen }: { chosen: number }) {
  useValue(cursor);
  useValue(opened);
  const runs = acting();
  const ask = (verb: "stop" | "resume" | "clone" | "delete") => (form.value = { verb, runs });
  const about = runs.length ? (chosen > 1 ? `${chosen} runs` : `run ${runs[0]}`) : "no run";
  return (
    <div class="actions" role="group" aria-label={`Requests about ${about}`}>
      {(["stop", "resume", "clone", "delete"] as const).map((verb) => (
        <button key={verb} disabled={!runs.length} onClick={() => ask(verb)} title={`${verb} ${about} (${verb[0]})`}>{verb[0]!.toUpperCase() + verb.slice(1)}</button>
      ))}
    </div>
  );
}
