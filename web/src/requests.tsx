// The log of requests: who asked for what, and what became of it.
import type { Answer } from "./source";
import { useJson } from "./run";
import { form, from, model, spans, useValue } from "./state";

interface Taken { at: string; source: string; uid: number; text: string; answers: Answer[] }

export function RequestsView() {
  useValue(model.version);
  const { found, failure } = useJson<{ requests: Taken[] }>("requests", model.requests);
  if (failure) return <p class="quiet">{failure.message}</p>;
  if (!found) return <p class="quiet">Reading the requests…</p>;
  if (!found.requests.length) return <p class="quiet">No requests yet. Select runs and press s, r, c or d.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Requests">
      <table class="plain">
        <thead><tr><th scope="col">at</th><th scope="col">from</th><th scope="col">request</th><th scope="col">answer</th></tr></thead>
        <tbody>
          {found.requests.map((each, i) => (
            <tr key={i}>
              <td>{new Date(each.at).toLocaleString()}</td>
              <td>{each.source} <small>uid {each.uid}</small></td>
              <td class="mono wrap">{each.text}</td>
              <td>{answered(each.answers)} {i === 0 && !from().readOnly && <button class="link" onClick={() => (form.value = { verb: "undo", runs: [] })}>undo</button>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function answered(answers: Answer[]): string {
  const texts = new Map<string, number[]>();
  for (const { run, outcome, text } of answers) {
    const whole = `${outcome === "refused" ? "refused: " : ""}${text}`;
    texts.set(whole, [...(texts.get(whole) ?? []), run]);
  }
  return [...texts].map(([text, runs]) => (texts.size > 1 ? `${spans(runs)}: ${text}` : text)).join("; ");
}
