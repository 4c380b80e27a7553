// Requests: each has a form that says what it is about, and what became of it.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import * as format from "./format";
import type { Plain } from "./model";
import type { Answer, Failure, Json } from "./source";
import { useJson } from "./run";
import { form, from, help, model, notify, spans, useValue } from "./state";
import type { Form } from "./state";
import { KEYS } from "./keyboard";

const ABOUT: Record<Form["verb"], string> = {
  stop: "They train no further: each is saved at its next optimizer step, and `fit` leaves it stopped.",
  resume: "Stopped, pruned and failed runs train on, outside their brackets.",
  clone: "",
  delete: "They move to the trash. `restore` brings them back until they are purged.",
  restore: "They come back from the trash.",
  purge: "The disk is freed. They cannot be restored.",
  keep: "The last saved end of an epoch is kept for later clones, whatever is saved after it.",
  undo: "Your own last request is reverted.",
};

export function Dialogs() {
  const asked = useValue(form);
  const helping = useValue(help);
  if (asked) return <Dialog title={heading(asked)} close={() => (form.value = null)}>{asked.verb === "clone" ? <CloneForm runs={asked.runs} /> : <PlainForm asked={asked} />}</Dialog>;
  if (helping) return <Dialog title="Keyboard" close={() => (help.value = false)}><Keys /></Dialog>;
  return null;
}

function heading({ verb, runs }: Form): string {
  const name = verb[0]!.toUpperCase() + verb.slice(1);
  if (verb === "undo") return "Undo";
  const which = spans(runs);
  return `${name} ${runs.length === 1 ? "run" : format.count(runs.length, "run") + ":"} ${which.length > 60 ? which.slice(0, 60) + "…" : which}`;
}

function Dialog({ title, close, children }: { title: string; close: () => void; children: preact.ComponentChildren }) {
  const root = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = (root.current!.getRootNode() as Document | ShadowRoot).activeElement as HTMLElement | null;
    root.current!.showModal();
    root.current!.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog ref={root} aria-labelledby="dialog-title" onCancel={close} onClick={(event) => event.target === root.current && close()}>
      <div class="dialog-head"><h2 id="dialog-title">{title}</h2><button class="icon" aria-label="close" onClick={close}>×</button></div>
      {children}
    </dialog>
  );
}

interface Asking { send: (body: Json, dry?: boolean) => Promise<void>; busy: boolean; failure: string; effect: string }

/** Sends a request and shows the answers; a dry one says what would happen. */
function useAsk(): Asking {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const [effect, setEffect] = useState("");
  const send = async (body: Json, dry = false) => {
    setBusy(true);
    setFailure("");
    setEffect("");
    try {
      const { answers, live, effects } = await from().ask(dry ? { ...body, dry_run: true } : body);
      if (dry) {
        setEffect([lines(answers), ...(effects ?? []), "Nothing was changed."].join("\n"));
        setBusy(false);
        return;
      }
      const refused = answers.filter(({ outcome }) => outcome === "refused");
      if (refused.length === answers.length && answers.length) {
        setFailure(lines(answers));
      } else {
        form.value = null;
        notify(lines(answers), live ? "" : "no fit is running: the next `rapidfire fit` goes by this", refused.length > 0);
      }
    } catch (error) {
      const { message, hint } = error as Failure;
      setFailure(hint ? `${message}\n${hint}` : message);
    }
    setBusy(false);
  };
  return { send, busy, failure, effect };
}

function lines(answers: Answer[]): string {
  const texts = new Map<string, Answer[]>();
  for (const answer of answers) {
    const text = `${answer.outcome === "refused" ? "refused: " : ""}${answer.text}${answer.hint ? `\n${answer.hint}` : ""}`;
    texts.set(text, [...(texts.get(text) ?? []), answer]);
  }
  return [...texts].map(([text, found]) => (found[0]!.run ? `${found.length > 1 ? "runs" : "run"} ${spans(found.map(({ run }) => run))}: ${text}` : text)).join("\n");
}

function PlainForm({ asked }: { asked: Form }) {
  const { send, busy, failure, effect } = useAsk();
  const [now, setNow] = useState(false);
  const danger = asked.verb === "delete" || asked.verb === "purge";
  const body: Json = asked.verb === "undo" ? { verb: "undo" } : { verb: asked.verb, runs: asked.runs, ...(asked.verb === "stop" ? { at_once: now } : {}) };
  return (
    <form onSubmit={(event) => { event.preventDefault(); void send(body); }}>
      <p>{ABOUT[asked.verb]}</p>
      {asked.verb === "stop" && <label class="check"><input type="checkbox" checked={now} onChange={() => setNow(!now)} /> now: kill the worker; the last checkpoint counts</label>}
      <Failed text={failure} />
      <Foreseen text={effect} />
      <div class="buttons"><DryRun busy={busy} ask={() => void send(body, true)} /><button type="button" onClick={() => (form.value = null)}>Cancel</button><button data-first class={danger ? "danger" : "primary"} disabled={busy}>{asked.verb[0]!.toUpperCase() + asked.verb.slice(1)}</button></div>
    </form>
  );
}

function Failed({ text }: { text: string }) {
  return text ? <pre class="failure" role="alert">{text}</pre> : null;
}

function Foreseen({ text }: { text: string }) {
  return <pre class="effect" role="status">{text}</pre>;
}

function DryRun({ busy, ask }: { busy: boolean; ask: () => void }) {
  return <button type="button" class="dry" disabled={busy} title="Show the effect on runs, disk and time; change nothing" onClick={ask}>What would happen?</button>;
}

