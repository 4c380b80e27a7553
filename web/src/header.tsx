// The first line: which experiment, its state, how far it is, and whether the page is up to date.
import { computed } from "@preact/signals-core";
import { useState } from "preact/hooks";
import * as format from "./format";
import type { State } from "./model";
import { STATES, UNFINISHED } from "./model";
import { connection } from "./source";
import { useJson } from "./run";
import { change, filter, from, help, model, useValue } from "./state";

interface Progress { done: number; total: number; counts: Map<State, number> }

const progress = computed<Progress>(() => {
  model.version.value;
  const counts = new Map<State, number>();
  let [done, total] = [0, 0];
  const replaced = new Set(model.runs.map((run) => (run.origin?.why === "oom" ? run.origin.run : undefined)));
  for (const run of model.runs) {
    if (!run.listed || run.state === "deleted" || replaced.has(run.number)) continue;
    counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
    done += run.epoch;
    total += UNFINISHED.has(run.state) || run.state === "completed" ? run.epochs : run.epoch;
  }
  return { done, total, counts };
});

const SAID: Record<string, string> = {
  running: "training",
  interrupted: "interrupted: the controller is gone; the same `rapidfire fit` continues",
  failed: "finished, with failures; the same `rapidfire fit` retries them",
  completed: "finished",
  stopped: "all runs are stopped",
};

export function Header() {
  const { done, total, counts } = useValue(progress);
  useValue(model.version);
  const { state, objective } = model;
  const share = total ? done / total : 0;
  return (
    <header>
      <h1 title={model.directory}><Name /></h1>
      <span class={`pill ${state}`} title={SAID[state]}>{state === "running" ? "training" : state === "completed" ? "finished" : state}</span>
      <span class="overall" title={`${done.toLocaleString("en")} of ${format.count(total, "epoch")}`}>
        <span class="bar" role="progressbar" aria-label="epochs trained" aria-valuemin={0} aria-valuemax={total} aria-valuenow={done}><i class={state} style={{ width: `${100 * share}%` }} /></span>
        {Math.floor(100 * share)}%
      </span>
      <nav class="states" aria-label="Runs by state">
        {STATES.filter((each) => counts.get(each)).map((each) => (
          <button key={each} class={`state ${each}`} title={`show the runs that are ${each}`} onClick={() => (filter.value = filter.peek() === each ? "" : each)}>
            {counts.get(each)!.toLocaleString("en")} {each}
          </button>
        ))}
      </nav>
      <span class="spacer" />
      {objective.metric && <span class="objective" title="Runs are ranked by this metric">{objective.direction === "min" ? "↓ lowest" : "↑ highest"} {objective.at === "best" ? "best " : ""}<b>{objective.metric}</b></span>}
      {from().live ? <Connection /> : <span class="objective">report</span>}
      <button class="icon" aria-label="keyboard and help" title="Keyboard (?)" onClick={() => (help.value = true)}>?</button>
    </header>
  );
}

/** The experiment's name; where several are in its directory, one can be chosen. */
function Name() {
  const [looks, look] = useState(0);
  const { found } = useJson<{ experiments: string[] }>("experiments", looks);
  const own = model.directory.slice(model.directory.lastIndexOf("/") + 1);
  if (!found || found.experiments.length < 2) return <>{model.experiment}</>;
  return (
    <select aria-label="Experiment" value={own} onPointerEnter={() => look(looks + 1)} onFocus={() => look(looks + 1)} onChange={(event) => change(event.currentTarget.value)}>
      {found.experiments.map((name) => <option key={name} value={name}>{name}</option>)}
    </select>
  );
}

const TEXTS: Record<string, string> = {
  connecting: "connecting…", lost: " gone: trying again", refused: "not let in", polling: "polling", hidden: "paused", open: "",
};

function Connection() {
  const state = useValue(connection);
  const { readOnly, kind } = from();
  return <span class={`connection ${state}`} role="status">{state === "lost" && kind}{TEXTS[state]}{readOnly && state === "open" ? "read-only" : ""}</span>;
}
