// How much each knob matters for the metric, as the server's Optuna estimates it.
import * as format from "./format";
import { useJson } from "./run";
import { metric, model, useValue } from "./state";

interface Found { runs: number; refused?: string; importance?: [path: string, short: string, value: number][] }

export function ImportanceView() {
  const shown = useValue(metric);
  useValue(model.version);
  if (!shown) return <p class="quiet">No epoch has ended yet.</p>;
  return <Bars path={`importance?${new URLSearchParams({ split: shown.split, metric: shown.name })}`} label={shown.title} />;
}

function Bars({ path, label }: { path: string; label: string }) {
  const done = model.runs.filter((run) => run.epoch > 0 && run.epoch === run.epochs).length;
  const { found, failure } = useJson<Found>(path, done);
  if (failure) return <p class="quiet">{failure.message}</p>;
  if (!found) return <p class="quiet">Estimating…</p>;
  if (!found.importance) return <p class="quiet">Importance {found.refused}.</p>;
  const most = Math.max(...found.importance.map(([, , value]) => value), 1e-9);
  return (
    <div class="scroll importance" tabIndex={0} role="region" aria-label="Importance of knobs">
      <table>
        <caption>Share of the variance of <b>{label}</b> among the best runs that each knob explains: PED-ANOVA over {format.count(found.runs, "run")}. It says what went together, not what caused it.</caption>
        <tbody>
          {found.importance.map(([knob, short, value]) => (
            <tr key={knob}>
              <th scope="row" title={knob}>{short}</th>
              <td class="share"><i style={{ width: `${(100 * value) / most}%` }} /></td>
              <td>{(100 * value).toFixed(1)}%</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