/** A clone: the knobs of the run, of which any can be changed. */
function CloneForm({ runs }: { runs: number[] }) {
  const parent = model.byNumber.get(runs[0]!);
  const { found } = useJson<{ provenance: { knob: string; value: Plain }[] }>(`runs/${runs[0]}`, "");
  const [changed, change] = useState<Record<string, string>>({});
  const [more, setMore] = useState("");
  const [warm, setWarm] = useState<"" | "all" | "matching">("");
  const [source, setSource] = useState("last");
  const [epochs, setEpochs] = useState("");
  const [seed, setSeed] = useState("");
  const [replicate, setReplicate] = useState(false);
  const [schedule, setSchedule] = useState(false);
  const [wait, setWait] = useState(false);
  const [every, setEvery] = useState(false);
  const { send, busy, failure, effect } = useAsk();
  const root = useRef<HTMLFormElement>(null);
  const varied = new Set(model.knobs.map(({ path }) => path));
  const knobs = (found?.provenance ?? []).filter(({ knob }) => every || varied.has(knob) || knob in changed);
  useEffect(() => {
    if (found && !model.knobs.length) setEvery(true);
    if (found) root.current?.querySelector<HTMLElement>("[data-first]")?.focus();
  }, [!!found]);
  const ask = (dry: boolean) => {
    const before = new Map((found?.provenance ?? []).map(({ knob, value }) => [knob, written(value)]));
    const sets = Object.entries(changed).filter(([knob, text]) => text !== before.get(knob)).map(([knob, text]) => `${knob}=${text}`);
    const extra = more.split("\n").map((line) => line.trim()).filter(Boolean);
    void send({
      verb: "clone", runs, changes: [...sets, ...extra], warm: warm || null, source: warm ? source : "last",
      epochs: epochs ? Number(epochs) : null, seed: seed ? Number(seed) : null, replicate,
      keep_schedule: !!warm && schedule, wait: !!warm && wait,
    }, dry);
  };
  if (!parent) return <p>Run {runs[0]} does not exist.</p>;
  return (
    <form onSubmit={(event) => { event.preventDefault(); ask(false); }} class="clone" ref={root}>
      {runs.length > 1 && <p>Each run is copied with the same changes; the values shown are those of run {runs[0]}.</p>}
      <div class="knobs">
        {knobs.map(({ knob, value }, i) => (
          <label key={knob}>
            <span title={knob}>{knob}</span>
            <input {...(i === 0 ? { "data-first": true } : {})} class={`mono ${changed[knob] !== undefined && changed[knob] !== written(value) ? "changed" : ""}`} spellcheck={false} value={changed[knob] ?? written(value)} onInput={(event) => change({ ...changed, [knob]: event.currentTarget.value })} />
          </label>
        ))}
        {!every && <button type="button" class="link" onClick={() => setEvery(true)}>all knobs</button>}
      </div>
      <label class="field"><span>further changes, one a line</span><textarea class="mono" rows={2} spellcheck={false} placeholder="+user_knobs.dropout=0.1" value={more} onInput={(event) => setMore(event.currentTarget.value)} /></label>
      <div class="row">
        <label class="field"><span>weights</span><select value={warm} onChange={(event) => setWarm(event.currentTarget.value as typeof warm)}><option value="">from scratch</option><option value="all">those of the run</option><option value="matching">those that fit</option></select></label>
        {warm && <label class="field"><span>of epoch</span><input class="mono" value={source} pattern="last|best|epoch:[1-9][0-9]*" title="last, best or epoch:N" onInput={(event) => setSource(event.currentTarget.value)} /></label>}
        <label class="field"><span>epochs</span><input class="mono" type="number" min={1} placeholder={String(parent.epochs)} value={epochs} onInput={(event) => setEpochs(event.currentTarget.value)} /></label>
        <label class="field"><span>seed</span><input class="mono" type="number" min={0} placeholder={String(parent.seed)} value={seed} disabled={replicate} onInput={(event) => setSeed(event.currentTarget.value)} /></label>
      </div>
      <label class="check"><input type="checkbox" checked={replicate} onChange={() => { setReplicate(!replicate); setSeed(""); }} /> a further replicate, with a seed of its own</label>
      {warm && <label class="check"><input type="checkbox" checked={schedule} onChange={() => setSchedule(!schedule)} /> continue the learning-rate schedule</label>}
      {warm && <label class="check"><input type="checkbox" checked={wait} onChange={() => setWait(!wait)} /> wait for the end of an epoch, if none is durable yet</label>}
      <Failed text={failure} />
      <Foreseen text={effect} />
      <div class="buttons"><DryRun busy={busy} ask={() => root.current?.reportValidity() && ask(true)} /><button type="button" onClick={() => (form.value = null)}>Cancel</button><button class="primary" disabled={busy}>Clone</button></div>
    </form>
  );
}

/** A value as it is written after `--set KNOB=`. */
function written(value: Plain): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[A-Za-z_][\w.:/-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|nan|inf)$/i.test(value) ? value : JSON.stringify(value);
}

function Keys() {
  return (
    <>
      <table class="plain keys"><tbody>{KEYS.map(([keys, what]) => <tr key={keys}><th scope="row"><kbd>{keys}</kbd></th><td>{what}</td></tr>)}</tbody></table>
      <p class="dim">Drag over the curves to zoom; double-click for the whole. The URL keeps the view and the selection.</p>
    </>
  );
}
