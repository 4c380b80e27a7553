// What is shown: a header, one of several views above, the table of runs below, and one run beside them.
import { render } from "preact";
import { CurvesView } from "./curves";
import { Dialogs } from "./forms";
import { Header } from "./header";
import { listen } from "./keyboard";
import type { Problem } from "./model";
import { ImportanceView } from "./importance";
import { ParallelView } from "./parallel";
import { RequestsView } from "./requests";
import { RungsView } from "./rungs";
import { Drawer } from "./run";
import { connection } from "./source";
import type { Source } from "./source";
import {
  asTable, axis, bands, dismiss, experiment, from, logarithmic, model, notices, opened, shownMetric, smoothing, useValue, view,
} from "./state";
import type { Axis, View } from "./state";
import { Runs, TableBar } from "./table";
import { follow } from "./theme";
import type { Scheme } from "./theme";

const TITLES: Record<View, string> = { curves: "Curves", parallel: "Parallel", importance: "Importance", rungs: "Rungs", requests: "Requests" };

const SILENT: Record<Source["kind"], { title: string; text: string }> = {
  server: { title: "The server does not answer", text: "Is `rapidfire web` still running? This page tries again every second." },
  kernel: { title: "The kernel does not answer", text: "It may be busy with another cell. If it was restarted, run this cell again." },
  report: { title: "", text: "" },
};
const CONNECTING = { title: "Connecting…", text: "The experiment is about to be shown." };

function Page() {
  const phase = useValue(model.phase);
  const run = useValue(opened);
  const state = useValue(connection);
  useValue(model.version);
  if (state === "refused") return <Message title="This page is not let in any more" text="Another server answers at this address. Open the URL that `rapidfire web` printed." />;
  if (phase.kind === "connecting") {
    return <Message {...(state === "lost" ? SILENT[from().kind] : CONNECTING)} />;
  }
  if (phase.kind === "empty" && experiment.peek()) return <Message title="No such experiment" text={`There is no experiment \`${experiment.peek()}\` beside the others any more. Open the page without it: ${location.origin}/`} />;
  if (phase.kind === "empty") return <Message title="No experiment yet" text={`Start one with \`${from().kind === "kernel" ? "run_fit" : "rapidfire fit FILE"}\`. It is shown as soon as it begins.`} />;
  if (phase.kind === "problem") return <Problems problems={phase.problems} />;
  return (
    <div class={`page ${run !== null && model.byNumber.has(run) ? "with-drawer" : ""}`}>
      <Header />
      <div class="views" role={from().kind === "kernel" ? undefined : "main"}>
        <section class="panel"><Toolbar /><Body /></section>
        <section class="panel"><TableBar /><Runs /></section>
      </div>
      <Drawer />
      <Dialogs />
      <Notices />
    </div>
  );
}

function Body() {
  const shown = useValue(view);
  if (shown === "parallel") return <ParallelView />;
  if (shown === "importance") return <ImportanceView />;
  if (shown === "rungs") return <RungsView />;
  if (shown === "requests") return <RequestsView />;
  return <CurvesView />;
}

function Toolbar() {
  const shown = useValue(view);
  return (
    <div class="toolbar">
      <div class="tabs" role="tablist" aria-label="View">
        {Object.entries(TITLES).map(([name, title]) => (
          <button key={name} role="tab" aria-selected={shown === name} onClick={() => (view.value = name as View)}>{title}</button>
        ))}
      </div>
      <span class="spacer" />
      {shown !== "requests" && <ChartOptions shown={shown} />}
    </div>
  );
}

function ChartOptions({ shown }: { shown: View }) {
  const metric = useValue(shownMetric);
  const along = useValue(axis);
  const log = useValue(logarithmic);
  const smooth = useValue(smoothing);
  const banded = useValue(bands);
  const table = useValue(asTable);
  useValue(model.version);
  const replicates = model.runs.some((run) => run.replicate > 0);
  return (
    <>
      {shown !== "rungs" && (
        <select aria-label="Metric" value={metric || model.objective.key} onChange={(event) => (shownMetric.value = event.currentTarget.value === model.objective.key ? "" : event.currentTarget.value)}>
          {model.metrics.map(({ key, title }) => <option key={key} value={key}>{title}</option>)}
        </select>
      )}
      {shown === "curves" && (
        <>
          <div class="segments" role="group" aria-label="Horizontal axis">
            {(["epoch", "step", "time"] as Axis[]).map((each) => <button key={each} aria-pressed={along === each} onClick={() => (axis.value = each)}>{each}</button>)}
          </div>
          <label class="slider" title="Exponential moving average">smooth <input type="range" min={0} max={0.95} step={0.05} value={smooth} onInput={(event) => (smoothing.value = Number(event.currentTarget.value))} /></label>
          <button class="toggle" aria-pressed={log} onClick={() => (logarithmic.value = !log)}>log</button>
          {replicates && <button class="toggle" aria-pressed={banded} onClick={() => (bands.value = !banded)} title="Mean and range of replicates">bands</button>}
        </>
      )}
      {shown !== "importance" && <button class="toggle" aria-pressed={table} onClick={() => (asTable.value = !table)} title="The values as a table (t)">table</button>}
    </>
  );
}

function Message({ title, text }: { title: string; text: string }) {
  return <div class="message" role="status"><h1>{title}</h1><p>{code(text)}</p></div>;
}

function code(text: string) {
  return text.split("`").map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part));
}

function Problems({ problems }: { problems: Problem[] }) {
  return (
    <div class="message" role="alert">
      <h1>The experiment cannot be read</h1>
      {problems.map((each, i) => (
        <div key={i}>
          <p><b>{each.code}</b> {code(each.message)}</p>
          {each.found && <p class="dim">found: {each.found}</p>}
          {each.expected && <p class="dim">expected: {each.expected}</p>}
          {each.hint && <p>{code(each.hint)}</p>}
        </div>
      ))}
      <p class="dim">It is read again whenever the journal changes.</p>
    </div>
  );
}

function Notices() {
  const shown = useValue(notices);
  return (
    <div class="notices" role="status" aria-live="polite">
      {shown.map(({ id, text, hint, bad }) => (
        <div key={id} class={bad ? "bad" : ""}>
          <pre>{text}</pre>{hint && <small>{code(hint)}</small>}
          <button class="icon" aria-label="dismiss" onClick={() => dismiss(id)}>×</button>
        </div>
      ))}
    </div>
  );
}

/** Shows the page in `root`, with its colours set at `host`; a function that ends it. */
export function show(around: Document | ShadowRoot, host: HTMLElement, root: HTMLElement, scheme: Scheme): () => void {
  const ends = [follow(host, scheme), listen(around)];
  render(<Page />, root);
  return () => {
    render(null, root);
    for (const end of ends) end();
  };
}
