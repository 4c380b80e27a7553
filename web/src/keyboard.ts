// The keyboard: everything that the page does can be done without a pointer.
import type { Form, View } from "./state";
import {
  acting, asTable, cursor, form, from, help, opened, select, selection, toggle, view, visible,
} from "./state";

export const KEYS: [string, string][] = [
  ["/", "filter the runs"],
  ["j  k", "next, previous run"],
  ["space", "select the run"],
  ["a", "select all runs in the table, or none"],
  ["enter", "open the run"],
  ["esc", "close, or clear"],
  ["s  r", "stop, resume"],
  ["c  d", "clone, delete"],
  ["u", "undo your last request"],
  ["1 … 5", "curves, parallel, importance, rungs, requests"],
  ["t", "chart or table"],
  ["?", "this help"],
];

const VIEWS: View[] = ["curves", "parallel", "importance", "rungs", "requests"];
const VERBS: Record<string, Form["verb"]> = { s: "stop", r: "resume", c: "clone", d: "delete" };

/** Follows the keyboard in the page or, in a notebook, while it is in the panel; a function that ends it. */
export function listen(around: Document | ShadowRoot): () => void {
  const pressed = (found: Event) => {
    const event = found as KeyboardEvent;
    if (around !== document) event.stopPropagation(); // the notebook has keys of its own
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (event.key === "Escape") {
      escape(target);
      return;
    }
    if (form.peek() || help.peek()) return;
    if (target.matches("input:not([type=checkbox]), textarea, select")) return;
    if (event.key === " " && target.matches("button, input, summary")) return;
    if (event.key === "Enter" && target.matches("button, a, summary, input")) return;
    if (act(event.key, around)) event.preventDefault();
  };
  around.addEventListener("keydown", pressed);
  return () => around.removeEventListener("keydown", pressed);
}

function escape(target: HTMLElement): void {
  if (form.peek()) form.value = null;
  else if (help.peek()) help.value = false;
  else if (target.matches("input, select, textarea")) target.blur();
  else if (opened.peek() !== null) opened.value = null;
  else select([]);
}

function act(key: string, around: Document | ShadowRoot): boolean {
  const runs = visible.peek();
  const at = runs.findIndex((run) => run.number === cursor.peek());
  const go = (place: number) => {
    const run = runs[Math.max(0, Math.min(runs.length - 1, place))];
    if (!run) return;
    cursor.value = run.number;
    if (opened.peek() !== null) opened.value = run.number;
  };
  if (key === "j" || key === "ArrowDown") go(at + 1);
  else if (key === "k" || key === "ArrowUp") go(at < 0 ? 0 : at - 1);
  else if (key === " " && cursor.peek() !== null) toggle(cursor.peek()!);
  else if (key === "Enter" && cursor.peek() !== null) opened.value = cursor.peek();
  else if (key === "a") select(selection.peek().size ? [] : runs.map((run) => run.number));
  else if (key === "/") around.getElementById("filter")?.focus();
  else if (key === "?") help.value = true;
  else if (key === "t") asTable.value = !asTable.peek();
  else if (VIEWS[Number(key) - 1]) view.value = VIEWS[Number(key) - 1]!;
  else if (key === "u" && !from().readOnly) form.value = { verb: "undo", runs: [] };
  else if (VERBS[key] && !from().readOnly && acting().length) form.value = { verb: VERBS[key]!, runs: acting() };
  else return false;
  return true;
}
