// One run: why it is where it is, its config and where each value comes from, its log, its times and failures.
import { useEffect, useState } from "preact/hooks";
import * as format from "./format";
import type { Plain, Run } from "./model";
import { LINEAGE } from "./model";
import { connection, Failure } from "./source";
import type { Json } from "./source";
import { form, from, model, opened, useValue } from "./state";
import { StateMark } from "./table";

interface Knob { knob: string; value: Plain; how: string; at: string | null }
interface Details {
  directory: string;
  provenance: Knob[];
  turns: { count: number; began: number | null; ended: number | null; trained: number; slots: number[] };
  environment: Record<string, Plain>;
  troubles: { at: number; what: string }[];
}

/** What the server says at this path; asked again when the run changed. */
export function useJson<T>(path: string, anew: unknown): { found?: T; failure?: Failure } {
  const [state, set] = useState<{ path: string; found?: T; failure?: Failure }>({ path });
  useEffect(() => {
    let current = true;
    from().json(path).then(
      (found) => current && set({ path, found: found as unknown as T }),
      (failure: Failure) => current && set((before) => ({ path, failure, found: before.path === path ? before.found : undefined })),
    );
    return () => {
      current = false;
    };
  }, [path, anew]);
  return state.path === path ? state : {};
}

export function Drawer() {
  const number = useValue(opened);
  useValue(model.version);
  const run = number === null ? undefined : model.byNumber.get(number);
  if (!run) return null;
  return <RunPage key={run.number} run={run} />;
}

function RunPage({ run }: { run: Run }) {
  const anew = `${run.state} ${run.epoch}`;
  const { found, failure } = useJson<Details>(`runs/${run.number}`, anew);
  const clones = model.runs.filter((each) => each.origin?.why === "clone" && each.origin.run === run.number);
  const parent = run.origin?.run;
  return (
    <aside class="drawer" aria-label={`run ${run.number}`}>
      <div class="drawer-head">
        <h2>Run {run.number}</h2>
        <StateMark run={run} />
        <span class="count">epoch {run.epoch}/{run.epochs}</span>
        <span class="spacer" />
        <button class="icon" aria-label="close" onClick={() => (opened.value = null)}>×</button>
      </div>
      <div class="drawer-body" tabIndex={0} role="region" aria-label="about the run">
        {!from().readOnly && <Verbs run={run} />}
        {run.error && <p class="failure">{run.error}</p>}
        {failure && <p class="failure">{failure.message}</p>}
        <Why run={run} anew={anew} />
        <dl class="facts">
          {parent !== undefined && <><dt>{LINEAGE[run.origin!.why]}</dt><dd><Link to={parent} /></dd></>}
          {clones.length > 0 && <><dt>clones</dt><dd>{clones.map((each) => <Link key={each.number} to={each.number} />)}</dd></>}
          <dt>seed</dt><dd>{run.seed}{run.replicate ? ` (replicate ${run.replicate})` : ""}</dd>
          <dt>id</dt><dd class="mono">{run.id}</dd>
          {found?.turns.began != null && <><dt>began</dt><dd>{format.moment(found.turns.began)}</dd></>}
          {found && found.turns.count > 0 && <><dt>trained</dt><dd>{format.duration(found.turns.trained)} in {format.count(found.turns.count, "turn")}{run.epoch > 0 && `, ${format.short(Number((found.turns.trained / run.epoch).toPrecision(3)))} s per epoch`}</dd></>}
          {found && <><dt>directory</dt><dd class="mono wrap">{found.directory}</dd></>}
        </dl>
        <h3>Metrics</h3>
        <table class="plain">
          <tbody>
            {model.metrics.map(({ key, title }) => <tr key={key}><th scope="row">{title}</th><td>{format.metric(run.metrics.get(key))}</td></tr>)}
            {Object.entries(run.partial).map(([name, value]) => <tr key={`partial ${name}`}><th scope="row">train {name} so far</th><td>{format.metric(value)}</td></tr>)}
            {run.best && <tr><th scope="row">best {model.objective.metric}</th><td>{format.metric(run.best.value)} @ {run.best.epoch}</td></tr>}
          </tbody>
        </table>
        {found && found.troubles.length > 0 && <Troubles found={found.troubles} />}
        {found && <Config found={found} />}
        <Log run={run} anew={anew} />
        {found && Object.keys(found.environment).length > 0 && (
          <details>
            <summary>Environment</summary>
            <table class="plain"><tbody>{Object.entries(found.environment).map(([name, value]) => <tr key={name}><th scope="row">{name}</th><td class="mono wrap">{format.knob(value)}</td></tr>)}</tbody></table>
          </details>
        )}
      </div>
    </aside>
  );
}

function Link({ to }: { to: number }) {
  return <button class="link" onClick={() => (opened.value = to)}>run {to} </button>;
}

function Verbs({ run }: { run: Run }) {
  const verbs = run.state === "deleted"
    ? (["restore", "purge"] as const)
    : run.state === "running" || run.state === "queued" || run.state === "interrupted"
      ? (["stop", "clone", "keep", "delete"] as const)
      : run.state === "completed" ? (["clone", "keep", "delete"] as const) : (["resume", "clone", "keep", "delete"] as const);
  return (
    <div class="actions" role="group" aria-label={`requests about run ${run.number}`}>
      {verbs.map((verb) => <button key={verb} onClick={() => (form.value = { verb, runs: [run.number] })}>{verb[0]!.toUpperCase() + verb.slice(1)}</button>)}
    </div>
  );
}

function Why({ run, anew }: { run: Run; anew: string }) {
  const { found } = useJson<{ why: string[] }>(`runs/${run.number}/why`, anew);
  if (!found) return null;
  const [first, ...rest] = found.why;
  return <div class="why"><p>{first}</p>{rest.map((line) => <p key={line}>{line}</p>)}</div>;
}

function Troubles({ found }: { found: { at: number; what: string }[] }) {
  return (
    <>
      <h3>What went wrong</h3>
      <ul class="troubles">{found.map(({ at, what }, i) => <li key={i}><time>{format.moment(at)}</time> {what}</li>)}</ul>
    </>
  );
}

function Config({ found }: { found: Details }) {
  const varied = new Set(model.knobs.map(({ path }) => path));
  return (
    <>
      <h3>Config</h3>
      <table class="plain config">
        <thead><tr><th scope="col">knob</th><th scope="col">value</th><th scope="col">from</th></tr></thead>
        <tbody>
          {found.provenance.map(({ knob, value, how, at }) => (
            <tr key={knob} class={varied.has(knob) ? "varied" : ""}>
              <th scope="row" title={knob}>{knob}</th>
              <td class="mono wrap">{format.knob(value)}</td>
              <td title={at ?? undefined}>{how}{at && <small> {at.replace(/^.*\//, "").replace(/:\d+$/, "")}</small>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Log({ run, anew }: { run: Run; anew: string }) {
  const [beat, next] = useState(0);
  const live = from().live && run.state === "running" && useValue(connection) === "open";
  useEffect(() => {
    if (!live) return;
    const timer = window.setInterval(() => !document.hidden && next((count) => count + 1), 2000);
    return () => window.clearInterval(timer);
  }, [live]);
  const { found } = useJson<Json>(`runs/${run.number}/log`, `${anew} ${beat}`);
  const text = (found?.log as string | undefined) ?? "";
  return (
    <details open={text.length > 0 && text.length < 4000}>
      <summary>Log {found && !text && <small>empty</small>}</summary>
      {text && <pre tabIndex={0} role="region" aria-label="the end of the log">{text}</pre>}
    </details>
  );
}
