// Builds the pages into serving/page/assets, or into the folder that is given: `node build.js [folder]`.
// File names contain a hash of the content, so that browsers may keep the files forever.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = process.argv[2] ?? join(here, "..", "serving", "page", "assets");

// Each page is built alone: code that two pages shared would be a file of its own, which costs the first load of the
// chat a request.
const PAGES = {
  chat: { script: "src/main.tsx", style: "src/styles/page.css", names: ["app", "page"] },
  console: { script: "src/admin/main.tsx", style: "src/styles/console.css", names: ["console", "console"] },
  reference: { script: "src/reference/main.tsx", style: "src/styles/reference.css", names: ["reference", "reference"] },
};

const entries = {};
const files = new Map();
for (const [page, { script, style, names }] of Object.entries(PAGES)) {
  const built = await build({
    absWorkingDir: here,
    entryPoints: [
      { in: script, out: names[0] },
      { in: style, out: names[1] },
    ],
    outdir: folder,
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    preserveSymlinks: true, // names of files count in the hashes
    format: "esm",
    target: ["es2022", "chrome123", "firefox121", "safari17.5"],
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    write: false,
    metafile: true,
  });
  const name = (entry) => basename(Object.entries(built.metafile.outputs).find(([, made]) => made.entryPoint === entry)[0]);
  entries[page] = { script: name(script), style: name(style) };
  for (const file of built.outputFiles) files.set(file.path, file.contents);
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [path, contents] of files) {
  writeFileSync(path, contents);
  writeFileSync(`${path}.gz`, gzipSync(contents, { level: 9 }));
  const parameters = { [constants.BROTLI_PARAM_SIZE_HINT]: contents.length };
  writeFileSync(`${path}.br`, brotliCompressSync(contents, { params: parameters }));
}
writeFileSync(join(folder, "entries.json"), `${JSON.stringify(entries, null, 2)}\n`);
