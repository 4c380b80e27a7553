// Builds the page's two files where the Python package looks for them. No file name holds a hash: the server
// forbids caching, and a report has both files inlined.
import { build } from "esbuild";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "rapidfire_cli", "view", "page", "bundle");

// uPlot hangs all of its drawing functions on one object, which keeps bundlers from leaving out those that are
// not used. The page draws lines itself; these are the lines that hold on to the rest.
const UNUSED = [
  "(paths.stepped = stepped);", "(paths.bars    = bars);", "(paths.spline  = monotoneCubic);", "(paths.linear  = linear);",
  "uPlot.join = join;", "uPlot.addGap = addGap;", "uPlot.rangeAsinh = rangeAsinh;",
];

const shaken = {
  name: "uplot without unused functions",
  setup(plugins) {
    plugins.onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => {
      let contents = readFileSync(path, "utf8");
      for (const line of UNUSED) {
        if (!contents.includes(line)) throw new Error(`uPlot changed: ${line} is missing`);
        contents = contents.replace(line, "");
      }
      return { contents, loader: "js" };
    });
  },
};

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
  banner: { js: "/* With Preact (c) Jason Miller, signals (c) Preact team, uPlot (c) Leon Sorokin: MIT license. */" },
  plugins: [shaken],
});
