// The page in a window of its own: served, or a report that holds its data.
import "./style.css";
import { show } from "./page";
import type { Held } from "./source";
import { receiver, Report, Server } from "./source";
import { curves, experiment, model, read, remember, use } from "./state";

const mode = document.querySelector<HTMLMetaElement>("meta[name=rapidfire]")?.content;
const dark = matchMedia("(prefers-color-scheme: dark)");
read();
if (mode === "report") {
  const held = JSON.parse(document.getElementById("report")!.textContent!) as Held;
  use(new Report(held));
  receiver(model, curves)("snapshot", held.snapshot);
} else {
  const server = new Server(mode === "read-only", experiment.peek(), receiver(model, curves), model);
  use(server);
  server.start();
}
remember();
show(document, document.documentElement, document.getElementById("page")!, {
  dark: () => dark.matches,
  follow: (changed) => dark.addEventListener("change", changed),
});
