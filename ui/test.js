// Bundles the tests of `tests/`, which import the page's modules, and runs them: `node test.js [options of node]`.

import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = join(here, ".tests");
const names = readdirSync(join(here, "tests")).filter((name) => name.endsWith(".test.js"));

await build({
  absWorkingDir: here,
  entryPoints: names.map((name) => join("tests", name)),
  outdir: folder,
  bundle: true,
  format: "esm",
  platform: "node",
  external: ["commonmark-spec"],
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
});
const files = names.map((name) => join(folder, name));
const { status } = spawnSync(process.execPath, ["--test", ...process.argv.slice(2), ...files], { stdio: "inherit" });
rmSync(folder, { recursive: true, force: true });
process.exit(status ?? 1);
