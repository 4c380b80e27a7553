// Builds the page's two files where the Python package looks for them. No file name holds a hash: the server
// forbids caching, and a report has both files inlined.
import { build } from "esbuild";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "rapidfire_cli", "view", "page", "bundle");

mkdirSync(target, { recursive: true });
await build({
  entryPoints: { page: join(here, "src", "main.tsx") },
  outdir: target,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome110", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  banner: { js: "/* With Preact (c) Jason Miller, signals (c) Preact team: MIT license. */" },
});
