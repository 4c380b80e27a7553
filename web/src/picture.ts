// What the chart of curves draws: fetched when it is asked for, renewed a while after what it is made of.
import { effect, signal } from "@preact/signals-core";
import type { Band, Drawn, Extent } from "./lines";
import { bandsOf, extent, linesOf } from "./lines";
import { Curves } from "./series";
import { axis, bands, curves, from, loaded, metric, model, smoothing, visible } from "./state";

let times: Curves | undefined;
let timesOf = -1;

/** Fetches what the chart needs and does not have. */
export function fetching(): () => void {
  return effect(() => {
    const wanted = metric.value;
    model.version.value;
    if (wanted && !curves.has(wanted.key)) {
      void curves.load(wanted.split, wanted.name).then(() => (loaded.value += 1)).catch(() => undefined);
    }
    if (axis.value === "time" && timesOf !== model.seq) {
      timesOf = model.seq;
      void from().times().then((found) => {
        times = Curves.decode(found);
        loaded.value += 1;
      }).catch(() => undefined);
    }
  });
}

export interface Picture { lines: Drawn[]; bands: Band[]; whole: Extent; state: "loading" | "empty" | "ready" }

const nothing = (state: Picture["state"]): Picture => ({ lines: [], bands: [], whole: extent([]), state });

/** What is drawn. It follows a while after what it is made of: the table does not wait for a million points. */
export const picture = signal<Picture>(nothing("loading"));

let pending = 0;
let taken = 0; // milliseconds that the last picture took

/** Renews the picture while the chart is shown. */
export function following(): () => void {
  const stop = effect(() => {
    loaded.value; model.version.value; metric.value; axis.value; visible.value; smoothing.value; bands.value;
    if (!pending) pending = window.setTimeout(renew, Math.min(1000, 5 * taken));
  });
  return () => {
    stop();
    window.clearTimeout(pending);
    pending = 0;
  };
}

function renew(): void {
  pending = 0;
  const began = performance.now();
  picture.value = pictured();
  taken = performance.now() - began;
}

function pictured(): Picture {
  const shown = metric.peek();
  const found = shown && curves.get(shown.key);
  if (!shown) return nothing("empty");
  if (!found || (axis.peek() === "time" && !times)) return nothing("loading");
  const lines = linesOf(visible.peek(), found, times, axis.peek(), smoothing.peek());
  const groups = bands.peek() ? bandsOf(lines, (run) => model.byNumber.get(run)?.leaf ?? run) : [];
  return { lines, bands: groups, whole: extent(lines), state: lines.length ? "ready" : "empty" };
}
