// Builds the page's two files and the notebook's panel where the Python package looks for them. No file name
// holds a hash: the server forbids caching, and a report and a notebook have the files inlined.
import { build } from "esbuild";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "rapidfire_cli", "view", "page", "bundle");
const license = "/* With Preact (c) Jason Miller, signals (c) Preact team: MIT license. */";
const options = {
  outdir: target,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome110", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
};

mkdirSync(target, { recursive: true });
await build({ ...options, entryPoints: { page: join(here, "src", "main.tsx") }, banner: { js: license } });

// A panel's module exports a function that runs the program: front ends call it once for each widget.
await build({
  ...options,
  entryPoints: { panel: join(here, "src", "panel.tsx") },
  globalName: "panel",
  define: { STYLE: JSON.stringify(readFileSync(join(target, "page.css"), "utf8")) },
  banner: { js: `${license}\nexport default () => {` },
  footer: { js: "return panel.default; };" },
});
