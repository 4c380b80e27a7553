// The rungs of brackets: what each run had there, who was promoted, who was pruned, and where the cut was.
import * as format from "./format";
import { number } from "./model";
import { useJson } from "./run";
import { asTable, colours, cursor, hovered, model, opened, useValue } from "./state";

type Verdict = [run: number, value: number | string | null, rank: number, promoted: boolean];
interface Rung { epochs: number; decided: boolean; cut: number | string | null; known: number; keep: number; verdicts: Verdict[]; failed: number[] }
interface Bracket { number: number; rule: string; metric: string; direction: "min" | "max"; runs: number[]; left: { run: number; cause: string }[]; rungs: Rung[] }

const [WIDTH, HEIGHT, TOP] = [150, 230, 8];
const MOST = 400; // verdicts of a rung that are drawn

export function RungsView() {
  useValue(model.version);
  const decided = model.runs.filter((run) => run.state === "pruned" || run.state === "completed").length;
  const { found, failure } = useJson<{ brackets: Bracket[] }>("rungs", decided);
  const table = useValue(asTable);
  if (failure) return <p class="quiet">{failure.message}</p>;
  if (!found) return <p class="quiet">Reading the decisions…</p>;
  if (!found.brackets.length) return <p class="quiet">No early stopping: every run trains all its epochs.</p>;
  return (
    <div class="scroll rungs" tabIndex={0} role="region" aria-label="Rungs">
      {found.brackets.map((bracket) => (
        <section key={bracket.number}>
          <h2>Bracket {bracket.number} <small>{bracket.rule.replace(/Rule$/, "").replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase()} by {bracket.metric}, {format.count(bracket.runs.length, "run")}{bracket.left.length > 0 && `, ${bracket.left.length} left it`}</small></h2>
          {table ? <RungTable rungs={bracket.rungs} /> : <div class="ladder">{bracket.rungs.map((rung) => <RungChart key={rung.epochs} rung={rung} bracket={bracket} />)}</div>}
        </section>
      ))}
    </div>
  );
}

function RungChart({ rung, bracket }: { rung: Rung; bracket: Bracket }) {
  const over = useValue(hovered);
  const hues = useValue(colours);
  const valued = rung.verdicts.map(([run, value, rank, promoted]) => ({ run, value: number(value), rank, promoted }));
  const known = valued.filter(({ value }) => Number.isFinite(value));
  const values = known.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = (value: number) => {
    const part = high > low ? (value - low) / (high - low) : 0.5;
    return TOP + (bracket.direction === "max" ? 1 - part : part) * (HEIGHT - 2 * TOP);
  };
  const cut = rung.cut === null ? NaN : number(rung.cut);
  const shown = known.length > MOST ? [...known].sort((a, b) => Math.abs(a.rank - rung.keep) - Math.abs(b.rank - rung.keep)).slice(0, MOST) : known;
  const beside = new Map<number, number>(); // dots at one height stand side by side
  const promoted = valued.filter((each) => each.promoted).length;
  return (
    <figure>
      <figcaption><b>{format.count(rung.epochs, "epoch")}</b> <small>{rung.decided ? `${promoted} promoted, ${valued.length - promoted} pruned${rung.failed.length ? `, ${rung.failed.length} failed` : ""}` : "not decided yet"}</small></figcaption>
      {known.length > 0 && (
        <svg width={WIDTH} height={HEIGHT} role="group" aria-label={`rung of ${rung.epochs} epochs`}>
          {Number.isFinite(cut) && <g class="cut"><line x1={0} x2={WIDTH} y1={y(cut) + 6} y2={y(cut) + 6} /><text x={WIDTH} y={y(cut) + 18} text-anchor="end">cut {format.metric(cut)}</text></g>}
          {shown.map(({ run, value, rank, promoted: on }) => {
            const row = Math.round(y(value) / 9);
            const place = beside.get(row) ?? 0;
            beside.set(row, place + 1);
            const hue = hues.get(run);
            return (
              <circle
                key={run}
                cx={10 + 11 * Math.min(place, 9)}
                cy={y(value)}
                r={run === over ? 6 : 4.5}
                class={on ? "promoted" : "pruned"}
                style={hue === undefined ? undefined : { "--dot": `var(--hue-${hue})` }}
                onMouseEnter={() => (hovered.value = run)}
                onMouseLeave={() => (hovered.value = null)}
                onClick={() => { cursor.value = run; opened.value = run; }}
              ><title>{`run ${run}: ${bracket.metric} ${format.metric(value)}, rank ${rank} of ${rung.known}, ${on ? "promoted" : "pruned"}`}</title></circle>
            );
          })}
        </svg>
      )}
      {known.length > shown.length && <small>the {shown.length} nearest to the cut</small>}
    </figure>
  );
}

function RungTable({ rungs }: { rungs: Rung[] }) {
  return (
    <table class="plain">
      <thead><tr><th scope="col">epochs</th><th scope="col">run</th><th scope="col">value</th><th scope="col">rank</th><th scope="col">verdict</th></tr></thead>
      <tbody>
        {rungs.flatMap((rung) =>
          [...rung.verdicts].sort((a, b) => a[2] - b[2]).slice(0, MOST).map(([run, value, rank, promoted]) => (
            <tr key={`${rung.epochs} ${run}`}>
              <td>{rung.epochs}</td>
              <td><button class="link" onClick={() => (opened.value = run)}>{run}</button></td>
              <td>{format.metric(value === null ? null : number(value))}</td>
              <td>{rank} of {rung.known}</td>
              <td>{promoted ? "promoted" : "pruned"}</td>
            </tr>
          )))}
      </tbody>
    </table>
  );
}
